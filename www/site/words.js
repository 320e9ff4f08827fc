// What the page says: sizes, times, errors and devices in plain words.

import { bytes, progressOf } from '../words.js';

/** What happened, for each type of error; the error's own message says what to do. */
export const TITLES = {
  'insecure-context': 'WebGPU is hidden from this page.',
  'no-webgpu': 'This browser has no WebGPU.',
  'no-adapter': 'No graphics adapter answered.',
  limit: 'The GPU cannot take this run.',
  'wrong-results': 'The GPU computes wrong pictures.',
  'out-of-memory': 'Memory ran out.',
  'device-lost': 'The GPU was taken away, or the program stopped.',
  fetch: 'A file could not be read.',
  checkpoint: 'This checkpoint is incomplete.',
  'unsupported-architecture': 'This kind of model is not supported.',
  'invalid-option': 'A setting is out of range.',
  busy: 'The model is busy.',
  disposed: 'The model was closed.',
  dataset: 'There is nothing to train on.',
  diverged: 'Training diverged.',
  resume: 'This run cannot continue.',
  'content-security-policy': 'This page’s rules forbid it.',
  'no-browser': 'There is no browser here.',
};

/** What the progress of a load is. */
export function loading({ stage, loaded, total }, name) {
  if (stage === 'compile') return `Preparing ${name}…`;
  return `Loading ${name}: ${total === null ? bytes(loaded) : `${bytes(loaded)} of ${bytes(total)}`}`;
}

/** How far a load is, from 0 once up to 1. */
export class LoadingBar {
  #fraction = 0;

  take(progress) {
    const fraction = progress.stage === 'compile' && progress.loaded ? 1 : progressOf(progress);
    return (this.#fraction = Math.max(this.#fraction, fraction));
  }
}

export function pictures(count) {
  return count === 1 ? '1 picture' : `${count} pictures`;
}
