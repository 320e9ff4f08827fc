// The package's entry `noiseball`: load a checkpoint, take pictures from it. Types are in noiseball.d.ts. Training is an entry of
// its own, training.js, so that whoever only samples has nothing of it in a bundle.

import { openChannel } from './channel.js';
import { purge, storedFiles } from './cache.js';
import { answering, bytesOf, operatorOf, pictureOf, prepare } from './editing.js';
import { abortError, NoiseballError } from './errors.js';
import { checkRun, readBudget } from './memory.js';
import { prepareRequest } from './prompting.js';
import { SAMPLERS } from './samplers.js';
import { resolveSource } from './source.js';
import { untilVisible } from './visible.js';

export { slerp } from './editing.js';
export { ERROR_TYPES, NoiseballError } from './errors.js';
export { drawGrid, enlarge } from './grid.js';
export { readSamplerOptions, writeSamplerOptions } from './sampler-options.js';
export { resolveSource } from './source.js';
export { usualRun } from './usual.js';
export { loadFilesFrom } from './workers.js';

/** The samplers with their options: see SamplerInfo in noiseball.d.ts. */
export function samplers() {
  return structuredClone(SAMPLERS);
}

const SAMPLING = {
  scripts: ['worker.js', 'pkg/noiseball.js'],
  // Bundlers find a worker by this very form.
  bundled: () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module' }),
};

/** What few pages open, which has a worker and a module of its own: pipelines of several networks, and weights in PyTorch's own format. */
const LARGER = {
  scripts: ['text/worker.js', 'pkg-text/noiseball_text.js'],
  bundled: () => new Worker(new URL('./text/worker.js', import.meta.url), { type: 'module' }),
};

/** A diffusion model, ready to sample. `Noiseball.load` makes one. */
export class Noiseball {
  #source;
  #variant;
  #integrity;
  #device;
  #budget;
  /** Which worker it runs in. */
  #kind = SAMPLING;
  #channel;
  #id = null;
  #sampling = false;
  /** @type {import('./noiseball.js').Denoise | null} */
  #denoise = null;
  #step = 0;
  #gone = new AbortController();

  /** @private */
  constructor(source, { variant, device, integrity, budget }) {
    this.#source = source;
    this.#variant = variant;
    this.#integrity = integrity;
    this.#device = device;
    this.#budget = budget;
    /** What the model is and where it runs. */
    this.info = null;
  }

  /**
   * Loads a checkpoint from a folder's address, `hf:org/name`, a map of paths to addresses, or files. See noiseball.d.ts for the options.
   * @param {import('./noiseball.js').Source} source
   * @param {import('./noiseball.js').LoadOptions} [options]
   */
  static async load(source, { signal, onProgress, variant, device = 'auto', integrity, memory } = {}) {
    if (signal?.aborted) throw abortError(signal);
    const budget = readBudget(memory);
    const model = new Noiseball(await resolveSource(source), { variant, device, integrity, budget });
    await model.#load([signal], onProgress);
    return model;
  }

  /**
   * A model without a network: `denoise` says what is clean.
   * @param {import('./noiseball.js').Denoise} denoise
   * @param {import('./noiseball.js').DenoiserOptions} options
   */
  static async of(denoise, { shape, scheduler = {}, signal, onProgress } = /** @type {any} */ ({})) {
    if (typeof denoise !== 'function') throw new NoiseballError('invalid-option', 'Noiseball.of takes a function that says what is clean');
    if (!Array.isArray(shape) || shape.length !== 3 || !shape.every((n) => Number.isInteger(n) && n > 0 && n < 2 ** 16)) {
      throw new NoiseballError('invalid-option', '`shape` must be [channels, height, width], three whole numbers above 0');
    }
    if (Object(scheduler) !== scheduler)
      throw new NoiseballError('invalid-option', '`scheduler` must be what a scheduler_config.json holds');
    // A network's answer is clipped where its file says so; a function means what it says.
    const text = JSON.stringify({ clip_sample: false, ...scheduler });
    const source = { kind: 'formula', name: denoise.name || 'denoiser', shape, scheduler: text };
    const model = new Noiseball(source, { device: 'cpu', variant: undefined, integrity: undefined, budget: undefined });
    model.#denoise = denoise;
    await model.#load([signal], onProgress);
    return model;
  }

  /** Where it was loaded from, for `load` to load it again; null for a model that `of` made. */
  get source() {
    return this.#denoise ? null : this.#source;
  }

  /** How much the cache of downloaded checkpoints holds. */
  static async cached() {
    return storedFiles();
  }

  /** Empties the cache of downloaded checkpoints. */
  static async purge() {
    await purge();
  }

  /**
   * Samples a batch: an async iterator of its steps, the last of which holds the pictures. Leaving the loop
   * stops the run.
   * @param {import('./noiseball.js').SampleOptions} [options]
   */
  async *sample({ signal, pauseWhenHidden = false, onProgress, every = 1, ...given } = {}) {
    if (!Number.isInteger(every) || every < 0)
      throw new NoiseballError('invalid-option', `\`every\` is ${every}, but it must be a whole number, 0 or more`);
    const signals = [this.#gone.signal, signal];
    const { run, watch } = this.info.pipeline ? { run: prepareRequest(given, this.info), watch: null } : prepare(given, this.info);
    if (!this.info.pipeline) run.options.every = Math.min(every, 2 ** 32 - 1); // more steps than a run has
    checkRun(this.info, { batch: run.options.batch, guided: (given.guidance ?? this.info.guidance ?? 1) !== 1 });
    const denoise = this.#denoise && answering(this.#denoise, () => `in step ${this.#step}`);
    const onAsk = (question) => (question.noisy ? denoise?.(question) : watch?.(question));
    const ask = (message) => this.#channel.call({ ...message, model: this.#id }, { signals, onAsk, onProgress });
    this.#begins();
    try {
      await this.#begin({ op: 'sample', ...run }, signals, ask, onProgress);
      for (this.#step = 1; ; this.#step++) {
        if (pauseWhenHidden) await untilVisible(signals);
        const step = await ask({ op: 'next' });
        if (!step) return;
        const { index, total } = step;
        if ((index + 1) % every === 0 || index + 1 === total) yield step;
        else onProgress?.({ stage: 'sample', loaded: index + 1, total, file: null });
      }
    } finally {
      this.#ends();
    }
  }

  #begins() {
    if (this.#sampling) throw new NoiseballError('busy', 'this model is already at work; wait for that run or stop it first');
    this.#sampling = true;
  }

  #ends() {
    this.#sampling = false;
    this.#channel.post({ op: 'stop', model: this.#id });
  }

