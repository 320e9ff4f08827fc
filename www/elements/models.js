// The page's models, shared: elements that show the same model borrow one copy of it, which is freed with the last of them.

import { abortError } from '../errors.js';
import { Noiseball } from '../noiseball.js';

/** @type {Map<string, Shared>} */
const models = new Map();

/**
 * Borrows a model, and loads it where nobody has it. A load that failed is forgotten, so that borrowing again tries again.
 *
 * @param {any} source what `Noiseball.load` takes; an object is the same model where it is the same object
 * @param {{device: any, variant: string | undefined, integrity: Record<string, string> | undefined}} options
 * @param {(progress: any) => void} onProgress
 */
export function borrow(source, options, onProgress) {
  const key = JSON.stringify([nameOf(source), options.device, options.variant, options.integrity]);
  if (!models.has(key)) {
    const load = (more) => Noiseball.load(source, { ...options, ...more });
    models.set(key, new Shared(load, (gone) => models.get(key) === gone && models.delete(key)));
  }
  return new Loan(models.get(key), onProgress);
}

/** @type {WeakMap<object, number>} */
const numbers = new WeakMap();
let count = 0;

function nameOf(source) {
  if (typeof source === 'string') return source;
  if (!numbers.has(source)) numbers.set(source, count++);
  return numbers.get(source);
}

/** @type {WeakMap<object, Shared>} */
const given = new WeakMap();

/** Borrows a model that the page has loaded, or a promise of one. It stays the page's: giving it back frees nothing. */
export function borrowGiven(model) {
  if (!given.has(model)) given.set(model, new Shared(() => Promise.resolve(model), null));
  return new Loan(/** @type {Shared} */ (given.get(model)), () => {});
}

class Shared {
  /** @type {Set<Loan>} */
  loans = new Set();
  /** @type {Loan | null} whose run it is */
  #holder = null;
  /** @type {{loan: Loan, begin: () => void}[]} who waits for it */
  #queue = [];
  #controller = new AbortController();
  #last = null;
  #forget;

  /**
   * @param {(more: {signal: AbortSignal, onProgress: (progress: any) => void}) => Promise<Noiseball>} load
   * @param {((shared: Shared) => void) | null} forget null for a model that is not ours to free
   */
  constructor(load, forget) {
    this.#forget = forget && (() => forget(this));
    const onProgress = (progress) => {
      this.#last = progress;
      for (const { onProgress } of this.loans) onProgress(progress);
    };
    this.model = load({ signal: this.#controller.signal, onProgress });
    this.model.catch(this.#forget ?? (() => {}));
  }

  add(loan) {
    this.loans.add(loan);
    if (this.#last) loan.onProgress(this.#last);
  }

  remove(loan) {
    this.loans.delete(loan);
    this.end(loan);
    if (this.loans.size > 0 || !this.#forget) return;
    this.#forget();
    this.#controller.abort();
    this.model.then(
      (model) => model.dispose(),
      () => {},
    );
  }

  /** A model does one run at a time. One that waits to be seen gives way to who comes now. */
  async begin(loan, signal) {
    if (!this.#holder) {
      this.#holder = loan;
      return;
    }
    await new Promise((resolve, reject) => {
      const waiting = {
        loan,
        begin: () => {
          signal.removeEventListener('abort', onAbort);
          resolve(undefined);
        },
      };
      const onAbort = () => {
        this.#queue = this.#queue.filter((other) => other !== waiting);
        reject(abortError(signal));
      };
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      this.#queue.push(waiting);
      this.yieldIfPaused();
    });
  }

  end(loan) {
    if (this.#holder !== loan) return;
    const next = this.#queue.shift();
    this.#holder = next?.loan ?? null;
    next?.begin();
  }

  yieldIfPaused() {
    if (this.#holder?.paused && this.#queue.length > 0) this.#holder.interrupt();
  }
}

/** One element's hold on a model. */
class Loan {
  paused = false;
  /** Called where the run that is paused must end, because another wants the model. */
  interrupt = () => {};
  #shared;

  constructor(shared, onProgress) {
    this.#shared = shared;
    this.onProgress = onProgress;
    shared.add(this);
  }

  /** The model; rejects as `Noiseball.load` does. */
  get model() {
    return this.#shared.model;
  }

  /** Waits for the model's turn. Whoever got it calls `end`. */
  begin(signal) {
    return this.#shared.begin(this, signal);
  }

  end() {
    this.#shared.end(this);
  }

  pause(paused) {
    this.paused = paused;
    this.#shared.yieldIfPaused();
  }

  /** Gives the model back. The last one's frees it, or ends its load. */
  release() {
    this.#shared.remove(this);
  }
}
