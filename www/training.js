// The package's entry `noiseball/train`: data sets, training runs, and those kept in this browser. Types are in training.d.ts.

import { openChannel } from './channel.js';
import { NoiseballError } from './errors.js';
import { readBudget } from './memory.js';
import { resolveSource } from './source.js';
import { RunStore } from './train/store.js';
import { TOYS } from './train/toys.js';

export { ERROR_TYPES, NoiseballError } from './errors.js';
export { Losses } from './train/losses.js';
export { loadFilesFrom } from './workers.js';

const TRAINING = {
  scripts: ['train/worker.js', 'train/host.js'],
  // Bundlers find a worker by this very form.
  bundled: () => new Worker(new URL('./train/worker.js', import.meta.url), { type: 'module' }),
};

const PICTURES = ['digits', 'faces', 'kanji'];

/** The data sets that come with the package: pictures, and data of known distributions. */
export const BUNDLED = [...PICTURES, ...Object.keys(TOYS)];

/** What can be trained on. `prepare` makes one. */
export class TrainingData {
  #channel;
  #id;
  about; // what `prepare` was told, as `info`, `skipped`, `skippedCount` and `notes` are

  constructor(channel, { data, info, skipped, skippedCount, notes, about }) {
    this.#channel = channel;
    this.#id = data;
    Object.assign(this, { info, skipped, skippedCount, notes, about });
  }

  get id() {
    return this.#id;
  }

  /** The presets that suit these data: see Preset in training.d.ts. */
  get presets() {
    const toy = this.about?.toy;
    return toy ? TOYS[toy].objectives.map((objective) => `${toy}-${objective}`) : ['tiny', 'small', 'medium'];
  }

  /**
   * The recipe of a preset, or this one, with what is to be changed in it, and what training by it takes. Rejects where it does not suit.
   * @param {Parameters<import('./training.js').TrainingData['plan']>[0]} [options]
   */
  async plan({ preset, recipe, ...changes } = {}) {
    const asked = { preset: preset ?? usualPreset(this), recipe: asText(recipe), changes };
    return { ...(await this.#channel.call({ op: 'plan', data: this.#id, ...asked })), budget: readBudget() };
  }

  /** Pictures, points or bits as the network sees them after a timestep of the forward process. */
  show({ indices, recipe, timestep = null, seed = 0, flip = false }) {
    return this.#channel.call({ op: 'show', data: this.#id, indices, recipe: asText(recipe), timestep, seed, flip });
  }

  /** How long a step takes, by taking a few. */
  measure({ recipe, device = 'auto', signal }) {
    return this.#channel.call(
      { op: 'measure', data: this.#id, recipe: asText(recipe), device, budget: readBudget() },
      { signals: [signal] },
    );
  }

  /** Whether its worker has gone, and it with it. */
  get lost() {
    return !this.#channel.alive;
  }

  dispose() {
    this.#channel.post({ op: 'forget', data: this.#id });
  }
}

/** A bundled set is a name to the worker, which has its files beside it. */
function bundled(source) {
  if (PICTURES.includes(source)) return { kind: 'bundled', name: source };
  return BUNDLED.includes(source) ? { kind: 'toy', name: source } : null;
}

/**
 * Reads pictures, from files or one of the bundled sets.
 * @param {import('./training.js').BundledData | import('./noiseball.js').Source} source
 * @param {import('./training.js').PrepareOptions} [options]
 */
export async function prepare(source, { signal, onProgress, ...options } = {}) {
  const resolved = bundled(source) ?? (await resolveSource(source));
  if (resolved.kind === 'url') throw new NoiseballError('invalid-option', `\`source\` must be files, or one of ${BUNDLED.join(', ')}`);
  const channel = openChannel(TRAINING);
  const late = (result) => channel.post({ op: 'forget', data: result.data });
  return new TrainingData(
    channel,
    await channel.call({ op: 'prepare', source: resolved, options }, { signals: [signal], onProgress, late }),
  );
}

/** A run. It goes on by itself; iterating over it gives its events, and ends when it has ended. */
export class Training {
  #channel;
  #queue = [];
  /** @type {(() => void) | null} */
  #wake = null;
  #over = false;
  #id = null; // of the kept run
  #recovered = false;
  #started = false; // since the last time that it came back

  constructor() {
    /** What the newest event said: {state, step, steps, rate, left, learningRate}. */
    this.progress = null;
  }

  /** Starts the call behind a run; resolves with its first event. */
  static async open(message) {
    const run = new Training();
    await run.#follow(message);
    return run;
  }

  /** @returns {Promise<void>} */
  #follow(message) {
    this.#channel = openChannel(TRAINING);
    this.#started = false;
    return new Promise((resolve, reject) => {
      const onProgress = (event) => {
        this.#take(event);
        if (event.type === 'start') resolve();
      };
      const end = (error) => {
        reject(error);
        this.#end(error);
      };
      this.#channel.call(message, { onProgress }).then(() => end(new NoiseballError('disposed', 'this run was closed')), end);
    });
  }

  #take(event) {
    const { state, step, steps, rate, left, learningRate } = event;
    if (state) this.progress = { state, step, steps, rate, left, learningRate };
    if (event.type === 'start') [this.#id, this.#started] = [event.id, true];
    this.#push(event);
  }

  #push(event) {
    this.#queue.push(event);
    this.#wake?.();
  }

