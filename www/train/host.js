// The training worker's half of the conversation with ../training.js: data sets, plans and one run at a time.
//
// Messages in:  {id, op, ...}, op being one of the keys of `operations` below · {op: 'abort', id}
// Messages out: {id, progress} · {id, result} · {id, error: {type, message, fatal}}

import { abortError, describeError, NoiseballError } from '../errors.js';
import { Progress, readCheckpoint } from '../checkpoint.js';
import { devicesFor } from '../device.js';
import { breathe } from './breathe.js';
import { frameOf } from './frames.js';
import { readPictures } from './pictures.js';
import { Run } from './run.js';
import { isList, readToy } from './toys.js';

const MEMORY = { cpu: 3e9, gpu: 6e9 }; // bytes; a wasm module has at most 4 GiB
const HOLD_OUT_FROM = 200; // pictures
const HOLD_OUT = 20; // every so-manieth
const MEASURED = { steps: 10, round: 250, least: 2000, most: 4000 }; // steps between two looks at the losses, and milliseconds

export class TrainingHost {
  #start;
  #scope;
  #post;
  #openStore;
  #locks;
  #calls = new Map();
  #data = new Map(); // id → {data, about, skipped}
  #run = null;
  #release = null; // gives back the lock on the run's folder

  /**
   * @param {{start: () => Promise<object>, scope: object, openStore: () => Promise<object>, locks?: LockManager,
   *          post: (message: object, transfer?: object[]) => void}} parts `start` gives the training module
   */
  constructor({ start, scope, openStore, locks, post }) {
    this.#start = start;
    this.#scope = scope;
    this.#openStore = openStore;
    this.#locks = locks;
    this.#post = post;
  }

  /** Takes one message; answers come through `post`. */
  async handle(message) {
    const { id, op } = message;
    if (op === 'abort') return this.#calls.get(id)?.abort();
    const controller = new AbortController();
    this.#calls.set(id, controller);
    try {
      const operation = this.#operations[op];
      if (!operation) throw new NoiseballError('invalid-option', `there is no operation '${op}'`);
      const progress = (state) => this.#post({ id, progress: state }, buffersOf(state));
      const result = await operation(message, { signal: controller.signal, progress });
      if (id !== undefined) this.#post({ id, result }, buffersOf(result));
    } catch (error) {
      this.#post({ id, error: await this.#describe(error) });
    } finally {
      this.#calls.delete(id);
    }
  }

