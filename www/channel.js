// The page's half of the conversation with the worker (host.js has the messages): calls that can be
// aborted, progress, and an end for everyone when the worker dies.

import { abortError, NoiseballError } from './errors.js';

const current = {};

/** The page's one channel for sampling; a new worker is started when there is none or the last one died. */
export function openChannel() {
  // Bundlers find a worker by this very form.
  return open('sampling', () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module' }), [
    './worker.js',
    './pkg/noiseball.js',
  ]);
}

/** The same for training, which has a worker and a wasm module of its own. */
export function openTrainingChannel() {
  return open('training', () => new Worker(new URL('./train/worker.js', import.meta.url), { type: 'module' }), [
    './train/worker.js',
    './train/host.js',
  ]);
}

/** `scripts` are the worker's own and what it imports that may be missing. */
function open(kind, start, scripts) {
  if (!current[kind]?.alive) current[kind] = new Channel(startWorker(start, scripts[0]), scripts);
  return current[kind];
}

function startWorker(start, path) {
  if (globalThis.location?.origin === new URL(import.meta.url).origin) return start();
  // A page may not run another site's script as its worker, but its own worker may import it. (Chromium would throw
  // at once and Firefox report it later, so the origins are compared instead of trying.)
  const script = `import ${JSON.stringify(new URL(path, import.meta.url).href)};`;
  const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
  return new Worker(url, { type: 'module' });
}

// How long a worker may take for its first word before its scripts are looked for.
const PATIENCE = 5000; // milliseconds

class Channel {
  #worker;
  #calls = new Map();
  #nextId = 1;
  #ready = false;
  #watch = null;
  #end = null;
  #scripts;

  constructor(worker, scripts) {
    this.#worker = worker;
    this.#scripts = scripts;
    worker.addEventListener('message', ({ data }) => this.#receive(data));
    worker.addEventListener('messageerror', () => this.#die(lost('a message could not be read')));
    worker.addEventListener('error', (event) => {
      event.preventDefault?.();
      this.#die(this.#ready ? lost(event.message || 'unknown cause') : notStarted(event.message));
    });
    this.#lookForScripts();
  }

  /**
   * Firefox says nothing when a module that the worker imports is missing. (In a bundle the scripts have other names,
   * and are there.)
   */
  #lookForScripts() {
    if (!import.meta.url.endsWith('/channel.js')) return;
    this.#watch = setTimeout(async () => {
      const problems = await Promise.all(this.#scripts.map(problemOf));
      const problem = problems.find(Boolean);
      if (this.#ready) return;
      if (problem) this.#die(notStarted(problem));
      else this.#lookForScripts();
    }, PATIENCE);
  }

  get alive() {
    return this.#end === null;
  }

  /** Tells the worker something that needs no answer. */
  post(message) {
    if (this.alive) this.#worker.postMessage(message);
  }

  /**
   * Asks the worker. Any of `signals` ends the wait at once; an answer that comes after that goes to `late`.
   * @param {object} message
   * @param {{signals?: (AbortSignal | undefined)[], onProgress?: (progress: any) => void, late?: (result: any) => void}} [context]
   * @returns {Promise<any>}
   */
  call(message, { signals = [], onProgress, late } = {}) {
    return new Promise((resolve, reject) => {
      const active = signals.filter(Boolean);
      const fired = active.find((signal) => signal.aborted);
      if (fired) return reject(abortError(fired));
      if (!this.alive) return reject(this.#end);
      const id = this.#nextId++;
      const settle = (finish) => {
        for (const signal of active) signal.removeEventListener('abort', onAbort);
        call.settled = true;
        finish();
      };
      const onAbort = ({ target }) => {
        this.post({ op: 'abort', id });
        settle(() => reject(abortError(target)));
      };
      const call = { settled: false, settle, resolve, reject, onProgress, late };
      for (const signal of active) signal.addEventListener('abort', onAbort);
      this.#calls.set(id, call);
      this.#worker.postMessage({ ...message, id });
    });
  }

  #receive({ ready, id, progress, result, error }) {
    if (ready) {
      this.#ready = true;
      clearTimeout(this.#watch);
    }
    const call = this.#calls.get(id);
    if (progress && call && !call.settled) report(call.onProgress, progress);
    if (!call || progress) return;
    this.#calls.delete(id);
    if (error) {
      const typed = new NoiseballError(error.type, error.message);
      if (!call.settled) call.settle(() => call.reject(typed));
      if (error.fatal) this.#die(typed);
    } else if (call.settled) {
      call.late?.(result);
    } else {
      call.settle(() => call.resolve(result));
    }
  }

  #die(error) {
    if (!this.alive) return;
    this.#end = error;
    clearTimeout(this.#watch);
    this.#worker.terminate();
    for (const call of this.#calls.values()) if (!call.settled) call.settle(() => call.reject(error));
    this.#calls.clear();
  }
}

/** Why a script cannot be had; null where it can. */
async function problemOf(script) {
  const url = new URL(script, import.meta.url);
  try {
    const { ok, status } = await fetch(url, { method: 'HEAD' });
    return ok ? null : `${url} answered with HTTP status ${status}`;
  } catch {
    return `could not reach ${url}`;
  }
}

/** A listener's own mistake must not break the load that it watches. */
function report(listener, progress) {
  try {
    listener?.(progress);
  } catch (error) {
    globalThis.reportError?.(error);
  }
}

function lost(cause) {
  return new NoiseballError('device-lost', `the worker stopped (${cause}). Run again: a new one is started`);
}

function notStarted(cause) {
  const why = cause ? ` (${cause})` : '';
  return new NoiseballError(
    'fetch',
    `the worker's scripts could not be loaded${why}. Check that worker.js and pkg/ are served beside noiseball.js`,
  );
}