  #end(error) {
    if (this.#over) return;
    // A run comes back as far as it was kept: after a lost device once, for it may be lost again; out of memory with half the
    // pictures at a time, until there is only one.
    const [lost, full] = [error.type === 'device-lost' && !this.#recovered, error.type === 'out-of-memory'];
    if (this.#id && this.#started && (lost || full)) {
      this.#recovered ||= lost;
      this.#push({ type: 'recovering', error: { type: error.type, message: error.message } });
      this.#follow({ op: 'continue', run: this.#id, ...(full && { split: true }) }).catch(() => {}); // ends the run, which tells
      return;
    }
    this.#over = true;
    if (error.type !== 'disposed') this.#push({ type: 'failed', error: { type: error.type, message: error.message, fatal: true } });
    this.#wake?.();
  }

  /** The events from the start of the run on; one reader takes each. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#queue.length > 0) yield this.#queue.shift();
      if (this.#over) return;
      await /** @type {Promise<void>} */ (new Promise((resolve) => (this.#wake = resolve)));
      this.#wake = null;
    }
  }

  #ask(op, more) {
    if (this.#over) return Promise.reject(new NoiseballError('disposed', 'this run was closed'));
    return this.#channel.call({ op, ...more });
  }

  /** Saves, and computes nothing until `resume`. */
  async pause() {
    await this.#ask('pause');
  }

  async resume() {
    await this.#ask('resume');
  }

  /** Ends the run where it is; it can still be exported and sampled. */
  async stop() {
    await this.#ask('stop');
  }

  /** The peak rate, above 0 and at most 1, from the next step on. */
  async setLearningRate(rate) {
    await this.#ask('rate', { rate });
  }

  /** Makes it a run of another length, of at least the steps that are done; one that has ended goes on. */
  async setSteps(steps) {
    await this.#ask('steps', { steps });
  }

  /** The averaged weights of now as what `Noiseball.load` takes. */
  async source(name) {
    const files = await this.#ask('files');
    return { kind: 'files', name, files: files.map(([path, bytes]) => ({ path, file: new File([bytes], path.split('/').at(-1)) })) };
  }

  /** A ZIP archive of a diffusers folder: weights, model card, recipe, losses. */
  async export() {
    return new Blob([await this.#ask('export')], { type: 'application/zip' });
  }

  /** The run's whole state, for browsers that keep none. */
  async state() {
    return new Blob([await this.#ask('state')], { type: 'application/octet-stream' });
  }

  /** Ends the run and frees its memory; what was kept of it stays. */
  async close() {
    if (!this.#over) await this.#channel.call({ op: 'close' });
    this.#over = true;
    this.#wake?.();
  }
}

/**
 * Starts to train a network on what `prepare` gave.
 * @param {Partial<import('./training.js').TrainOptions>} [options]
 */
export async function train({ data, recipe, preset, device = 'auto', name = 'my model', from, heldOut, memory, ...changes } = {}) {
  if (!(data instanceof TrainingData)) throw new NoiseballError('invalid-option', '`data` must be what `prepare` gives');
  const budget = readBudget(memory);
  const plan = await data.plan({ ...changes, preset, recipe });
  const source = from === undefined ? undefined : await resolveSource(from);
  return Training.open({ op: 'begin', data: data.id, recipe: plan.recipe, device, name, from: source, heldOut, budget });
}

/** Points and bits have presets of their own; of pictures the size decides. */
function usualPreset({ about, presets }) {
  return about?.toy && presets[0];
}

/** The runs kept in this browser, newest first. No worker is started for it. */
export async function runs() {
  return (await RunStore.open()).list();
}

/**
 * Goes on with a kept run; `steps` makes it one of another length.
 * @param {string} run
 * @param {{device?: import('./noiseball.js').Device, steps?: number}} [options]
 */
export function continueRun(run, { device, steps } = {}) {
  return Training.open({ op: 'continue', run, device, steps });
}

/** Deletes a kept run. */
export function removeRun(run) {
  return openChannel(TRAINING).call({ op: 'remove', run });
}

function asText(recipe) {
  return recipe === undefined || typeof recipe === 'string' ? recipe : JSON.stringify(recipe);
}
