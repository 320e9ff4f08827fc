// What <diffusion-process> shows.

import { addStyle, emit, fail, h, notLoaded, option, percent, s, whileSeen } from './element.js';
import { cloud, factors, histogram, moments, noised, normals, scheduleOf, shareAt, STEPS, timestepAt } from '../forward.js';

const POINTS = 1500;
const LIMIT = 3; // of both axes
const SIDE = 640; // pixels of the points' canvas
const BINS = 48;
const [WIDE, HIGH, FLOOR, TALLEST] = [320, 320, 290, 0.7]; // of the histogram, and the density at its top

const STYLE = `
:host { max-width: 44rem; container-type: inline-size; }
.views { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); align-items: start; gap: .5rem 1rem; }
.space { aspect-ratio: 2; margin-bottom: 12rem; }
figure { margin: 0; }
figcaption { margin-top: .25rem; font-size: .875rem; opacity: .8; }
canvas, [part=histogram] { display: block; width: 100%; aspect-ratio: 1; border-radius: var(--radius); background: var(--well); }
canvas.picture { aspect-ratio: auto; image-rendering: pixelated; }
.bars { fill: var(--accent); }
.normal { fill: none; stroke: currentColor; stroke-width: 2.5; }
.axis { stroke: currentColor; opacity: .5; }
text { fill: currentColor; font-size: 14px; text-anchor: middle; opacity: .8; }
.scrub { display: flex; align-items: center; gap: .75rem; }
.scrub input { flex: 1; }
.scrub button { min-width: 7rem; }
.numbers { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: 0 1rem; }
.formula { font: 1rem/1.4 ui-serif, Georgia, serif; font-variant-numeric: tabular-nums; }
.switch { display: flex; align-items: center; gap: .5rem; min-height: 2.5rem; }
@container (max-width: 28rem) { text { font-size: 22px; } .views { column-gap: .5rem; } figcaption { font-size: .8125rem; } }
@media (forced-colors: active) { .bars { fill: Highlight; forced-color-adjust: none; } }
@media print { canvas { print-color-adjust: exact; } }
`;

export class Face {
  loaded = false;
  timestep = 0;
  variance = Number.NaN;

  #element;
  #error;
  #parts;
  #schedule;
  #start = new Float32Array();
  #epsilon = new Float32Array();
  #values = new Float32Array();
  #startVariance = 1;
  /** @type {any} draws the values: points, or the pixels of a picture */
  #paint;
  /** @type {(() => void) | null} ends what is played */
  #endPlay = null;
  #loads = 0;
  #frame = 0;
  #seen = false;
  #taking = false;
  #life = new AbortController();

  constructor(element, { root, error }) {
    this.#element = element;
    this.#error = error;
    this.#schedule = scheduleOf(option(element, 'schedule'));
    addStyle(root, STYLE);
    this.#parts = build(root, error.box);
    const { slider, nudge, play } = this.#parts;
    slider.addEventListener('input', () => {
      this.pause();
      element.noise = slider.value;
    });
    nudge.addEventListener('change', () => (element.nudge = nudge.checked ? 'on' : 'off'));
    play.addEventListener('click', () => (this.#endPlay ? this.pause() : this.play()));
    this.#showControls();
    this.#move();
  }

  connect() {
    this.#life = new AbortController();
    const { signal } = this.#life;
    for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) {
      matchMedia(query).addEventListener('change', () => this.redraw(), { signal });
    }
    const leave = whileSeen(this.#element, (seen) => {
      this.#seen = seen;
      if (!seen) this.pause();
      else if (!this.loaded) this.again();
    });
    signal.addEventListener('abort', leave);
  }

  disconnect() {
    this.#life.abort();
    this.pause();
  }

  free() {}

