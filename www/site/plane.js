// A sampler on the plane: points on their way from noise to a distribution whose best denoiser is known, which the reader may draw.

import { Noiseball, samplers } from '../noiseball.js';
import { exactDenoiser, grid, ring, scoreOf, spiral } from '../story/mixture.js';
import { drawing, pad } from '../story/pad.js';
import { LIMIT, Plane } from '../story/plot.js';
import { showError } from './notice.js';
import { announce, byId, fillSelect } from './page.js';

const DISTRIBUTIONS = { ring, grid, spiral, drawn: () => drawing.mixture };
const POINTS = 256;
const PATHS = 40; // of the points, whose ways are shown
const ARROWS = 15; // along each side
const FLOW = { _class_name: 'FlowMatchEulerDiscreteScheduler' };

export class OnThePlane {
  #plane = new Plane(byId('plane'));
  #mixture = ring();
  /** @type {{points: Float32Array, alpha: number, sigma: number}[]} each step's points, scaled to alpha² + sigma² = 1 */
  #frames = [];
  /** @type {Map<boolean, Promise<Noiseball>>} by whether it is for flows */
  #models = new Map();
  /** @type {AbortController | null} */
  #work = null;
  #pad;

  constructor() {
    fillSelect(
      byId('plane-sampler'),
      samplers().map(({ name }) => ({ value: name, text: name })),
      'ddim',
    );
    this.#about();
    this.#pad = pad(byId('plane'), { on: () => this.#draws, moved: () => this.#draw() });
    drawing.addEventListener('change', () => this.#draws && this.#distribution());
    byId('plane-data').addEventListener('change', () => this.#distribution());
    byId('plane-sampler').addEventListener('change', () => {
      this.stop();
      this.#about();
    });
    byId('plane-start').addEventListener('click', () => (this.#work ? this.stop() : this.#run()));
    byId('plane-step').addEventListener('input', () => this.#moment());
    byId('plane-arrows').addEventListener('change', () => this.#draw());
    byId('plane-undo').addEventListener('click', () => drawing.undo());
    byId('plane-clear').addEventListener('click', () => drawing.clear());
    new ResizeObserver(() => this.#draw()).observe(byId('plane'));
    for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)'])
      matchMedia(query).addEventListener('change', () => this.#draw());
    this.#distribution();
  }

  stop() {
    this.#work?.abort();
  }

  get #draws() {
    return byId('plane-data').value === 'drawn';
  }

  #about() {
    const { paper, defaultSteps } = /** @type {any} */ (samplers().find(({ name }) => name === byId('plane-sampler').value));
    byId('plane-sampler-hint').textContent = `${paper}.`;
    byId('plane-steps').value = Math.min(defaultSteps ?? 200, 200);
  }

  #distribution() {
    this.stop();
    this.#mixture = DISTRIBUTIONS[byId('plane-data').value]();
    this.#frames = [];
    byId('plane-drawing').hidden = !this.#draws;
    const canvas = byId('plane');
    canvas.tabIndex = this.#draws ? 0 : -1;
    canvas.setAttribute('role', this.#draws ? 'application' : 'img');
    byId('plane-step').max = 0;
    this.#moment();
  }

  async #run() {
    const mixture = this.#mixture;
    const { means } = mixture;
    if (means.length === 0) return this.#say('Nothing is drawn yet: draw on the plane first.');
    const work = new AbortController();
    this.#work = work;
    byId('plane-start').textContent = 'Stop';
    const [sampler, steps, seed] = [byId('plane-sampler').value, Number(byId('plane-steps').value), Number(byId('plane-seed').value)];
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.#frames = [];
    try {
      const model = await this.#model(sampler.startsWith('flow-'));
      for await (const step of model.sample({ sampler, steps, seed, batch: POINTS, signal: work.signal })) {
        if (step.startLatents) this.#frames.push({ points: step.startLatents, alpha: 0, sigma: 1 });
        const { latents, alpha = 1, sigma = 0 } = step;
        const norm = Math.hypot(alpha, sigma);
        this.#frames.push({ points: (latents ?? new Float32Array()).map((v) => v / norm), alpha: alpha / norm, sigma: sigma / norm });
        byId('plane-step').max = this.#frames.length - 1;
        if (still && step.index + 1 < step.total) continue;
        byId('plane-step').value = this.#frames.length - 1;
        this.#moment();
        // So that each step is seen, of many the more at a time.
        if (step.index % Math.ceil(step.total / 60) === 0) await new Promise(requestAnimationFrame);
      }
      announce(`${POINTS} points have arrived. The slider goes back through the steps.`);
    } catch (error) {
      if (error.type !== 'aborted') showError(error);
    } finally {
      if (this.#work === work) {
        this.#work = null;
        byId('plane-start').textContent = 'Run';
      }
    }
  }

  /** A model that says what is best to say of the distribution that is chosen. */
  #model(flow) {
    let model = this.#models.get(flow);
    if (!model) {
      const denoise = (x, level) => exactDenoiser(this.#mixture)(x, level, new Float32Array(x.length));
      model = Noiseball.of(denoise, { shape: [2, 1, 1], ...(flow && { scheduler: FLOW }) });
      model.catch(() => this.#models.delete(flow)); // the next run tries again
      this.#models.set(flow, model);
    }
    return model;
  }

  #say(text) {
    byId('plane-moment').textContent = text;
    announce(text);
  }

  #moment() {
    const step = Number(byId('plane-step').value);
    const frame = this.#frames[step];
    const total = this.#frames.length - 1;
    const noise = frame ? Math.round(100 * frame.sigma ** 2) : 0;
    byId('plane-moment').textContent = frame ? `Step ${step} of ${total}, ${noise} % noise` : 'Not run yet';
    byId('plane-step').setAttribute('aria-valuetext', byId('plane-moment').textContent);
    const what = byId('plane-data').selectedOptions[0].text;
    const how = this.#draws ? '. Arrow keys move the brush, space draws, backspace takes the last dab away' : '';
    byId('plane').setAttribute('aria-label', `The plane: ${what}. ${byId('plane-moment').textContent}${how}`);
    this.#draw();
  }

  #draw() {
    const plane = this.#plane;
    plane.clear();
    const { colours, context } = plane;
    const step = Number(byId('plane-step').value);
    const frame = this.#frames[step];
    const { means, deviation } = this.#mixture;
    plane.ink(means, 2 * deviation, 0.3, colours.soft);
    // Where no noise is left there is no score; the last step began where there was some.
    const noisy = frame?.sigma > 0 ? frame : this.#frames[step - 1];
    if (noisy && byId('plane-arrows').checked && means.length > 0) this.#field(noisy);
    if (frame) {
      context.strokeStyle = colours.accent;
      context.lineWidth = Math.max(1, plane.canvas.width / 500);
      context.globalAlpha = 0.55;
      context.beginPath();
      for (let i = 0; i < PATHS; i++) {
        for (let k = 0; k <= step; k++) {
          const { points } = this.#frames[k];
          const [x, y] = [plane.x(points[2 * i]), plane.y(points[2 * i + 1])];
          if (k === 0) context.moveTo(x, y);
          else context.lineTo(x, y);
        }
      }
      context.stroke();
      context.globalAlpha = 1;
      plane.points(frame.points, { colour: colours.second, radius: 0.03, opacity: 0.9 });
    }
    if (this.#draws && this.#pad.focused()) plane.circle(...this.#pad.cursor, 0.12, { colour: colours.ink, width: 2 });
  }

  /** The score at this level, its length by its logarithm. */
  #field({ alpha, sigma }) {
    const gap = (2 * LIMIT) / ARROWS;
    const at = new Float32Array(2 * ARROWS * ARROWS);
    for (let i = 0; i < ARROWS * ARROWS; i++) {
      at[2 * i] = -LIMIT + gap * ((i % ARROWS) + 0.5);
      at[2 * i + 1] = -LIMIT + gap * (Math.floor(i / ARROWS) + 0.5);
    }
    const score = scoreOf(exactDenoiser(this.#mixture))(at, { alpha, sigma }, new Float32Array(at.length));
    for (let i = 0; i < at.length; i += 2) {
      const strength = Math.hypot(score[i], score[i + 1]);
      const length = (0.9 * gap * Math.log1p(strength)) / (1.5 + Math.log1p(strength));
      const [dx, dy] = [(score[i] / strength) * length, (score[i + 1] / strength) * length];
      this.#plane.arrow(at[i] - dx / 2, at[i + 1] - dy / 2, dx, dy, { colour: this.#plane.colours.soft });
    }
  }
}
