// The data: pictures chosen or dropped, or a bundled set; what was made of them, and what noise does to them.

import { resolveSource } from '../../noiseball.js';
import { BUNDLED, prepare } from '../../training.js';
import { shown } from '../../words.js';
import { Grid } from '../grid.js';
import { byId } from '../page.js';
import { lookedUp, noiseShare, timestepAt } from './noise.js';
import { announceTraining, hideProblem, showProblem } from './notice.js';
import { Plot } from './plot.js';
import { dataSentence, noiseSentence } from './words.js';

const SHOWN = { pictures: 32, points: 1000, bits: 13 };
const STEPS = 1000; // of the slider
const OPTIONS = ['data-count', 'data-size', 'data-colour', 'data-fit', 'data-classes'];

export class DataPanel {
  #changed;
  #source = null; // of the data: resolved, or the name of a bundled set
  #options = null; // how they were read
  #data = null;
  #wishes = 0; // how many times something was chosen
  #reading = null; // stops the reading in progress
  #settled = Promise.resolve(true);
  #process = null; // {recipe, trainTimesteps, levels?}: the forward process of the newest plan
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
      if (byId('data-options').reportValidity() && this.#source) this.take(this.#source);
    });
    byId('data-noise').addEventListener('input', () => this.#draw());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#plot.draw());
  }

  /** Whether what was chosen last is there; waits until that is known. */
  get settled() {
    return this.#settled;
  }

  /** Reads these pictures in place of those before, which stay where this fails. What was chosen last counts. */
  take(promised) {
    const wish = ++this.#wishes;
    this.#reading?.abort();
    const newest = () => wish === this.#wishes;
    this.#settled = (async () => {
      try {
        const source = await promised;
        if (newest()) await this.#read(source, newest);
        return newest();
      } catch (error) {
        if (!newest()) return false;
        this.#showOptions();
        byId('data-facts').textContent = this.#data ? dataSentence(this.#data.info) : '';
        showProblem(noPictures(error));
        return false;
      }
    })();
    return this.#settled;
  }

  /** Reads the same pictures once more, where the worker that had them is gone. */
  refresh() {
    if (this.#data?.lost) this.take(this.#source);
  }

  /** Shows what the forward process of this plan does. */
  setProcess(process) {
    this.#process = process;
    if (Number(byId('data-noise').value) > 0) this.#draw();
  }

  async #read(source, newest) {
    const controller = new AbortController();
    this.#reading = controller;
    hideProblem();
    byId('data-facts').textContent = 'Reading the data…';
    const options = Object.fromEntries(OPTIONS.map((id) => [id, byId(id).value]));
    const data = await prepare(source, {
      signal: controller.signal,
      size: Number(options['data-size']) || undefined,
      grey: options['data-colour'] === 'grey',
      whole: options['data-fit'] === 'whole',
      classes: options['data-classes'] === 'folders',
      count: Number(options['data-count']),
      onProgress: ({ stage, done, total }) => {
        if (newest() && stage === 'read') byId('data-facts').textContent = `Reading picture ${done} of ${total}…`;
      },
    });
    if (!newest()) return data.dispose();
    this.#data?.dispose();
    [this.#data, this.#source, this.#options, this.#process] = [data, source, options, null];
    this.#show();
    this.#changed(data, typeof source === 'string' ? source : source.name);
  }

  /** Puts the choices back that the data were read with. */
  #showOptions() {
    for (const [id, value] of Object.entries(this.#options ?? {})) byId(id).value = value;
  }

  #show() {
    const { info, skipped, skippedCount, notes, about } = this.#data;
    byId('data-facts').textContent = dataSentence(info);
    announceTraining(dataSentence(info));
    byId('data-credit').textContent = about
      ? `${about.about}. ${about.source}. ${about.licence}.`
      : notes.map((note) => `${note}.`).join(' ');
    byId('data-skipped').hidden = skippedCount === 0;
    byId('data-skipped-title').textContent = `${skippedCount} ${skippedCount === 1 ? 'file was' : 'files were'} left out`;
    byId('data-skipped-list').replaceChildren(
      ...skipped.map(({ name, why }) => Object.assign(document.createElement('li'), { textContent: `${shown(name)}: ${why}` })),
    );
    for (const name of BUNDLED) byId(`data-${name}`).setAttribute('aria-pressed', String(this.#source === name));
    const list = info.kind !== 'pictures';
    byId('data-options').hidden = list;
    byId('data-count').parentElement.hidden = this.#source !== 'faces';
    byId('data-count').disabled = this.#source !== 'faces'; // so that what cannot be there stops nothing else
    byId('data-canvas').parentElement.hidden = list;
    byId('data-plot').parentElement.hidden = !list;
    byId('data-preview').hidden = false;
    // Where this is below the window's edge, it would look as if nothing had happened.
    byId('data-preview').scrollIntoView({ block: 'nearest' });
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
      const timestep = process && timestepAt(await this.#levels(process), position / STEPS);
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

  /** How much noise there is at some timesteps of a forward process. */
  #levels(process) {
    const data = this.#data;
    const level = async (timestep) => {
      const shown = await data.show({ indices: [0], recipe: process.recipe, timestep });
      return { timestep, share: noiseShare({ kind: data.info.kind, ...shown }) };
    };
    return (process.levels ??= Promise.all(lookedUp(process.trainTimesteps).map(level)));
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
    ? { type: 'dataset', message: 'there are no files here. Choose a folder of pictures, a ZIP or picture files' }
    : error;
}
