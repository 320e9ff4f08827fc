// The worker's half of the conversation with noiseball.js: models, runs, and whose turn it is.
//
// Messages in:  {id, op: 'load', source, variant, device, again, integrity, budget} · {op: 'abort', id} · {op: 'dispose', model}
//               (`again`: the same files as before, without asking the server whether it has others)
//               (a source of kind 'formula' has `shape` and `scheduler`: there is no network, and the page is asked)
//               {id, op: 'noise', model, seed} · {id, op: 'tokens', model, prompt} · {id, op: 'measure', model, picture, kind, amount}
//               {id, op: 'likelihood', model, pictures, label, count, seed}, whose steps are had by `next` too
//               {id, op: 'sample', model, options, told, init, mask, noise, watched} · {id, op: 'next', model} · {op: 'stop', model}
//               {op: 'answer', id, answer}, to a question of a `next`
// Messages out: {id, progress} · {id, question} · {id, result} · {id, error: {type, message, fatal}}

import { abortError, describeError, NoiseballError } from './errors.js';
import { Progress, readCheckpoint } from './checkpoint.js';
import { cpu, devicesFor, isCard, largestBuffer } from './device.js';
import { isRight } from './known-answer.js';
import { memoryOf, Weights } from './memory.js';

// Where the GPU cannot take a model and the caller left the choice to us, the CPU can.
const CPU_HELPS = new Set(['no-adapter', 'limit', 'out-of-memory', 'wrong-results']);

/**
 * `during` says under which signal, and with which progress, files are read from now on, where runs read some.
 * @typedef {{build(kind: string): Promise<any>, forget(error: unknown): Promise<void>, during?: (task: Task) => void}} Read
 * @typedef {{signal: AbortSignal, progress: Progress}} Task
 */

/** A model of one network; null for what the larger module opens. */
async function readModel(source, given) {
  const checkpoint = await readCheckpoint(source, { ...given, small: true });
  return checkpoint && buildable(checkpoint, given.engine);
}

/** A checkpoint of one network, as a host builds it. */
export async function buildable(checkpoint, engine) {
  const { Model } = await engine;
  return { ...checkpoint, build: (kind) => Model.build(checkpoint.opening, kind) };
}

export class Host {
  #start;
  #scope;
  #post;
  #read;
  /** What may be aborted by the number of its call. */
  #tasks = new Map();
  /** What calls wait for the page to answer. */
  #questions = new Map();
  #models = new Map();

  /**
   * @param {{start: (progress: Progress, signal?: AbortSignal) => Promise<object>, scope: object, post: (message: object, transfer?: object[]) => void,
   *         read?: (source: any, given: any) => Promise<Read | null>}} parts
   *        `start` gives the engine's wasm module; `scope` is the worker's global scope; `read` what a source's model is built from, by
   *        default one network, and null for what another worker opens
   */
  constructor({ start, scope, post, read = readModel }) {
    this.#read = read;
    this.#start = start;
    this.#scope = scope;
    this.#post = post;
  }

  /** Takes one message; answers come through `post`. */
  async handle(message) {
    if (message.op === 'answer') return this.#questions.get(message.id)?.resolve(message.answer);
    if (message.op === 'abort') {
      this.#questions.get(message.id)?.reject(new NoiseballError('aborted', 'stopped on request'));
      return this.#tasks.get(message.id)?.abort();
    }
    try {
      const result = await this.#perform(message);
      if (message.id !== undefined) this.#post({ id: message.id, result }, buffersOf(result));
    } catch (error) {
      this.#post({ id: message.id, error: describeError(error) });
    }
  }