  /** A trap does not say that it was memory that ran out; the module's allocator does. */
  async #describe(error) {
    const described = describeError(error);
    const engine = described.fatal ? await this.#start().catch(() => null) : null;
    const bytes = engine?.refused_bytes() ?? 0;
    return bytes > 0
      ? { type: 'out-of-memory', message: `memory ran out: another ${Math.ceil(bytes / 1e6)} MB could not be had`, fatal: true }
      : described;
  }

  #operations = {
    prepare: (message, context) => this.#prepare(message, context),
    forget: ({ data }) => this.#forget(data),
    plan: (message) => this.#plan(message),
    show: (message) => this.#show(message),
    measure: (message, context) => this.#measure(message, context),
    begin: (message, context) => this.#begin(message, context),
    continue: (message, context) => this.#continue(message, context),
    runs: () => this.#openStore().then((store) => store.list()),
    remove: ({ run }) => this.#openStore().then((store) => store.remove(run)),
    pause: () => this.#current.pause(),
    resume: () => this.#current.resume(),
    stop: () => this.#current.stop(),
    rate: ({ rate }) => this.#current.setLearningRate(rate),
    files: () => this.#current.files(),
    export: () => this.#current.export(),
    state: () => this.#current.state(),
    close: () => this.#close(),
  };

  get #current() {
    if (!this.#run) throw new NoiseballError('disposed', 'no run is open; start one or go on with one that was kept');
    return this.#run;
  }

  async #prepare({ id, source, options }, { signal, progress }) {
    const engine = await this.#start();
    const found =
      source.kind === 'toy'
        ? readToy(engine, source.name)
        : await readPictures(source, options ?? {}, { engine, signal, report: (state) => progress({ stage: 'read', ...state }) });
    if (signal.aborted) {
      found.data.free();
      throw abortError(signal);
    }
    this.#data.set(id, found);
    return {
      data: id,
      info: found.data.info(),
      skipped: found.skipped.slice(0, 200),
      skippedCount: found.skippedCount,
      notes: found.notes,
      about: found.about,
    };
  }

  #forget(id) {
    this.#data.get(id)?.data.free();
    this.#data.delete(id);
  }

  #dataOf(id) {
    const found = this.#data.get(id);
    if (!found) throw new NoiseballError('disposed', 'this data set was disposed of; read it again');
    return found;
  }

  async #plan({ data, recipe, preset, steps }) {
    const engine = await this.#start();
    const set = this.#dataOf(data).data;
    const text = recipe ?? engine.preset(preset, set, steps);
    return { ...engine.plan(text, set), recipe: text };
  }

  async #show({ data, recipe, indices, timestep, seed, flip }) {
    const set = this.#dataOf(data).data;
    const { width, height, channels, kind } = set.info();
    const shown = set.noised(recipe ?? '', Uint32Array.from(indices), timestep ?? undefined, seed ?? 0, Boolean(flip));
    return { ...shown, batch: indices.length, ...(isList({ kind }) ? { channels } : { width, height }) };
  }

  /**
   * Times some steps. The first, which sets things up, does not count. Those after it are slow too, until the browser has compiled
   * the module a second time, for speed: so it goes on in rounds, for two seconds at least, until three are no faster than any before.
   */
  async #measure({ data, recipe, device }, { signal }) {
    this.#checkNoRun();
    const engine = await this.#start();
    const [chosen] = await devicesFor(device, this.#scope);
    const training = await engine.Training.create(recipe, this.#dataOf(data).data, chosen.kind);
    try {
      const take = async (steps) => {
        const began = performance.now();
        for (let i = 0; i < steps; i++) training.step();
        await training.losses();
        const passed = performance.now() - began;
        await breathe();
        if (signal.aborted) throw abortError(signal);
        this.#checkNoRun();
        return passed;
      };
      let each = await take(1);
      const began = performance.now();
      let [fastest, settled] = [Infinity, []];
      const passed = () => performance.now() - began;
      while ((settled.length < 3 || passed() < MEASURED.least) && passed() < MEASURED.most) {
        let [steps, time] = [0, 0];
        while (time < MEASURED.round) {
          const burst = Math.min(MEASURED.steps, Math.max(1, Math.round(MEASURED.round / each)));
          time += await take(burst);
          steps += burst;
          each = time / steps;
        }
        settled = each < 0.9 * fastest ? [each] : [...settled.slice(-2), each];
        fastest = Math.min(fastest, each);
      }
      const mean = settled.reduce((sum, time) => sum + time, 0) / settled.length;
      return { device: chosen, secondsPerStep: mean / 1000, heap: engine.heap?.() ?? null };
    } finally {
      training.free();
    }
  }

  #checkNoRun() {
    if (this.#run) throw new NoiseballError('busy', 'a run is open; its own speed is measured');
  }

  async #begin({ data: id, recipe, device, name, from, heldOut = true }, { signal, progress }) {
    const engine = await this.#start();
    const { data, about } = this.#dataOf(id);
    const [chosen] = await devicesFor(device, this.#scope);
    const fitted = fit(engine, recipe, data, MEMORY[chosen.kind]);
    await this.#close();
    const parts = split(data, heldOut);
    let training;
    try {
      training = await this.#create(engine, { from, recipe: fitted.recipe, data: parts.train, device: chosen.kind, signal });
    } catch (error) {
      parts.train.free();
      parts.heldOut?.free();
      throw error;
    }
    const { folder, problem } = await this.#keep(data);
    const facts = { name, device: chosen, data: { ...data.info(), about }, heldOut: Boolean(parts.heldOut) };
    if (problem) progress({ type: 'not-kept', problem });
    if (fitted.accumulate > 1) progress({ type: 'split', accumulate: fitted.accumulate });
    return this.#follow({ engine, training, parts, folder, facts }, progress);
  }

  async #create(engine, { from, recipe, data, device, signal }) {
    if (!from) return engine.Training.create(recipe, data, device);
    const checkpoint = await readCheckpoint(from, { engine: Promise.resolve(engine), signal, progress: new Progress(() => {}) });
    return engine.Training.fine_tune(checkpoint.opening, recipe, data, device);
  }

  /** `split`: with twice the parts to a batch, because memory ran out. */
  async #continue({ run: id, device, split: smaller }, { progress }) {
    const engine = await this.#start();
    await this.#close();
    const folder = await (await this.#openStore()).get(id);
    await this.#lock(id);
    try {
      const data = engine.Data.load(await folder.data());
      let problem = null;
      for await (const {
        facts,
        parts: [state, ...frames],
      } of folder.states()) {
        const parts = split(data, facts.heldOut);
        try {
          const [chosen] = await devicesFor(device ?? facts.device.kind, this.#scope);
          const training = await engine.Training.resume(`the run '${facts.name}'`, state, parts.train, chosen.kind);
          if (smaller) progress({ type: 'split', accumulate: training.split_batch() });
          const film = facts.film.map((frame, i) => frameOf(frame, frames[i]));
          const { name, data: described, heldOut, losses, recent, bound } = facts;
          data.free();
          return this.#follow(
            {
              engine,
              training,
              parts,
              folder,
              facts: { name, data: described, heldOut, device: chosen },
              state,
              kept: { losses, recent, film, bound },
            },
            progress,
          );
        } catch (error) {
          parts.train.free();
          parts.heldOut?.free();
          problem ??= error;
        }
      }
      throw problem ?? new NoiseballError('resume', 'this run was never saved whole. Start a new one');
    } catch (error) {
      this.#unlock();
      throw error;
    }
  }

  /** Runs until it is closed; its events are the call's progress. */
  async #follow(given, progress) {
    const run = new Run({ ...given, report: progress });
    this.#run = run;
    this.#ended = run.loop();
    await this.#ended;
    return null;
  }

  #ended = null;

  async #close() {
    const run = this.#run;
    this.#run = null;
    if (run) {
      await run.dispose();
      await this.#ended;
    }
    this.#unlock();
  }

  async #keep(data) {
    try {
      const folder = await (await this.#openStore()).create(data.save());
      await this.#lock(folder.id);
      return { folder, problem: null };
    } catch (error) {
      return { folder: null, problem: String(error?.message ?? error) };
    }
  }

  /** Two tabs must not write one run; the browser gives the lock back when a tab is killed. */
  async #lock(id) {
    if (!this.#locks) return;
    const held = await new Promise((resolve) => {
      const request = this.#locks.request(`noiseball-run-${id}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock && new Promise((release) => (this.#release = release));
      });
      request.catch(() => resolve(true));
    });
    if (!held) throw new NoiseballError('busy', 'this run is open in another tab of this browser. Go on there, or close that tab');
  }

  #unlock() {
    this.#release?.();
    this.#release = null;
  }
}