  async toBlob(options) {
    return (await import('./taking.js')).blobOf(this.loaded && this.#parts.canvas, options);
  }

  /** Gets the picture or makes the points, and draws. */
  async again() {
    const mine = ++this.#loads;
    const src = option(this.#element, 'src');
    this.#error.show();
    try {
      const found = src
        ? await (await import('./process-picture.js')).pictureOf(this.#element)
        : {
            values: cloud(option(this.#element, 'data'), POINTS),
            width: SIDE,
            height: SIDE,
            about: 'The points, each moved by its own noise',
            paint: (context, values) => this.#drawPoints(context, values),
          };
      if (mine === this.#loads) this.#take(found);
    } catch (sourceError) {
      if (mine !== this.#loads) return;
      this.loaded = false;
      const sentence = navigator.onLine ? 'The picture could not be loaded.' : 'You are offline, so the picture cannot be loaded.';
      fail(this.#element, this.#error, sentence, sourceError);
    }
  }

  async play() {
    if (!this.loaded) await this.again();
    this.pause();
    if (!this.loaded) return;
    const from = this.timestep >= STEPS ? 0 : option(this.#element, 'noise');
    const found = await import('./process-play.js').catch((error) => notLoaded(this.#element, this.#error, error));
    if (!found || !this.#element.isConnected) return;
    const { play } = found;
    await /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const end = play(from, (share) => {
          this.#element.noise = share;
          if (share === 1) this.pause();
        });
        this.#endPlay = () => {
          end();
          resolve();
        };
        this.#showPlay();
      })
    );
  }

  pause() {
    this.#endPlay?.();
    this.#endPlay = null;
    this.#showPlay();
  }

  #showPlay() {
    this.#parts.play.textContent = this.#endPlay ? 'Hold' : this.timestep >= STEPS ? 'Again' : 'Add noise';
  }

  changed(name) {
    if (name === 'src' || name === 'data' || name === 'seed') {
      if (this.#seen || this.loaded) this.again();
    } else if (name === 'controls') {
      this.#showControls();
    } else if (name === 'nudge' || name === 'schedule') {
      this.#schedule = scheduleOf(option(this.#element, 'schedule'));
      // The same step of the other process: its noise is another share of its last.
      this.#element.noise = shareAt(this.#schedule, this.timestep, this.#nudged);
      this.#move();
    } else {
      this.#move();
    }
  }

  get #nudged() {
    return option(this.#element, 'nudge') === 'on';
  }

  #take({ values, width, height, about, paint }) {
    const { canvas, caption } = this.#parts;
    this.#paint = paint;
    this.#start = values;
    this.#startVariance = moments(this.#start).variance;
    this.#epsilon = normals(option(this.#element, 'seed'), this.#start.length);
    this.#values = new Float32Array(this.#start.length);
    Object.assign(canvas, { width, height });
    canvas.classList.toggle('picture', option(this.#element, 'src') !== '');
    caption.textContent = about;
    const first = !this.loaded;
    this.loaded = true;
    this.#compute();
    this.#draw();
    if (first) emit(this.#element, 'load');
  }

  #move() {
    const share = option(this.#element, 'noise');
    const before = this.timestep;
    this.timestep = timestepAt(this.#schedule, share, this.#nudged);
    const { slider, nudge } = this.#parts;
    slider.value = share;
    nudge.checked = this.#nudged;
    this.#showPlay();
    if (!this.loaded) return this.#name();
    const variance = this.variance;
    this.#compute();
    if (this.timestep !== before || this.variance !== variance) {
      emit(this.#element, 'noise-change', { timestep: this.timestep, variance: this.variance });
    }
    this.redraw();
  }

  /** Draws with the next frame. */
  redraw() {
    if (this.loaded) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #compute() {
    noised(this.#start, this.#epsilon, factors(this.#schedule, this.timestep, this.#nudged), this.#values);
    this.variance = moments(this.#values).variance;
  }

  #draw() {
    this.#frame = 0;
    this.#paint(this.#parts.canvas.getContext('2d'), this.#values);
    this.#drawHistogram();
    this.#say();
  }

  #drawPoints(context, values) {
    context.clearRect(0, 0, SIDE, SIDE);
    context.fillStyle = getComputedStyle(this.#parts.bars).fill; // whatever the page made of the accent
    const place = (value) => ((value + LIMIT) / (2 * LIMIT)) * SIDE;
    for (let i = 0; i < values.length; i += 2) {
      context.beginPath();
      context.arc(place(values[i]), SIDE - place(values[i + 1]), 3, 0, 2 * Math.PI);
      context.fill();
    }
  }

  #drawHistogram() {
    const density = histogram(this.#values, BINS, LIMIT);
    [...this.#parts.bars.children].forEach((bar, i) => {
      const height = Math.min(1, density[i] / TALLEST) * FLOOR;
      bar.setAttribute('y', FLOOR - height);
      bar.setAttribute('height', height);
    });
  }

  /** What there will be to see. */
  #name() {
    const { canvas, chart } = this.#parts;
    canvas.setAttribute('aria-label', option(this.#element, 'alt') || 'What noise does to it');
    chart.setAttribute('aria-label', 'Histogram of the values');
  }

  #say() {
    const { signal, noise } = factors(this.#schedule, this.timestep, this.#nudged);
    const share = noise ** 2 / (signal ** 2 * this.#startVariance + noise ** 2);
    const variance = `variance ${this.variance.toFixed(2)}`;
    const moment = `Step ${this.timestep} of ${STEPS} · noise ${percent(share)} · ${variance}`;
    const { canvas, chart, slider, chartVariance } = this.#parts;
    this.#parts.moment.textContent = moment;
    this.#parts.signal.textContent = signal.toFixed(2);
    this.#parts.noise.textContent = noise.toFixed(2);
    chartVariance.textContent = variance;
    slider.setAttribute('aria-valuetext', moment);
    canvas.setAttribute('aria-label', `${option(this.#element, 'alt') || this.#parts.caption.textContent}. ${moment}`);
    chart.setAttribute('aria-label', `Histogram of the values: ${variance}. The normal distribution has variance 1.`);
  }

  #showControls() {
    const controls = option(this.#element, 'controls');
    const { play, slider, scrub, switches, chartFigure, numbers } = this.#parts;
    const hide = (part, name) => (part.hidden = !controls.includes(name));
    hide(play, 'play');
    hide(slider, 'noise');
    hide(numbers, 'noise');
    hide(switches, 'nudge');
    hide(chartFigure, 'histogram');
    scrub.hidden = play.hidden && slider.hidden;
    if ((this.#taking ||= /save|embed/.test(controls.join())))
      import('./taking.js').then(({ showTaking }) => showTaking(this.#element, scrub.parentNode));
  }
}

function build(root, before) {
  const bars = s('g', { class: 'bars' });
  for (let i = 0; i < BINS; i++) bars.append(s('rect', { x: (i * WIDE) / BINS + 0.5, width: WIDE / BINS - 1 }));
  const across = (value) => ((value + LIMIT) / (2 * LIMIT)) * WIDE;
  const tick = (value) => s('text', { x: across(value), y: FLOOR + 19 }, String(value).replace('-', '−'));
  const curve = Array.from({ length: 81 }, (_, i) => {
    const value = (i / 40 - 1) * LIMIT;
    const density = Math.exp((-value * value) / 2) / Math.sqrt(2 * Math.PI);
    return `${across(value)} ${FLOOR - (density / TALLEST) * FLOOR}`;
  });
  const chartVariance = s('text', { x: WIDE / 2, y: 24 });
  const chart = s(
    'svg',
    { part: 'histogram', role: 'img', viewBox: `0 0 ${WIDE} ${HIGH}` },
    bars,
    s('path', { class: 'normal', d: `M${curve.join('L')}` }),
    s('path', { class: 'axis', d: `M0 ${FLOOR}H${WIDE}` }),
    ...[-2, 0, 2].map(tick),
    chartVariance,
  );
  const canvas = h('canvas', { part: 'canvas', role: 'img' });
  const caption = h('figcaption');
  const chartFigure = h('figure', {}, chart, h('figcaption', {}, 'How the values are spread; the line is the normal distribution'));
  const play = h('button', { type: 'button', class: 'primary' }, 'Add noise');
  const slider = h('input', { type: 'range', min: 0, max: 1, step: 'any', 'aria-label': 'Noise' });
  const scrub = h('div', { class: 'scrub' }, play, slider);
  const nudge = h('input', { type: 'checkbox', role: 'switch' });
  const hint = 'Each step adds noise and shrinks what is there a little towards 0. Take this nudge away, and the variance grows and grows.';
  const switches = h('div', {}, h('label', { class: 'switch' }, nudge, 'Nudge to the origin'), h('p', { class: 'hint' }, hint));
  const moment = h('p', { class: 'moment' });
  const [signal, noise] = [h('span'), h('span')];
  const x = (below) => h('i', {}, 'x', h('sub', {}, below));
  const formula = h('p', { class: 'formula' }, x('t'), ' = ', signal, ' ', x('0'), ' + ', noise, ' ', h('i', {}, 'ε'));
  const numbers = h('div', { class: 'numbers' }, moment, formula);
  before.before(h('div', { class: 'views' }, h('figure', {}, canvas, caption), chartFigure));
  root.append(h('div', { part: 'controls' }, scrub, numbers, switches));
  return { canvas, caption, chart, chartFigure, chartVariance, bars, play, slider, scrub, nudge, switches, moment, signal, noise, numbers };
}