  #perform(message) {
    if (message.op === 'load') return this.#load(message);
    const entry = this.#models.get(message.model);
    if (message.op === 'dispose') {
      this.#models.delete(message.model);
      return entry?.inTurn(() => entry.free());
    }
    if (message.op === 'stop') return entry?.inTurn(() => entry.stop());
    if (!entry) throw new NoiseballError('disposed', 'this model was disposed of; load it again');
    if (message.op === 'noise') return entry.inTurn(() => entry.noise(message.seed));
    if (message.op === 'measure') return entry.inTurn(() => entry.measure(message));
    if (message.op === 'sample') return entry.inTurn(() => entry.sample(message));
    if (message.op === 'likelihood') return entry.inTurn(() => entry.likelihood(message));
    if (message.op === 'tokens') return entry.inTurn(() => entry.tokens(message));
    return this.#next(message.id, entry);
  }

  async #next(id, entry) {
    const controller = new AbortController();
    this.#tasks.set(id, controller);
    const call = {
      ask: (question) => this.#ask(id, question),
      report: (state) => this.#post({ id, progress: state }),
      signal: controller.signal,
    };
    try {
      return await entry.inTurn(() => entry.next(call));
    } finally {
      this.#tasks.delete(id);
    }
  }

  /** Asks the page in the course of a call. */
  #ask(id, question) {
    const answer = new Promise((resolve, reject) => this.#questions.set(id, { resolve, reject }));
    this.#post({ id, question }, [(question.estimate ?? question.noisy).buffer]);
    return answer.finally(() => this.#questions.delete(id));
  }

  async #load({ id, source, variant, device, again, integrity, budget }) {
    const controller = new AbortController();
    this.#tasks.set(id, controller);
    try {
      const progress = new Progress((state) => this.#post({ id, progress: state }));
      if (source.kind === 'formula') return await this.#formula(id, source, progress, controller.signal);
      const devices = await devicesFor(device, this.#scope);
      return await this.#build(id, source, devices, { progress, signal: controller.signal, again, variant, integrity, budget });
    } finally {
      this.#tasks.delete(id);
    }
  }

  async #formula(id, { name, shape, scheduler }, progress, signal) {
    const { Formula } = await this.#start(progress);
    if (signal.aborted) throw abortError(signal);
    const formula = new Formula(scheduler, Uint32Array.from(shape));
    this.#models.set(id, new Entry(formula, { asks: true }));
    const [channels, height, width] = shape;
    const nothing = { parameters: 0, flops: 0, activationBytes: 0, classes: null, labels: null, nullLabel: null };
    const device = { kind: 'cpu', name: 'CPU', reason: null };
    return { model: id, info: { ...nothing, channels, height, width, ...formula.info(), unknownKeys: [], notes: [], name, device } };
  }

  async #build(id, source, devices, context) {
    const [device, ...others] = devices;
    const { progress, signal, budget } = context;
    const unwanted = new AbortController();
    const engine = this.#start(progress, unwanted.signal);
    const weights = new Weights(budget);
    engine.catch(() => {}); // whoever awaits it reports it
    const checkpoint = await this.#read(source, { ...context, engine, weights });
    if (!checkpoint) {
      unwanted.abort(); // another module opens it
      return { larger: true };
    }
    if (signal.aborted) throw abortError(signal);
    progress.compile(false);
    let model;
    try {
      if (isCard(device)) await trust(await engine, device);
      model = await checkpoint.build(device.kind);
    } catch (error) {
      const { type, fatal } = describeError(error);
      await checkpoint.forget(error);
      if (fatal || !CPU_HELPS.has(type) || others.length === 0 || signal.aborted) throw error;
      return this.#build(id, source, [cpu(type)], context);
    }
    if (signal.aborted) {
      model.free();
      throw abortError(signal);
    }
    progress.compile(true);
    this.#models.set(id, new Entry(model, { during: checkpoint.during }));
    const info = model.info();
    const memory = memoryOf(info, { budget, weights: weights.size, kind: device.kind, buffer: largestBuffer(device) });
    return { model: id, info: { ...info, name: source.name, device, memory } };
  }
}

/** A GPU that computes something else than the processor is not used. */
async function trust(engine, { name }) {
  if (await isRight(engine, name)) return;
  throw new NoiseballError(
    'wrong-results',
    `the GPU (${name}) computes wrong pictures here. A newer browser or graphics driver may help; the CPU device works`,
  );
}

/** One model and its run. Its calls take turns: the engine must not be entered, or freed, during an evaluation. */
class Entry {
  #model;
  /** @type {any} */
  #run = null;
  #last = Promise.resolve();
  /** @type {(prediction: object) => Promise<any>} */
  #ask = async () => undefined;

  /** Whether there is no network, and the page is asked in its place. */
  #asks;

  /** @type {((task: Task) => void) | undefined} */
  #during;
  /** Of the files that a run reads, told with whichever call is answered then. */
  #progress = new Progress(() => {});
  #report = (_state) => {};

  /** @param {any} model @param {{asks?: boolean, during?: (task: Task) => void}} [kind] */
  constructor(model, kind = {}) {
    [this.#model, this.#asks, this.#during] = [model, kind.asks ?? false, kind.during];
  }

  inTurn(task) {
    const result = this.#last.then(task);
    this.#last = result.catch(() => {});
    return result;
  }

  noise(seed) {
    return this.#model.noise(seed);
  }

  tokens({ prompt }) {
    return this.#model.tokens(prompt);
  }

  measure({ picture, kind, amount }) {
    this.#needsNetwork('picture');
    return this.#model.measure(picture, kind, amount);
  }

  async sample({ options, told, init, mask, noise, watched }) {
    this.#check();
    this.#progress = new Progress((state) => this.#report(state));
    const ask = (question) => this.#ask(question);
    const watch = watched ? ask : undefined;
    const more = this.#asks ? [ask] : [];
    this.#run = await this.#model.sample(options, told, init, mask, noise, watch, ...more);
  }

  likelihood({ pictures, label, count, seed }) {
    this.#needsNetwork('pictures');
    this.#check();
    this.#run = this.#model.likelihood(pictures, label, ...count, seed);
  }

  #needsNetwork(what) {
    if (this.#asks) throw new NoiseballError('invalid-option', `\`${what}\` are for models that have a network, and this is a denoiser`);
  }

  /** Whether a run can begin. */
  #check() {
    if (!this.#model) throw new NoiseballError('disposed', 'this model was disposed of; load it again');
    if (this.#run) throw new NoiseballError('busy', 'this model is already at work; wait for that run or stop it first');
    if (!this.#asks && this.#model.lost()) throw new NoiseballError('device-lost', 'the GPU device was lost. Run again: a new one is made');
  }

  async next({ ask, report, signal }) {
    if (!this.#run) return null;
    [this.#ask, this.#report] = [ask, report];
    this.#during?.({ signal, progress: this.#progress });
    const step = await this.#run.next();
    if (!step) this.stop();
    return step ?? null;
  }

  stop() {
    this.#run?.free();
    this.#run = null;
  }

  free() {
    this.stop();
    this.#model?.free();
    this.#model = null;
  }
}

/** A step's pixels move to the page; they are not copied. */
function buffersOf(result) {
  const { pictures, predicted, start, latents, estimate, startLatents, decoded, attention = [] } = Object(result);
  const maps = attention.flatMap(({ now, mean }) => [now, mean]);
  return [pictures, predicted, start, latents, estimate, startLatents, decoded, ...maps].filter(Boolean).map((array) => array.buffer);
}
