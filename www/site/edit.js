// Editing a picture with the model that is open: a part painted anew, a picture begun with, restored or inverted, and the way between
// two seeds.

import { h } from '../elements.js';
import { drawGrid, slerp, usualRun } from '../noiseball.js';
import { fitted, Mask } from '../painting.js';
import { clearNotice, showError, tell } from './notice.js';
import { announce, byId, fillSelect } from './page.js';
import { readValue, ROWS, rowOf } from './state.js';

/** What each task does, in a sentence, and what it is begun with. */
const TASKS = {
  paint: { about: 'Paint over a part of the picture: the model makes it anew, to fit what is kept.', verb: 'Paint anew' },
  begin: { about: 'Noise is added to the whole picture, as much as you say, and taken away again.', verb: 'Make it anew' },
  restore: { about: 'A part of what the picture says is taken away; the model makes up what fits the rest.', verb: 'Restore' },
  between: { about: 'Seven pictures, from one seed’s noise to another’s along the sphere that noise lies on.', verb: 'Go between' },
  invert: {
    about: 'DDIM backwards: from the picture to the noise that makes it, and from that noise to the picture.',
    verb: 'There and back',
  },
};
/** What pipelines of several networks do, too. */
const OF_PIPELINES = ['paint', 'begin'];
const BETWEEN = 7;
const OWN = ROWS.filter(({ of }) => of === 'edit').map(({ name }) => name);
const SHARED = ['seed', 'steps', 'prompt'];
const LIKELIHOOD = { steps: 20, probes: 1 };

export class Edit {
  #model;
  #state;
  #changed;
  /** @type {AbortController | null} */
  #work = null;
  /** @type {ImageBitmap | null} the reader's own picture, as large as it came */
  #own = null;
  #shape = '';
  /** @type {any} what the model is, where it is a pipeline */
  #pipeline = null;
  #pixels = null;
  #label = 0;
  #mask;

