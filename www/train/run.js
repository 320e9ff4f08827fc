// One training run in the worker: steps in short bursts, and between them whatever the page asks for. Nothing else enters the
// engine while it computes, so all of a run goes through this one loop.

import { describeError, NoiseballError } from '../errors.js';
import { breathe } from './breathe.js';
import { bytesOf, factsOf } from './frames.js';
import { Losses } from './losses.js';
import { isList, table } from './toys.js';

const BURST = 200; // milliseconds, after which messages are looked at
const BURST_STEPS = 10; // each look at the losses empties a GPU's queue
const PATIENCE = 50; // milliseconds, after which messages are looked at while a frame is sampled
const FRAMES = 24; // of the filmstrip
const FRAME_STEPS = 20; // of DDIM
const FRAME_SEED = 7;
const FRAME_ITEMS = { points: 400, bits: 12 };
const DATA_ITEMS = 400; // that samples are shown beside
const EXPORTED_ITEMS = { points: 1000, bits: 50 };
const SAVE_SECONDS = 15;
const RATE_SECONDS = 10; // over which the speed is averaged
const RECENT = 100; // steps

/** @typedef {'running' | 'paused' | 'ended'} State */

export class Run {
  #engine;
  #training;
  #parts; // {data, train, heldOut}: what to free
  #folder; // RunFolder, or null where nothing is kept
  #report;
  #clock;
  #facts;
  #losses;
  #film;
  #bound; // the newest {step, bits, error}, where the objective is a bound
  #state = 'running';
  #tasks = [];
  #wake = null;
  #gone = false;
  #lastState = null; // the newest saved state, also where the browser keeps none
  #saved = { step: -1, at: 0, failed: null };
  #rates = []; // [clock, step] of the last seconds
  #recent = { first: 0, means: [] }; // the mean losses of the last steps, for the card

  /**
   * @param {{engine: any, training: any, parts: {train: any, heldOut: any}, folder: import('./store.js').RunFolder | null, facts: any,
   *          state?: Uint8Array, kept?: {losses?: any, film?: any[], bound?: any, recent?: any}, report: (event: object) => void,
   *          clock?: () => number}} given
   *        `facts` goes with every state: {name, device, options}; `kept` is what a state before had
   */
  constructor({ engine, training, parts, folder, facts, kept = {}, state, report, clock = () => performance.now() }) {
    this.#engine = engine;
    this.#training = training;
    this.#parts = parts;
    this.#folder = folder;
    this.#facts = facts;
    this.#losses = new Losses(kept.losses);
    this.#film = kept.film ?? [];
    this.#bound = kept.bound ?? null;
    this.#recent = kept.recent ?? this.#recent;
    this.#lastState = state ?? null;
    this.#report = report;
    this.#clock = clock;
    this.#saved.at = clock();
    this.#saved.step = state ? training.facts().step : -1;
  }

