// How things fail, as page authors see it: one class, told apart by `type`.

import { prose } from './text.js';

/** Every value that `NoiseballError.type` can have. */
export const ERROR_TYPES = Object.freeze([
  'insecure-context', // the page is not on https or localhost, so browsers hide WebGPU
  'no-webgpu', // the browser has no WebGPU
  'no-adapter', // WebGPU is there, but no graphics adapter answered
  'wrong-results', // the GPU computes something else than the processor
  'limit', // the network needs more than the adapter allows
  'out-of-memory',
  'device-lost', // the GPU or the worker went away; run again
  'fetch', // a file could not be downloaded or read
  'checkpoint', // the files are not a whole, readable checkpoint
  'unsupported-architecture', // a checkpoint of a kind that is not supported
  'invalid-option',
  'busy', // the model is already sampling
  'disposed', // the model was disposed of
  'dataset', // there is nothing to train on
  'diverged', // training went wrong: the loss is not a number any more
  'resume', // a kept run cannot go on
  'content-security-policy', // the page's policy refuses something; the message says what
  'no-browser', // there are no web workers here, as on a server
  'aborted', // the caller's AbortSignal fired
]);

const NO_WASM =
  "the Content-Security-Policy of this page does not allow WebAssembly. Add 'wasm-unsafe-eval' to its script-src, also where it goes " +
  "with the package's own files: a worker has the policy that its script is served with";

/** An error with a short, stable `type` to act on and a `message` that can be shown as it is: no secret, no end of text. */
export class NoiseballError extends Error {
  /**
   * @param {string} type one of ERROR_TYPES
   * @param {string} message what happened and what to do; may hold a stranger's text
   * @param {{cause?: unknown}} [options]
   */
  constructor(type, message, options) {
    super(prose(message), options);
    this.name = 'NoiseballError';
    this.type = type;
  }
}

/** The error for a fired AbortSignal; a typed reason (such as 'disposed') is kept. */
export function abortError(signal) {
  if (signal.reason instanceof NoiseballError) return signal.reason;
  return new NoiseballError('aborted', 'stopped on request', { cause: signal.reason });
}

/**
 * Turns whatever was thrown into {type, message, fatal}, which can cross to another thread.
 * `fatal` means that the engine's memory can no longer be trusted.
 */
export function describeError(thrown) {
  const message = prose(thrown?.message ?? thrown);
  if (ERROR_TYPES.includes(thrown?.type)) {
    return { type: thrown.type, message, fatal: false };
  }
  if (thrown?.name === 'CompileError' && /unsafe-eval|Content.Security.Policy|CSP/i.test(message)) {
    return { type: 'content-security-policy', message: NO_WASM, fatal: false };
  }
  if (thrown?.name === 'CompileError') {
    return {
      type: 'fetch',
      message: `the engine is no WebAssembly that this browser takes (${message}). Upload it anew, or use a current browser`,
      fatal: true,
    };
  }
  if (thrown?.name === 'AbortError') return { type: 'aborted', message: 'stopped on request', fatal: false };
  if (/out of memory|memory allocation|allocation failed/i.test(message)) {
    return { type: 'out-of-memory', message: `${message}. Lower the batch size, or close other tabs`, fatal: true };
  }
  // A trap in WebAssembly or a bug: nothing that was in the engine is to be trusted afterwards.
  return { type: 'device-lost', message: `the engine stopped (${message}). Run again: a new one is started`, fatal: true };
}