  /** `model()` gives the model that is open, or a promise of it; `changed()` is called when the reader changed the state. */
  constructor({ model, state, changed }) {
    [this.#model, this.#state, this.#changed] = [model, state, changed];
    this.#mask = new Mask(byId('edit-canvas'), (text) => this.#counted(text));
    for (const name of [...OWN, ...SHARED]) this.#prepare(rowOf(name), byId(`edit-${name}`));
    byId('edit-start').addEventListener('click', () => (this.#work ? this.stop() : this.#run()));
    byId('edit-likely').addEventListener('click', () => (this.#work ? this.stop() : this.#likelihood()));
    byId('edit-sample').addEventListener('click', () => this.#sample(crypto.getRandomValues(new Uint32Array(1))[0]));
    byId('edit-choose').addEventListener('click', () => byId('edit-file').click());
    byId('edit-file').addEventListener('change', () => {
      const [file] = byId('edit-file').files;
      byId('edit-file').value = '';
      if (file) this.take(file);
    });
    byId('edit-whole').addEventListener('change', () => this.#fit());
    byId('edit-class').addEventListener('change', () => (this.#label = Number(byId('edit-class').value)));
    byId('edit-use').addEventListener('click', () => this.#use());
    byId('edit-brush').addEventListener('input', () => (this.#mask.brush = Number(byId('edit-brush').value)));
    byId('edit-erase').addEventListener('change', () => (this.#mask.erases = byId('edit-erase').checked));
    byId('edit-clear').addEventListener('click', () => this.#mask.clear());
    byId('edit-swap').addEventListener('click', () => this.#mask.invert());
    byId('edit-rectangle').addEventListener('submit', (event) => {
      event.preventDefault();
      const [x, y, width, height] = ['x', 'y', 'width', 'height'].map((name) => Number(byId(`edit-${name}`).value));
      this.#mask.rectangle(x - 1, y - 1, width, height);
    });
    window.addEventListener('paste', (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith('image/'));
      if (file && this.#state.view === 'edit') this.take(file);
    });
  }

  /** Shows the state; of a model that it has not seen, with a sample of it. */
  async show() {
    for (const name of [...OWN, ...SHARED]) {
      const control = byId(`edit-${name}`);
      if (control.value !== String(this.#state[name])) control.value = this.#state[name];
    }
    this.#showTask();
    const model = await this.#model();
    if (!model) return this.#say('No model is loaded.');
    const { info } = model;
    this.#pipeline = info.pipeline ?? null;
    for (const option of byId('edit-task').options) option.disabled = this.#pipeline !== null && !OF_PIPELINES.includes(option.value);
    if (this.#pipeline && !OF_PIPELINES.includes(this.#state.task)) {
      byId('edit-task').value = this.#state.task = OF_PIPELINES[0];
      this.#changed();
    }
    this.#showTask();
    if (this.#pipeline && !this.#pipeline.init) return this.#say('This model begins with noise alone: it takes no picture.');
    const shape = [info.name, info.channels, info.width, info.height].join();
    if (shape === this.#shape) return;
    this.stop();
    this.#shape = shape;
    const { classes, labels } = info;
    byId('edit-class').parentElement.hidden = classes === null;
    if (classes !== null) {
      const all = Array.from({ length: classes }, (_, i) => ({ value: String(i), text: labels?.[i] ?? `Class ${i}` }));
      fillSelect(byId('edit-class'), all);
      this.#label = 0;
    }
    byId('edit-steps').max = info.trainTimesteps;
    byId('edit-brush').max = Math.max(2, info.width >> 1);
    this.#mask.brush = Math.max(1, info.width >> 3);
    byId('edit-brush').value = this.#mask.brush;
    for (const [name, most] of Object.entries({ x: info.width, width: info.width, y: info.height, height: info.height }))
      byId(`edit-${name}`).max = most;
    const [x, y, width, height] = [1, (info.height >> 1) + 1, info.width, info.height >> 2];
    Object.entries({ x, y, width, height }).forEach(([name, value]) => {
      byId(`edit-${name}`).value = value;
    });
    byId('edit-restoring').querySelector('[value=grey]').disabled = info.channels !== 3;
    byId('edit-result').replaceChildren();
    byId('edit-use').hidden = true;
    if (this.#own) await this.#fit();
    else await this.#sample(this.#state.seed + 1); // what is made of it begins with another noise
    this.#mask.rectangle(x - 1, y - 1, width, height);
    this.#counted('');
  }

  stop() {
    this.#work?.abort();
  }

  /** A picture of the reader's own. */
  async take(file) {
    try {
      this.#own = await createImageBitmap(file);
    } catch {
      tell(
        'This picture could not be read.',
        `${file.name || 'It'} is not a picture that this browser shows. Take a PNG, JPEG or WebP file`,
      );
      return;
    }
    clearNotice();
    await this.#fit();
    this.#say('Your picture, at the model’s size. It stays on your device.');
  }

  async #fit() {
    const model = await this.#model();
    if (model && this.#own) this.#picture(fitted(this.#own, model.info, byId('edit-whole').checked));
  }

  #picture(pixels) {
    this.#pixels = pixels;
    byId('edit-bits').textContent = '';
    this.#mask.show(pixels);
  }

  /** A picture that the model makes of a seed. */
  #sample(seed) {
    return this.#working(async (model, signal) => {
      this.#say('Drawing a picture to edit…');
      const step = await this.#last(model, { seed, signal });
      this.#own = null;
      this.#picture(new ImageData(step.pictures, step.width, step.height));
      this.#say('A sample of the model, to be edited.');
    });
  }

  /** What was made becomes what is edited. */
  async #use() {
    const canvas = byId('edit-result').querySelector('canvas:last-of-type');
    this.#own = null;
    this.#picture(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height));
    announce('It is the picture to edit now.');
  }

  #run() {
    return this.#working(async (model, signal) => {
      const { task, seed, steps, strength, resamplings, jump, other } = this.#state;
      const init = this.#pixels;
      byId('edit-use').hidden = true;
      byId('edit-result').replaceChildren();
      const plain = { seed, signal, steps };
      if (task === 'between') {
        const [from, to] = [await model.noise(seed), await model.noise(other)];
        const all = Array.from({ length: BETWEEN }, (_, i) => [...slerp(from, to, i / (BETWEEN - 1))]);
        await this.#last(model, { ...plain, batch: BETWEEN, noise: Float32Array.from(all.flat()) }, `From seed ${seed} to seed ${other}`);
        return this.#say(`From seed ${seed} to seed ${other}.`);
      }
      if (task === 'invert') return this.#thereAndBack(model, { ...plain, sampler: 'ddim', eta: 0 }, init);
      if (task === 'restore') return this.#restore(model, plain, init);
      if (task === 'begin') {
        await this.#last(model, { ...plain, init, strength }, 'The picture made anew');
      } else {
        if (this.#mask.painted === 0) return tell('Nothing is painted.', 'Paint over what the model is to make anew');
        // RePaint goes back over so many steps, of which there must be as many.
        const again = resamplings > 1 && !this.#pipeline ? { resamplings, jumpLength: Math.min(jump, steps) } : {};
        await this.#last(model, { ...plain, init, mask: this.#mask.values, ...again }, 'The picture with its part painted anew');
      }
      byId('edit-use').hidden = false;
      this.#say('Done.');
    });
  }

  async #thereAndBack(model, plain, init) {
    this.#say('To its noise…');
    const { latents } = await this.#last(model, { ...plain, init, invert: true }, 'The noise that it is made of');
    this.#say('And back…');
    const back = await this.#last(model, { ...plain, noise: latents }, 'The picture made of that noise');
    const given = init.data;
    let sum = 0;
    for (let i = 0; i < given.length; i++) if (i % 4 < 3) sum += Math.abs(given[i] - back.pictures[i]);
    this.#say(`The picture that came back differs by ${(sum / given.length / 0.75).toFixed(1)} of 255 levels in the mean.`);
  }

  async #restore(model, plain, init) {
    const { restoring, blur } = this.#state;
    const restore = restoring === 'blur' ? `blur:${blur}` : restoring;
    const measured = await model.measure(init, restore);
    this.#show(
      measured,
      model.info,
      { grey: 'Its grey picture', blur: 'It blurred' }[restoring] ??
        `A picture of ${restoring === 'x2' ? 'half' : 'a quarter of'} the size`,
    );
    const k = Number(/^x(\d)$/.exec(restore)?.[1] ?? 1);
    const { width, height } = model.info;
    const kept = (_, i) => (i % width) % k === 0 && Math.floor((i % (width * height)) / width) % k === 0;
    await this.#last(model, { ...plain, init: measured.filter(kept), restore }, 'Restored');
    byId('edit-use').hidden = false;
    this.#say('Restored: the same was measured of it, and the rest is made up.');
  }

  #likelihood() {
    return this.#working(async (model, signal) => {
      const [bits] = await model.bitsPerDim(this.#pixels, {
        ...LIKELIHOOD,
        ...(model.info.classes !== null && { label: this.#label }),
        signal,
        onProgress: ({ loaded, total }) => this.#say(`How likely it is: ${loaded} of ${total} evaluations…`, false),
      });
      byId('edit-bits').textContent = `${bits.toFixed(2)} bits for each number of this picture.`;
      this.#say(`${bits.toFixed(2)} bits for each number.`);
    });
  }

  /** The last step of a run, whose pictures are shown as they come where they have a name. */
  async #last(model, options, name = '') {
    const { sampler } = usualRun(model.info);
    const { classes, pipeline } = model.info;
    const told = { ...(classes !== null && { labels: [this.#label] }), ...(pipeline?.prompt && this.#words()) };
    const canvas = name && this.#canvas(name);
    let last;
    const every = canvas ? 1 : 0;
    for await (const step of model.sample({
      sampler: this.#state.sampler || sampler,
      ...told,
      steps: this.#state.steps,
      every,
      ...options,
    })) {
      last = step;
      if (!canvas) continue;
      drawGrid(canvas, step.pictures, step, options.batch ?? 1);
      canvas.classList.toggle('strip', step.batch > 1);
      this.#say(`${name}: step ${step.index + 1} of ${step.total}…`, false);
    }
    return last;
  }

  /** What a model that takes words is told. */
  #words() {
    const { prompt, negativePrompt, guidance } = this.#state;
    return { prompt, guidance, ...(negativePrompt && { negativePrompt }) };
  }

  #canvas(name) {
    const canvas = h('canvas', { width: 1, height: 1, role: 'img', 'aria-label': name });
    byId('edit-result').append(h('figure', {}, canvas, h('figcaption', {}, name)));
    return canvas;
  }

  #show(numbers, { channels, width, height }, name) {
    const plane = width * height;
    const pixels = new Uint8ClampedArray(4 * plane);
    const value = (pixel, channel) => 127.5 * (numbers[(channels < 3 ? 0 : channel) * plane + pixel] + 1);
    for (let i = 0; i < pixels.length; i++) pixels[i] = i % 4 === 3 ? 255 : value(i >> 2, i % 4);
    const canvas = this.#canvas(name);
    drawGrid(canvas, pixels, { batch: 1, width, height });
  }

  /** One thing after the other; what is told to stop says so. */
  async #working(task) {
    this.stop();
    const work = new AbortController();
    const before = this.#done;
    this.#work = work;
    byId('edit-start').textContent = 'Stop';
    this.#done = (async () => {
      await before;
      try {
        const model = await this.#model();
        if (!model) return this.#say('No model is loaded.');
        if (work.signal.aborted) return;
        clearNotice();
        await task(model, work.signal);
      } catch (error) {
        if (error.type !== 'aborted') showError(error);
        if (this.#work === work) this.#say(error.type === 'aborted' ? 'Stopped.' : 'It did not work.');
      } finally {
        if (this.#work === work) {
          this.#work = null;
          this.#showTask();
        }
      }
    })();
    return this.#done;
  }
  #done = Promise.resolve();

  #showTask() {
    const { task, restoring } = this.#state;
    byId('edit-about').textContent = TASKS[task].about;
    if (!this.#work) byId('edit-start').textContent = TASKS[task].verb;
    for (const part of document.querySelectorAll('#editing [data-for]')) {
      const { for: tasks = '' } = /** @type {HTMLElement} */ (part).dataset;
      /** @type {HTMLElement} */ (part).hidden = !tasks.split(' ').includes(task);
    }
    for (const name of ['resamplings', 'jump']) byId(`edit-${name}`).parentElement.hidden ||= this.#pipeline !== null;
    byId('edit-likely').closest('[data-for]').hidden ||= this.#pipeline !== null;
    byId('edit-prompt').parentElement.hidden = !this.#pipeline?.prompt;
    byId('edit-blur').parentElement.hidden = task !== 'restore' || restoring !== 'blur';
    this.#mask.on = task === 'paint';
    this.#mask.draw();
    byId('edit-canvas').tabIndex = this.#mask.on ? 0 : -1;
    this.#counted('');
  }

  #counted(text) {
    const count = Math.round(this.#mask.painted);
    byId('edit-painted').textContent = `${count} of ${this.#mask.values.length} pixels are painted.`;
    if (text) announce(`${text}. ${count} painted.`);
  }

  #say(text, aloud = true) {
    byId('edit-status').textContent = text;
    if (aloud) announce(text);
  }

  #prepare(row, control) {
    if (row.type === 'choice') fillSelect(control, row.choices, this.#state[row.name]);
    else Object.assign(control, { min: row.min, max: row.max, step: row.step ?? (row.type === 'whole' ? 1 : 'any') });
    const hint = byId(`edit-${row.name}-hint`);
    if (hint && row.about) hint.textContent = row.about;
    control.addEventListener('change', () => {
      const value = readValue(row, control.value);
      if (value === undefined || !control.checkValidity()) return control.reportValidity();
      this.#state[row.name] = value;
      this.#showTask();
      this.#changed();
    });
  }
}
