// The data: pictures chosen or dropped, or a bundled set; what was made of them, and what noise does to them.

import { resolveSource } from '../../source.js';
import { BUNDLED, prepare } from '../../training.js';
import { isList } from '../../train/toys.js';
import { Grid } from '../grid.js';
import { byId } from '../page.js';
import { announceTraining, hideProblem, showProblem } from './notice.js';
import { Plot } from './plot.js';
import { dataSentence, noiseSentence } from './words.js';

const SHOWN = { pictures: 32, points: 1000, bits: 13 };
const STEPS = 1000; // of the slider

export class DataPanel {
  #changed;
  #source = null; // resolved, or the name of a bundled set
  #data = null;
  #reading = null;
  #process = null; // {recipe, trainTimesteps}: the forward process of the newest plan
  #grid = new Grid(byId('data-canvas'));
  #plot = new Plot(byId('data-plot'), { axes: true });
  #drawing = false;
  #again = false;

  /** `changed(data)` is called with every new data set; null when there is none any more. */
  constructor(changed) {
    this.#changed = changed;
    for (const [button, input] of [
      ['data-folder', 'data-folder-input'],
      ['data-files', 'data-files-input'],
    ]) {
      byId(button).addEventListener('click', () => byId(input).click());
      byId(input).addEventListener('change', () => {
        const files = [...byId(input).files];
        byId(input).value = '';
        if (files.length > 0) this.take(resolveSource(files));
      });
    }
    byId('data-options').addEventListener('submit', (event) => event.preventDefault());
    byId('data-options').addEventListener('change', () => {
      if (byId('data-options').reportValidity() && this.#source) this.#read();
    });
    byId('data-noise').addEventListener('input', () => this.#draw());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#plot.draw());
  }

  /** Reads these pictures in place of those before, which stay where this fails. */
  async take(promised) {
    const before = this.#source;
    try {
      this.#source = await promised;
      await this.#read();
    } catch (error) {
      this.#source = before;
      showProblem(noPictures(error));
    }
  }

  /** Reads the same pictures once more, where the worker that had them is gone. */
  refresh() {
    if (this.#data?.lost) this.#read();
  }

  /** Shows what the forward process of this plan does. */
  setProcess(process) {
    this.#process = process;
    if (Number(byId('data-noise').value) > 0) this.#draw();
  }

  async #read() {
    this.#reading?.abort();
    const controller = new AbortController();
    this.#reading = controller;
    hideProblem();
    byId('data-facts').textContent = 'Reading the data…';
    const value = (id) => byId(id).value;
    try {
      const data = await prepare(this.#source, {
        signal: controller.signal,
        size: Number(value('data-size')) || undefined,
        grey: value('data-colour') === 'grey',
        whole: value('data-fit') === 'whole',
        classes: value('data-classes') === 'folders',
        count: Number(value('data-count')),
        onProgress: ({ done, total }) => (byId('data-facts').textContent = `Reading picture ${done} of ${total}…`),
      });
      this.#data?.dispose();
      this.#data = data;
      this.#process = null;
      this.#show();
      this.#changed(data, typeof this.#source === 'string' ? this.#source : this.#source.name);
    } catch (error) {
      if (error.type === 'aborted') return;
      byId('data-facts').textContent = this.#data ? dataSentence(this.#data.info) : '';
      showProblem(noPictures(error));
    } finally {
      if (this.#reading === controller) this.#reading = null;
    }
  }

  #show() {
    const { info, skipped, skippedCount, about } = this.#data;
    byId('data-facts').textContent = dataSentence(info);
    announceTraining(dataSentence(info));
    byId('data-credit').textContent = about ? `${about.about}. ${about.source}. ${about.licence}.` : '';
    byId('data-skipped').hidden = skippedCount === 0;
    byId('data-skipped-title').textContent = `${skippedCount} ${skippedCount === 1 ? 'file was' : 'files were'} left out`;
    byId('data-skipped-list').replaceChildren(
      ...skipped.map(({ name, why }) => Object.assign(document.createElement('li'), { textContent: `${name}: ${why}` })),
    );
    for (const name of BUNDLED) byId(`data-${name}`).setAttribute('aria-pressed', String(this.#source === name));
    const list = isList(info);
    byId('data-options').hidden = list;
    byId('data-count').parentElement.hidden = this.#source !== 'faces';
    byId('data-count').disabled = this.#source !== 'faces'; // so that what cannot be there stops nothing else
    byId('data-canvas').parentElement.hidden = list;
    byId('data-plot').parentElement.hidden = !list;
    byId('data-preview').hidden = false;
    this.#draw();
  }

  /** Draws the newest wish; those that came while it drew are one. */
  async #draw() {
    if (!this.#data) return;
    if (this.#drawing) {
      this.#again = true;
      return;
    }
    this.#drawing = true;
    try {
      const { count, kind } = this.#data.info;
      const length = Math.min(SHOWN[kind], count);
      const indices = Array.from({ length }, (_, i) => Math.floor((i * count) / length));
      const position = Number(byId('data-noise').value);
      const process = position > 0 ? this.#process : null; // null as long as there is no plan
      const timestep = process && Math.round((position / STEPS) * (process.trainTimesteps - 1));
      const shown = await this.#data.show({ indices, recipe: process?.recipe, timestep });
      const text = noiseSentence({ kind, ...shown }, timestep);
      byId('data-moment').textContent = text;
      byId('data-noise').setAttribute('aria-valuetext', text);
      if (kind === 'pictures') {
        this.#grid.show(shown.pictures, { batch: length, width: shown.width, height: shown.height }, 8);
        this.#grid.describe(`${length} pictures of the data set, noise: ${text}`);
      } else {
        await this.#drawList(kind, indices, shown, text);
      }
    } catch (error) {
      if (error.type !== 'disposed') showProblem(error);
    } finally {
      this.#drawing = false;
    }
    if (this.#again) {
      this.#again = false;
      this.#draw();
    }
  }

  async #drawList(kind, indices, { values, channels, batch, alpha, sigma }, text) {
    const { name } = this.#data.about;
    if (kind === 'bits') return this.#plot.show({ kind, channels, values }, `${batch} sequences of bits, ${name}, noise: ${text}`);
    const { values: behind } = await this.#data.show({ indices });
    // Where noise is added and the data are not made smaller for it, the plot reaches further.
    this.#plot.show(
      { kind, channels, values, behind, reach: Math.max(1, Math.hypot(alpha, sigma)) },
      `${batch} points, ${name}, noise: ${text}`,
    );
  }
}

/** What checkpoints need is no help with pictures. */
function noPictures(error) {
  return error.type === 'checkpoint'
    ? { type: 'dataset', message: 'there are no files here. Give a folder of pictures, a ZIP or picture files' }
    : error;
}