  /**
   * The noise that a run of this seed begins with, for one picture: for `slerp` and the option `noise`.
   * @param {number} seed
   * @returns {Promise<Float32Array>}
   */
  async noise(seed) {
    this.#needsOneNetwork('noise');
    return this.#channel.call({ op: 'noise', model: this.#id, seed }, { signals: [this.#gone.signal] });
  }

  /**
   * A prompt as the text encoder takes it: see noiseball.d.ts.
   * @param {string} prompt
   * @returns {Promise<import('./noiseball.js').PromptTokens>}
   */
  async tokens(prompt) {
    if (!this.info.pipeline?.prompt) throw new NoiseballError('invalid-option', 'this model takes no prompt');
    if (typeof prompt !== 'string') throw new NoiseballError('invalid-option', '`prompt` must be a text');
    return this.#channel.call({ op: 'tokens', model: this.#id, prompt }, { signals: [this.#gone.signal] });
  }

  #needsOneNetwork(what) {
    if (this.info.pipeline)
      throw new NoiseballError('unsupported-architecture', `${what}() is for models of one network, and this is a pipeline`);
  }

  /**
   * What an operator leaves of a picture: see noiseball.d.ts.
   * @param {import('./noiseball.js').PictureLike} picture
   * @param {import('./noiseball.js').Restore} operator
   * @returns {Promise<Float32Array>}
   */
  async measure(picture, operator) {
    this.#needsOneNetwork('measure');
    const [kind, amount] = operatorOf(operator);
    const message = { op: 'measure', model: this.#id, picture: pictureOf(picture, this.info), kind, amount };
    return this.#channel.call(message, { signals: [this.#gone.signal] });
  }

  /**
   * How many bits the model takes for each number of pictures: see noiseball.d.ts.
   * @param {import('./noiseball.js').PictureLike} pictures
   * @param {import('./noiseball.js').LikelihoodOptions} [options]
   * @returns {Promise<Float64Array>}
   */
  async bitsPerDim(pictures, { method = 'ode', steps = 40, probes = 1, timesteps = 100, label, seed = 0, signal, onProgress } = {}) {
    this.#needsOneNetwork('bitsPerDim');
    if (method !== 'ode' && method !== 'bound') throw new NoiseballError('invalid-option', "`method` must be 'ode' or 'bound'");
    for (const [name, count] of Object.entries({ steps, probes, timesteps })) {
      if (!Number.isInteger(count) || count < 1 || count > 100_000)
        throw new NoiseballError('invalid-option', `\`${name}\` is ${count}, but it must be a whole number from 1 to 100000`);
    }
    if (label !== undefined && typeof label !== 'number')
      throw new NoiseballError('invalid-option', '`label` must be the number of a class');
    const numbers = bytesOf(pictures, this.info);
    const count = method === 'bound' ? [0, 0, timesteps] : [steps, probes, 0];
    const signals = [this.#gone.signal, signal];
    const ask = (message) => this.#channel.call({ ...message, model: this.#id }, { signals });
    this.#begins();
    try {
      await this.#begin({ op: 'likelihood', pictures: numbers, label: label ?? NaN, count, seed }, signals, ask);
      for (;;) {
        const { bits, ...progress } = await ask({ op: 'next' });
        if (bits) return bits;
        onProgress?.(progress);
      }
    } finally {
      this.#ends();
    }
  }

  /** Frees the model's memory; a run in progress ends with an error of type 'disposed'. */
  dispose() {
    if (this.#gone.signal.aborted) return;
    this.#gone.abort(new NoiseballError('disposed', 'this model was disposed of; load it again'));
    this.#channel.post({ op: 'dispose', model: this.#id });
  }

  /** Begins a run. Where the device was lost before or since, the model is first loaded again, once. */
  async #begin(run, signals, ask, onProgress = (_) => {}) {
    try {
      if (this.#id !== null) return await ask(run);
    } catch (error) {
      if (error.type !== 'device-lost') throw error;
      this.#channel.post({ op: 'dispose', model: this.#id });
      this.#id = null;
    }
    await this.#load(signals, onProgress);
    return ask(run);
  }

  async #load(signals, onProgress) {
    const channel = openChannel(this.#kind);
    const { model, info, larger } = await channel.call(
      {
        op: 'load',
        source: this.#source,
        variant: this.#variant,
        device: this.#device,
        integrity: this.#integrity,
        budget: this.#budget,
        again: this.info !== null,
      },
      { signals, onProgress, late: (result) => channel.post({ op: 'dispose', model: result.model }) },
    );
    if (larger) {
      this.#kind = LARGER;
      return this.#load(signals, onProgress);
    }
    [this.#channel, this.#id, this.info] = [channel, model, info];
  }
}
