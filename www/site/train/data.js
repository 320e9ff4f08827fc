// The pictures: chosen, dropped or bundled; what was made of them, and what noise does to them.

import { Noiseball } from '../../noiseball.js';
import { resolveSource } from '../../source.js';
import { Grid } from '../grid.js';
import { byId } from '../page.js';
import { announceTraining, hideProblem, showProblem } from './notice.js';
import { dataSentence } from './words.js';

const SHOWN = 32;
const STEPS = 1000; // of the slider

export class DataPanel {
  #changed;
  #source = null; // resolved, or the name of a bundled set
  #data = null;
  #reading = null;
  #grid = new Grid(byId('data-canvas'));
  #drawing = false;
  #again = false;

  /** `changed(data)` is called with every new data set; null when there is none any more. */
  constructor(changed) {
    this.#changed = changed;
    for (const [button, input] of [['data-folder', 'data-folder-input'], ['data-files', 'data-files-input']]) {
      byId(button).addEventListener('click', () => byId(input).click());
      byId(input).addEventListener('change', () => {
        const files = [...byId(input).files];
        byId(input).value = '';
        if (files.length > 0) this.take(resolveSource(files));
      });
    }
    byId('data-options').addEventListener('submit', (event) => event.preventDefault());
    byId('data-options').addEventListener('change', () => this.#source && this.#read());
    byId('data-noise').addEventListener('input', () => this.#draw());
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

  async #read() {
    this.#reading?.abort();
    const controller = new AbortController();
    this.#reading = controller;
    hideProblem();
    byId('data-facts').textContent = 'Reading the pictures…';
    const value = (id) => byId(id).value;
    try {
      const data = await Noiseball.prepare(this.#source, {
        signal: controller.signal,
        size: Number(value('data-size')) || undefined,
        grey: value('data-colour') === 'grey',
        whole: value('data-fit') === 'whole',
        classes: value('data-classes') === 'folders',
        onProgress: ({ done, total }) => (byId('data-facts').textContent = `Reading picture ${done} of ${total}…`),
      });
      this.#data?.dispose();
      this.#data = data;
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
    byId('data-skipped-list').replaceChildren(...skipped.map(({ name, why }) => Object.assign(document.createElement('li'), { textContent: `${name}: ${why}` })));
    for (const name of ['digits', 'faces']) byId(`data-${name}`).setAttribute('aria-pressed', String(this.#source === name));
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
      const { count } = this.#data.info;
      const shown = Math.min(SHOWN, count);
      const indices = Array.from({ length: shown }, (_, i) => Math.floor((i * count) / shown));
      const position = Number(byId('data-noise').value);
      const recipe = position > 0 ? (await this.#data.plan({ preset: 'tiny' })).recipe : '';
      const timestep = position > 0 ? Math.round((position / STEPS) * 999) : null;
      const { pictures, noise, width, height } = await this.#data.show({ indices, recipe, timestep });
      this.#grid.show(pictures, { batch: shown, width, height }, 8);
      const text = position === 0 ? 'none' : `t = ${timestep}, ${Math.round(100 * noise)} % noise`;
      byId('data-moment').textContent = text;
      byId('data-noise').setAttribute('aria-valuetext', text);
      this.#grid.describe(`${shown} pictures of the data set, noise: ${text}`);
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
}

/** What checkpoints need is no help with pictures. */
function noPictures(error) {
  return error.type === 'checkpoint' ? { type: 'dataset', message: 'there are no files here. Give a folder of pictures, a ZIP or picture files' } : error;
}
