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
   * @param {{start: (report?: (done: number, total: number | null) => void) => Promise<object>, scope: object, openStore: () => Promise<object>, locks?: LockManager,
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
    remove: ({ run }) => this.#openStore().then((store) => store.remove(run)),
    pause: () => this.#current.pause(),
    resume: () => this.#current.resume(),
    stop: () => this.#current.stop(),
    rate: ({ rate }) => this.#current.setLearningRate(rate),
    steps: ({ steps }) => this.#current.setSteps(steps),
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
    const engine = await this.#start((done, total) => progress({ stage: 'download', done, total }));
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

  async #plan({ data, recipe, preset, changes }) {
    const engine = await this.#start();
    const set = this.#dataOf(data).data;
    const text = engine.recipe(preset, recipe, changes, set);
    return { ...engine.plan(text, set), recipe: text };
  }

  async #show({ data, recipe, indices, timestep, seed, flip }) {
    const set = this.#dataOf(data).data;
    const { width, height, channels, kind } = set.info();
    const shown = set.noised(recipe ?? '', Uint32Array.from(indices), timestep ?? undefined, seed ?? 0, Boolean(flip));
    return { ...shown, batch: indices.length, ...(isList({ kind }) ? { channels } : { width, height }) };
  }

  /**
   * Measures the speed. The first step, which sets things up, does not count. Those after it are slow until the browser has compiled
   * the module a second time, so rounds of steps are taken for at least two seconds, until three bring no improvement.
   */
  async #measure({ data, recipe, device, budget }, { signal }) {
    this.#checkNoRun();
    const engine = await this.#start();
    const [chosen] = await devicesFor(device, this.#scope);
    const training = await engine.Training.create(recipe, this.#dataOf(data).data, false, chosen.kind, budget);
    try {
      const take = async (steps) => {
        const began = performance.now();
        for (let i = 0; i < steps; i++) training.step();
        await training.wait();
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

  async #begin({ data: id, recipe, device, name, from, heldOut = true, budget }, { signal, progress }) {
    const engine = await this.#start();
    const { data, about } = this.#dataOf(id);
    const [chosen] = await devicesFor(device, this.#scope);
    const fitted = engine.fit(recipe, data, chosen.kind, budget);
    await this.#close();
    const training = await this.#create(engine, { from, recipe: fitted, data, heldOut, device: chosen.kind, budget, signal });
    const { folder, problem } = await this.#keep(data);
    const facts = { name, device: chosen, data: { ...data.info(), about } };
    if (problem) progress({ type: 'not-kept', problem });
    const { accumulate } = training.facts();
    if (accumulate > (JSON.parse(recipe).accumulate ?? 1)) progress({ type: 'split', accumulate });
    return this.#follow({ engine, training, folder, facts }, progress);
  }

  async #create(engine, { from, recipe, data, heldOut, device, budget, signal }) {
    if (!from) return engine.Training.create(recipe, data, heldOut, device, budget);
    const checkpoint = await readCheckpoint(from, { engine: Promise.resolve(engine), signal, progress: new Progress(() => {}) });
    return engine.Training.fine_tune(checkpoint.opening, recipe, data, heldOut, device, budget);
  }

  /** `steps`: as a run of another length. `split`: with twice the parts to a batch, because memory ran out. */
  async #continue({ run: id, device, steps, split }, { progress }) {
    const engine = await this.#start();
    await this.#close();
    const folder = await (await this.#openStore()).get(id);
    await this.#lock(id);
    let data;
    try {
      data = engine.Data.load(await folder.data());
      let problem = null;
      for await (const {
        facts,
        parts: [state, ...frames],
      } of folder.states()) {
        const film = facts.film.map((frame, i) => frameOf(frame, frames[i]));
        const [chosen] = await devicesFor(device ?? facts.device.kind, this.#scope);
        let training;
        try {
          training = await engine.Training.resume(`the run '${facts.name}'`, state, data, film.at(-1)?.step, chosen.kind);
        } catch (error) {
          problem ??= error;
          continue;
        }
        try {
          if (steps !== undefined) training.set_steps(steps);
          if (split) training.split_batch();
        } catch (error) {
          training.free();
          throw error;
        }
        if (split) progress({ type: 'split', accumulate: training.facts().accumulate });
        const { name, data: described, losses, recent, bound } = facts;
        return this.#follow(
          {
            engine,
            training,
            folder,
            facts: { name, data: described, device: chosen },
            kept: { losses, recent, film, bound },
          },
          progress,
        );
      }
      throw problem ?? new NoiseballError('resume', 'this run was never saved whole. Start a new one');
    } catch (error) {
      this.#unlock();
      throw error;
    } finally {
      data?.free();
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

/** Bytes move to the page; they are not copied. */
function buffersOf(message) {
  if (message instanceof Uint8Array) return [message.buffer];
  if (Array.isArray(message) && message[0]?.[1] instanceof Uint8Array) return message.map(([, bytes]) => bytes.buffer);
  const arrays = [message, message?.frame].flatMap((part) => [part?.pictures, part?.values]);
  return arrays.filter(ArrayBuffer.isView).map((array) => array.buffer);
}
