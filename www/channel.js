// The page's half of the conversation with the worker (host.js has the messages): calls that can be
// aborted, progress, and an end for everyone when the worker dies.

import { abortError, NoiseballError } from './errors.js';
import { notStarted, startWorker } from './workers.js';

const channels = new Map();

/**
 * The page's one channel to a worker of this kind; a new one is started when there is none or the last one died.
 * @param {import('./workers.js').Kind} kind
 */
export function openChannel(kind) {
  if (!channels.get(kind)?.alive) channels.set(kind, new Channel(startWorker(kind)));
  return channels.get(kind);
}

// How long a worker may take for its first word before its scripts are looked for.
const PATIENCE = 5000; // milliseconds

class Channel {
  #worker;
  #calls = new Map();
  #nextId = 1;
  #ready = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #watch;
  #end = null;
  #scripts;

  constructor({ worker, scripts }) {
    this.#worker = worker;
    this.#scripts = scripts;
    worker.addEventListener('message', ({ data }) => this.#receive(data));
    worker.addEventListener('messageerror', () => this.#die(lost('a message could not be read')));
    worker.addEventListener('error', (event) => {
      event.preventDefault?.();
      if (this.#ready) this.#die(lost(event.message || 'unknown cause'));
      else this.#dieUnstarted({ cause: event.message });
    });
    this.#lookForScripts();
  }

  /** Firefox says nothing when a module that the worker imports is missing. */
  #lookForScripts() {
    const scripts = this.#scripts;
    if (scripts.length === 0) return;
    this.#watch = setTimeout(async () => {
      const problems = await Promise.all(scripts.map(problemOf));
      const problem = problems.find(Boolean);
      if (this.#ready) return;
      if (problem) this.#dieUnstarted({ cause: problem });
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
   * Asks the worker. Any of `signals` ends the wait at once; an answer that comes after that goes to `late`. What the worker asks
   * meanwhile goes to `onAsk`, whose failure ends the wait too.
   * @param {object} message
   * @param {{signals?: (AbortSignal | undefined)[], onProgress?: (progress: any) => void, onAsk?: (question: any) => Promise<any>, late?: (result: any) => void}} [context]
   * @returns {Promise<any>}
   */
  call(message, { signals = [], onProgress, onAsk, late } = {}) {
    return new Promise((resolve, reject) => {
      const active = signals.filter((signal) => signal !== undefined);
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
      const call = { settled: false, settle, resolve, reject, onProgress, onAsk, late };
      for (const signal of active) signal.addEventListener('abort', onAbort);
      this.#calls.set(id, call);
      this.#worker.postMessage({ ...message, id });
    });
  }

  #receive({ ready, failed, refused, id, progress, question, result, error }) {
    if (failed) return this.#dieUnstarted({ cause: failed, refused });
    if (ready) {
      this.#ready = true;
      clearTimeout(this.#watch);
    }
    const call = this.#calls.get(id);
    if (progress && call && !call.settled) report(call.onProgress, progress);
    if (question) return this.#answer(id, call, question);
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

  async #answer(id, call, question) {
    if (!call || call.settled) return;
    try {
      this.post({ op: 'answer', id, answer: await call.onAsk(question) });
    } catch (error) {
      this.post({ op: 'abort', id });
      if (!call.settled) call.settle(() => call.reject(error));
    }
  }

  async #dieUnstarted(found) {
    this.#die(await notStarted({ scripts: this.#scripts, ...found }));
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
async function problemOf(url) {
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
