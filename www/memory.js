// How much memory a tab may take on this device, and how much a model and its runs take: estimates, looked at before anything is
// downloaded or started, because a browser that has no memory left ends the tab and says nothing.

import { NoiseballError } from './errors.js';
import { bytes } from './units.js';

const GIB = 2 ** 30;
/** What WebAssembly can address, less what the engine itself and its tables take. */
const WASM = 3.75 * GIB;
/** A model's weights are in memory twice: WebAssembly never gives back the room that they were read into. */
const COPIES = 2;
/** Images of a run beside the network's activations: states, noise, pictures on their way to the page. */
const IMAGES = 8;
/** The share of the budget that is left to whoever keeps pictures to show them again. */
export const KEPT = 1 / 16;

/**
 * The most bytes that a model and its runs should take here. A phone ends a tab that takes a quarter of its memory, as all its programs
 * share it; other devices leave a tab half. Where the browser does not say how much there is, little is assumed.
 */
export function budgetOf(navigator = /** @type {any} */ (globalThis.navigator) ?? {}) {
  const { deviceMemory, userAgentData, userAgent = '', maxTouchPoints = 0 } = navigator;
  // An iPad says that it is a Mac, of which none has a touch screen.
  const phone =
    userAgentData?.mobile ?? (/Android|iPhone|iPad|Mobile/.test(userAgent) || (/Macintosh/.test(userAgent) && maxTouchPoints > 1));
  return ((deviceMemory ?? (phone ? 2 : 8)) * GIB) / (phone ? 4 : 2);
}

/** The option `memory` of `Noiseball.load`: bytes, by default the device's budget. */
export function readBudget(given) {
  if (given === undefined || given === null) return budgetOf();
  if (typeof given === 'number' && given > 0) return given;
  throw new NoiseballError('invalid-option', `\`memory\` is ${String(given)}, but it must be a number of bytes, or Infinity for no limit`);
}

/** What a picture takes, in bytes: `numbers` of it. */
const pictureOf = (activationBytes, numbers) => activationBytes + IMAGES * 4 * numbers;

/** Adds up what a checkpoint takes as that becomes known: by its config, then by the sizes of its weights files. */
export class Weights {
  #budget;
  #copies;
  #files = new Map();
  #announced = 0;
  /** Of one picture, which the model is for. */
  #picture = 0;
  /** Bytes of the weights at least: packed ones have a byte each. */
  #least = 0;

  /** `copies`: how often the weights are in memory. A pipeline's are packed a tensor at a time, and never there as a file. */
  constructor(budget = Infinity, copies = COPIES) {
    this.#budget = budget;
    this.#copies = copies;
  }

  /** Bytes of all files as far as they are known. */
  get size() {
    return Math.max(
      this.#announced,
      [...this.#files.values()].reduce((sum, size) => sum + size, 0),
    );
  }

  /** What the config says: bytes of the activations for one picture, numbers of that, and weights. Throws where the model cannot fit. */
  needs([activationBytes, numbers, parameters]) {
    this.#picture = pictureOf(activationBytes, numbers);
    this.#least = parameters;
    this.#check();
  }

  /** Counts what was weighed by itself, as the parts of a pipeline are. */
  add(size) {
    this.#announced = this.size + size;
  }

  /** A file's size, before it is downloaded. Throws where the model cannot fit. */
  file(path, size = 0) {
    this.#files.set(path, size);
    this.#check();
  }

  /** What an index of shards says that they have together. */
  index(json) {
    try {
      this.#announced = Number(JSON.parse(new TextDecoder().decode(json)).metadata.total_size) || 0;
    } catch {
      return; // the engine says what is wrong with it
    }
    this.#check();
  }

  #check() {
    const size = Math.max(this.size, this.#least);
    const needed = this.#copies * size + this.#picture;
    if (size <= WASM && needed <= this.#budget) return;
    const most = Math.min(this.#budget, this.#copies * WASM);
    throw new NoiseballError(
      'out-of-memory',
      `this model needs about ${bytes(needed)} of memory, and a tab may take ${bytes(most)} on this device. Use a smaller model; ` +
        'or, where you know that there is more, tell `memory` when you load it',
    );
  }
}

/**
 * What a model takes, in bytes, and how many pictures fit beside it.
 *
 * @param {{activationBytes: number, channels: number, width: number, height: number}} info
 * @param {{budget: number, weights: number, kind: string, buffer: number}} here `buffer`: the largest that the GPU has
 * @returns {import('./noiseball.js').ModelMemory}
 */
export function memoryOf({ activationBytes, channels, width, height }, { budget, weights, kind, buffer }) {
  const model = COPIES * weights;
  const picture = pictureOf(activationBytes, channels * width * height);
  const room = Math.min(budget, kind === 'cpu' ? WASM : Infinity) * (1 - KEPT) - model;
  const fit = Math.floor(Math.min(room / picture, buffer / activationBytes));
  return { budget, model, picture, batch: Math.max(0, Math.min(1024, fit)) };
}

/** How many pictures of a run fit: a guided one asks the network for two answers a picture. */
export function largestBatch({ batch }, guided) {
  return guided ? Math.floor(batch / 2) : batch;
}

/** Throws where a run needs more memory than there is. */
export function checkRun({ memory }, { batch = 1, guided }) {
  // A denoiser of the page's own has none.
  if (!memory) return;
  const most = largestBatch(memory, guided);
  if (!(batch > most)) return;
  const needed = memory.model + memory.picture * batch * (guided ? 2 : 1);
  throw new NoiseballError(
    'out-of-memory',
    `${batch === 1 ? 'one picture' : `a batch of ${batch}`} needs about ${bytes(needed)} of memory, and a tab may take ${bytes(memory.budget)} ` +
      `on this device. ${most > 0 ? `Up to ${most} fit` : 'Use a model with smaller pictures'}; or, where you know that there is more, ` +
      'tell `memory` when you load the model',
  );
}