  /**
   * Runs until `dispose`; what fails on the way is reported and pauses it. Rejects where the engine itself is gone: the
   * device was lost or memory ran out, and only a new worker helps.
   */
  async loop() {
    this.#announce('start');
    while (!this.#gone) {
      try {
        await this.#serve();
        if (this.#gone) break;
        if (this.#state === 'running') await this.#work();
        else await /** @type {Promise<void>} */ (new Promise((resolve) => (this.#tasks.length > 0 ? resolve() : (this.#wake = resolve))));
      } catch (error) {
        if (describeError(error).fatal) throw error;
        await this.#failed(error);
      }
    }
    for (const { reject } of this.#tasks) reject(Object.assign(new Error('this run was closed'), { type: 'disposed' }));
    this.#training.free();
    this.#parts.train.free();
    this.#parts.heldOut?.free();
  }

  /** Does something with the engine in the loop's own turn. */
  do(task) {
    return new Promise((resolve, reject) => {
      if (this.#gone) return reject(Object.assign(new Error('this run was closed'), { type: 'disposed' }));
      this.#tasks.push({ task, resolve, reject });
      this.#wake?.();
      this.#wake = null;
    });
  }

  pause() {
    return this.do(async () => {
      if (this.#state !== 'running') return;
      this.#state = 'paused';
      await this.#save();
      this.#announce('state');
    });
  }

  resume() {
    return this.do(() => {
      if (this.#state !== 'paused') return;
      this.#state = 'running';
      this.#rates = [];
      this.#announce('state');
    });
  }

  /** Ends the run where it is. It can still be exported. */
  stop() {
    return this.do(async () => {
      if (this.#state === 'ended') return;
      this.#state = 'ended';
      await this.#frame({ whole: true });
      await this.#save();
      this.#announce('state');
    });
  }

  setLearningRate(rate) {
    return this.do(() => {
      this.#training.set_learning_rate(rate);
      this.#announce('state');
    });
  }

  /** The averaged weights as a diffusers folder: [path, bytes] each. */
  files() {
    return this.do(() => {
      if (isList(this.#facts.data))
        throw new NoiseballError(
          'unsupported-architecture',
          'a network for points or bits is no model of diffusers, so it cannot be sampled like one. Export it instead',
        );
      return this.#training.files();
    });
  }

  /** The averaged weights as a ZIP archive, with the model card, the recipe and the losses; of points and bits with samples too. */
  export() {
    return this.do(async () => {
      const { first, means } = this.#recent;
      const card = this.#training.card(origin(this.#facts.data), first, Float32Array.from(means));
      const curve = {
        loss: this.#losses.series(),
        heldOut: this.#losses.heldOut,
        note: '[step, loss] each; a loss is the mean of the steps up to the next',
        ...(this.#bound && { bound: this.#bound }),
      };
      const text = (string) => new TextEncoder().encode(`${string}\n`);
      const more = [
        ['README.md', text(card)],
        ['training/recipe.json', text(this.#training.facts().recipe)],
        ['training/losses.json', text(JSON.stringify(curve))],
      ];
      const { data } = this.#facts;
      if (isList(data))
        more.push([
          'samples.csv',
          text(table(await this.#training.sample(EXPORTED_ITEMS[data.kind], FRAME_SEED, this.#patience(true)), data)),
        ]);
      return this.#engine.zip([...more, ...(await this.#training.files())]);
    });
  }

  /** The run's state as one file's bytes, for browsers that keep none. */
  state() {
    return this.do(() => this.#training.save());
  }

  async dispose() {
    this.#gone = true;
    this.#wake?.();
  }

  async #serve() {
    while (this.#tasks.length > 0 && !this.#gone) {
      const { task, resolve, reject } = this.#tasks.shift();
      try {
        resolve(await task());
      } catch (error) {
        reject(error);
      }
    }
  }

  async #work() {
    const { steps } = this.#training.facts();
    const began = this.#clock();
    let { step } = this.#training.facts();
    if (step === 0 && this.#film.length === 0) {
      if (!(await this.#frame())) return;
      // So that there is a state to go back to, or to go on from, whatever happens first.
      await this.#save();
    }
    for (let i = 0; i < BURST_STEPS && step < steps && (i === 0 || this.#clock() - began < BURST); i++, step++) this.#training.step();
    await this.#read(step);
    if (step >= steps) this.#state = 'ended';
    const due = Math.floor(step / this.#frameEvery()) > Math.floor((this.#film.at(-1)?.step ?? -1) / this.#frameEvery());
    if (this.#state === 'ended') await this.#frame({ whole: true });
    else if (due) await this.#frame();
    const since = this.#clock() - this.#saved.at;
    if (this.#state === 'ended' || since > SAVE_SECONDS * 1000) await this.#save();
    if (this.#state === 'ended') this.#announce('state');
    await breathe();
  }

  async #read(step) {
    const { steps, means, levels, losses } = await this.#training.losses();
    this.#remember(steps, means);
    const each = steps.length > 0 ? losses.length / steps.length : 0;
    const news = new Losses();
    for (let i = 0; i < steps.length; i++) {
      const range = [i * each, (i + 1) * each];
      news.add(steps[i], levels.subarray(...range), losses.subarray(...range));
    }
    for (const point of news.points) this.#losses.merge(point);
    const now = this.#clock();
    this.#rates.push([now, step]);
    while (this.#rates.length > 2 && now - this.#rates[0][0] > RATE_SECONDS * 1000) this.#rates.shift();
    this.#report({ type: 'steps', ...this.#progress(), points: news.points });
  }

  #remember(steps, means) {
    this.#recent.means.push(...means);
    this.#recent.means.splice(0, this.#recent.means.length - RECENT);
    if (steps.length > 0) this.#recent.first = steps.at(-1) + 1 - this.#recent.means.length;
  }

  /**
   * The same noise, sampled with the averaged weights of now, and their loss on what is kept out of training. Whatever the page
   * asks for comes first: the frame is then given up, and taken after a later step. A `whole` one lets it wait.
   *
   * @returns {Promise<boolean>} whether it is there
   */
  async #frame({ whole = false } = {}) {
    const { step } = this.#training.facts();
    if (this.#film.at(-1)?.step === step) return true;
    const goOn = this.#patience(whole);
    let frame, measured;
    try {
      frame = { step, ...(await (isList(this.#facts.data) ? this.#sampleList(goOn) : this.#samplePictures(goOn))) };
      measured = this.#parts.heldOut && step > 0 && (await this.#measure(goOn));
    } catch (error) {
      if (error.type === 'aborted') return false;
      throw error;
    }
    this.#film.push(frame);
    if (this.#film.length > 2 * FRAMES) this.#film = this.#film.filter((_, i) => i % 2 === 0 || i === this.#film.length - 1);
    this.#report({ type: 'frame', frame: structuredClone(frame) });
    if (!measured) return true;
    const { loss, bound } = measured;
    if (bound) this.#bound = { step, ...bound };
    this.#losses.addHeldOut(step, loss);
    this.#report({ type: 'held-out', step, loss, ...(bound && { bound: this.#bound }) });
    return true;
  }

  /** What long computations ask between their parts: whether to go on. Lets messages in now and then. */
  #patience(whole) {
    let since = this.#clock();
    return () => {
      if (this.#clock() - since < PATIENCE) return true;
      return breathe().then(() => {
        since = this.#clock();
        return !this.#gone && (whole || this.#tasks.length === 0);
      });
    };
  }

  /** The loss; for the bounds of 2015 that is -K, of which there is more to tell. */
  async #measure(goOn) {
    const bound = isList(this.#facts.data) ? await this.#training.bound(this.#parts.heldOut, goOn) : undefined;
    return { bound, loss: bound ? -bound.bits : await this.#training.held_out(this.#parts.heldOut, goOn) };
  }

  async #sampleList(goOn) {
    const { kind, channels } = this.#facts.data;
    const batch = FRAME_ITEMS[kind];
    return { batch, channels, values: await this.#training.sample(batch, FRAME_SEED, goOn) };
  }

  async #samplePictures(goOn) {
    const model = await this.#training.model();
    try {
      const info = model.info();
      const named = info.classes === null ? null : Array.from({ length: info.classes }, (_, i) => i).filter((i) => i !== info.nullLabel);
      const batch = 10;
      const labels = named && Array.from({ length: batch }, (_, i) => named[i % named.length]);
      const run = model.sample({
        sampler: 'ddim',
        steps: Math.min(FRAME_STEPS, info.trainTimesteps),
        seed: FRAME_SEED,
        batch,
        ...(labels && { labels }),
      });
      try {
        let last = null;
        for (let next; (next = await run.next()); ) {
          last = next;
          if (!(await goOn())) throw new NoiseballError('aborted', 'the frame was given up');
        }
        const { pictures, width, height } = last;
        return { batch, width, height, pictures };
      } finally {
        run.free();
      }
    } finally {
      model.free();
    }
  }

  async #save() {
    const { step, steps } = this.#training.facts();
    if (this.#saved.step === step) return;
    const state = await this.#training.save();
    this.#lastState = state;
    this.#saved.step = step;
    if (this.#folder) {
      const facts = {
        ...this.#facts,
        step,
        steps,
        when: Date.now(),
        losses: this.#losses.toJSON(),
        recent: this.#recent,
        bound: this.#bound,
        film: this.#film.map(factsOf),
      };
      try {
        await this.#folder.save(facts, [state, ...this.#film.map(bytesOf)]);
        this.#saved.failed = null;
      } catch (error) {
        this.#saved.failed = String(error?.message ?? error);
      }
    }
    this.#saved.at = this.#clock();
    this.#report({
      type: 'saved',
      step,
      kept: this.#folder !== null && !this.#saved.failed,
      problem: this.#saved.failed,
      bytes: state.length,
    });
  }

  /** After a loss that is not finite the run goes back to its last state, paused, so that the reader can change something. */
  async #failed(error) {
    const told = describeError(error);
    this.#state = 'paused';
    if (told.type !== 'diverged' || !this.#lastState) {
      if (told.type === 'diverged') this.#state = 'ended';
      this.#report({ type: 'failed', error: told, ...this.#progress() });
      return;
    }
    const before = this.#training;
    this.#training = await this.#engine.Training.resume(
      'the last saved state',
      this.#lastState,
      this.#parts.train,
      this.#facts.device.kind,
    );
    before.free();
    this.#losses.cut(this.#training.facts().step);
    this.#film = this.#film.filter(({ step }) => step <= this.#training.facts().step);
    if (this.#bound?.step > this.#training.facts().step) this.#bound = null;
    this.#report({ type: 'failed', error: told, ...this.#progress(), wentBack: true, losses: this.#losses.toJSON(), bound: this.#bound });
  }

  #frameEvery() {
    return Math.max(1, Math.ceil(this.#training.facts().steps / FRAMES));
  }

  #progress() {
    const { step, steps } = this.#training.facts();
    const [first, last] = [this.#rates[0], this.#rates.at(-1)];
    const rate = this.#rates.length > 1 && last[0] > first[0] ? (1000 * (last[1] - first[1])) / (last[0] - first[0]) : null;
    return {
      state: this.#state,
      step,
      steps,
      rate,
      left: rate ? (1000 * (steps - step)) / rate : null,
      learningRate: this.#training.learning_rate(),
    };
  }

  #announce(type) {
    this.#report({
      type,
      ...(type === 'start' && this.#whole()),
      ...this.#progress(),
      saved: this.#saved.step,
      kept: this.#folder !== null,
      id: this.#folder?.id ?? null,
    });
  }

  /** All that a page needs to show the run. */
  #whole() {
    const { kind } = this.#facts.data;
    const some = isList({ kind }) && {
      sample: this.#parts.train.noised(
        '',
        Uint32Array.from({ length: DATA_ITEMS }, (_, i) => i),
        undefined,
        0,
        false,
      ).values,
    };
    return {
      facts: this.#facts,
      ...this.#training.facts(),
      losses: this.#losses.toJSON(),
      bound: this.#bound,
      film: structuredClone(this.#film),
      ...some,
    };
  }
}

/** What the model card says of the data. */
function origin({ about }) {
  if (about) return `${about.name}: ${about.about}. ${about.source}. Licence: ${about.licence}.`;
  return 'The pictures were read in the trainer’s own browser and sent nowhere; what may be done with this model depends on them.';
}