function split(data, wanted) {
  if (!wanted || data.info().count < HOLD_OUT_FROM) return { train: data.share(), heldOut: null };
  const [train, heldOut] = data.split(HOLD_OUT);
  return { train, heldOut };
}

/** Works a step's batch through in as many parts as it takes to fit the memory there is. */
export function fit(engine, text, data, memory) {
  const recipe = JSON.parse(text);
  let accumulate = recipe.accumulate ?? 1;
  for (;;) {
    const fitted = accumulate === (recipe.accumulate ?? 1) ? text : JSON.stringify({ ...recipe, accumulate }, null, 2);
    const plan = engine.plan(fitted, data);
    if (plan.memory <= memory) return { recipe: fitted, accumulate };
    if (recipe.batch % (accumulate * 2) !== 0) {
      const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;
      throw new NoiseballError(
        'out-of-memory',
        `training this takes some ${gigabytes(plan.memory)} of memory, but this device has ${gigabytes(memory)} for it. Choose a smaller network, smaller pictures or a smaller batch`,
      );
    }
    accumulate *= 2;
  }
}

/** Bytes move to the page; they are not copied. */
function buffersOf(message) {
  if (message instanceof Uint8Array) return [message.buffer];
  if (Array.isArray(message) && message[0]?.[1] instanceof Uint8Array) return message.map(([, bytes]) => bytes.buffer);
  const arrays = [message, message?.frame].flatMap((part) => [part?.pictures, part?.values]);
  return arrays.filter(ArrayBuffer.isView).map((array) => array.buffer);
}
