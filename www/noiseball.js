// Noiseball's JavaScript API: load a checkpoint, take pictures from it. Types are in noiseball.d.ts.

import { openChannel } from './channel.js';
import { purge } from './cache.js';
import { abortError, NoiseballError } from './errors.js';
import { resolveSource } from './source.js';

export { ERROR_TYPES, NoiseballError } from './errors.js';

/** A diffusion model, ready to sample. `Noiseball.load` makes one. */
export class Noiseball {
  #channel;
  #id;
  #sampling = false;
  #gone = new AbortController();

  /** @private */
  constructor(channel, id, info) {
    this.#channel = channel;
    this.#id = id;
    /** What the model is and where it runs. */
    this.info = info;
  }

  /** Loads a checkpoint from a folder's address, a hub id, or files. See noiseball.d.ts for the options. */
  static async load(source, { signal, onProgress, device = 'auto' } = {}) {
    if (signal?.aborted) throw abortError(signal);
    const resolved = await resolveSource(source, globalThis.document?.baseURI ?? import.meta.url);
    const channel = openChannel();
    const { model, info } = await channel.call(
      { op: 'load', source: resolved, device },
      { signals: [signal], onProgress, late: (result) => channel.post({ op: 'dispose', model: result.model }) },
    );
    return new Noiseball(channel, model, info);
  }

  /** Empties the cache of downloaded checkpoints. */
  static async purge() {
    await purge();
  }

  /**
   * Samples a batch: an async iterator of its steps, the last of which holds the pictures. Leaving the loop
   * stops the run.
   */
  async *sample({ signal, ...options } = {}) {
    const signals = [this.#gone.signal, signal];
    const ask = (message) => this.#channel.call({ ...message, model: this.#id }, { signals });
    if (this.#sampling) throw new NoiseballError('busy', 'this model is already sampling; wait for that run or stop it first');
    this.#sampling = true;
    try {
      await ask({ op: 'sample', options });
      for (let step; (step = await ask({ op: 'next' })); ) yield step;
    } finally {
      this.#sampling = false;
      this.#channel.post({ op: 'stop', model: this.#id });
    }
  }

  /** Frees the model's memory; a run in progress ends with an error of type 'disposed'. */
  dispose() {
    if (this.#gone.signal.aborted) return;
    this.#gone.abort(new NoiseballError('disposed', 'this model was disposed of; load it again'));
    this.#channel.post({ op: 'dispose', model: this.#id });
  }
}
