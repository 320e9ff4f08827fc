// One training run in the worker. The loop itself is Rust's (src/train/training_loop.rs): this pumps it, lets messages in between its
// parts, keeps what it gives, and reports it. Nothing else enters the engine while it computes, so all of a run goes through here.

import { describeError, NoiseballError } from '../errors.js';
import { breathe } from './breathe.js';
import { bytesOf, factsOf } from './frames.js';
import { Losses } from './losses.js';
import { isList, table } from './toys.js';

const BURST = 200; // milliseconds, after which losses are told and messages looked at
const PATIENCE = 50; // milliseconds, after which messages are looked at while a frame is sampled
const FRAMES = 48; // kept of the filmstrip; a run that is made longer has more
const DATA_ITEMS = 400; // that samples are shown beside
const EXPORTED_ITEMS = { points: 1000, bits: 50 };
const EXPORTED_SEED = 7;
const SAVE_SECONDS = 15;
const RATE_SECONDS = 10; // over which the speed is averaged
const RECENT = 100; // steps

/** @typedef {'running' | 'paused' | 'ended'} State */

export class Run {
  #engine;
  #training;
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
  #saved = { step: -1, at: 0, failed: null };
  #rates = []; // [clock, step] of the last seconds
  #recent = { first: 0, means: [] }; // the mean losses of the last steps, for the card

  /**
   * @param {{engine: any, training: any, folder: import('./store.js').RunFolder | null, facts: any,
   *          kept?: {losses?: any, film?: any[], bound?: any, recent?: any}, report: (event: object) => void,
   *          clock?: () => number}} given
   *        `facts` goes with every state: {name, device, data}; `kept` is what a state before had
   */
  constructor({ engine, training, folder, facts, kept = {}, report, clock = () => performance.now() }) {
    this.#engine = engine;
    this.#training = training;
    this.#folder = folder;
    this.#facts = facts;
    this.#losses = new Losses(kept.losses);
    this.#film = kept.film ?? [];
    this.#bound = kept.bound ?? null;
    this.#recent = kept.recent ?? this.#recent;
    this.#report = report;
    this.#clock = clock;
    this.#saved.at = clock();
    this.#saved.step = training.is_saved() ? training.facts().step : -1;
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
        if (this.#state === 'running') await this.#work(this.#patience());
        else await /** @type {Promise<void>} */ (new Promise((resolve) => (this.#tasks.length > 0 ? resolve() : (this.#wake = resolve))));
      } catch (error) {
        if (describeError(error).fatal) throw error;
        await this.#failed(error);
      }
    }
    for (const { reject } of this.#tasks) reject(Object.assign(new Error('this run was closed'), { type: 'disposed' }));
    this.#training.free();
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
      this.#training.stop();
      this.#state = 'running'; // also where it was paused: the last frame and save are work
      const goOn = this.#patience(true);
      while (this.#state === 'running' && !this.#gone) await this.#work(goOn);
    });
  }

  setLearningRate(rate) {
    return this.#change(() => this.#training.set_learning_rate(rate));
  }

  /** Makes it a run of another length; one that has ended goes on. */
  setSteps(steps) {
    return this.#change(() => {
      this.#training.set_steps(steps);
      if (this.#state !== 'ended') return;
      this.#state = 'running';
      this.#rates = [];
    });
  }

  /** A change is saved at once: no closed tab and no lost device forgets it. */
  #change(change) {
    return this.do(async () => {
      change();
      await this.#save();
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
          text(table(await this.#training.sample(EXPORTED_ITEMS[data.kind], EXPORTED_SEED, this.#patience(true)), data)),
        ]);
      return this.#engine.zip([...more, ...(await this.#training.files())]);
    });
  }

  /** The run's state as one file's bytes, for browsers that keep none. */
  state() {
    return this.do(async () => {
      const state = await this.#training.save();
      await this.#keep(state);
      return state;
    });
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

  /** Some of the loop's work, and what follows from it. */
  async #work(goOn) {
    const event = await this.#training.next(goOn);
    if (event) await this.#events[event.type]?.(event);
    else this.#state = 'ended';
    if (this.#clock() - this.#saved.at > SAVE_SECONDS * 1000) await this.#save();
    if (this.#state === 'ended') this.#announce('state');
    await breathe();
  }

  #events = {
    steps: ({ steps, means, levels, losses }) => {
      this.#remember(steps, means);
      const each = steps.length > 0 ? losses.length / steps.length : 0;
      const news = new Losses();
      for (let i = 0; i < steps.length; i++) {
        const range = [i * each, (i + 1) * each];
        news.add(steps[i], levels.subarray(...range), losses.subarray(...range));
      }
      for (const point of news.points) this.#losses.merge(point);
      const now = this.#clock();
      this.#rates.push([now, this.#training.facts().step]);
      while (this.#rates.length > 2 && now - this.#rates[0][0] > RATE_SECONDS * 1000) this.#rates.shift();
      this.#report({ type: 'steps', ...this.#progress(), points: news.points });
    },
    frame: ({ type: _type, ...frame }) => {
      this.#film.push(frame);
      if (this.#film.length > FRAMES) this.#film = this.#film.filter((_, i) => i % 2 === 0 || i === this.#film.length - 1);
      this.#report({ type: 'frame', frame: structuredClone(frame) });
    },
    // What was learned is whole, so the run goes on; a device that is gone, it notices by itself.
    'frame-failed': ({ step, error }) => this.#report({ type: 'frame-failed', step, error: describeError(error) }),
    'held-out': ({ step, loss, bound }) => {
      if (bound) this.#bound = { step, ...bound };
      this.#losses.addHeldOut(step, loss);
      this.#report({ type: 'held-out', step, loss, ...(bound && { bound: this.#bound }) });
    },
    'save-due': () => this.#save(),
  };

  #remember(steps, means) {
    this.#recent.means.push(...means);
    this.#recent.means.splice(0, this.#recent.means.length - RECENT);
    if (steps.length > 0) this.#recent.first = steps.at(-1) + 1 - this.#recent.means.length;
  }

  /**
   * What long computations ask between their parts: whether to go on. Lets messages in now and then. Whatever the page asks for
   * comes first, and a frame is then given up; a `whole` one lets it wait.
   */
  #patience(whole = false) {
    const began = this.#clock();
    let since = began;
    return (work) => {
      if (work === 'step') return this.#clock() - began < BURST;
      if (this.#clock() - since < PATIENCE) return true;
      return breathe().then(() => {
        since = this.#clock();
        return !this.#gone && (whole || this.#tasks.length === 0);
      });
    };
  }

  async #save() {
    if (!this.#training.is_saved()) await this.#keep(await this.#training.save());
  }

  /** Stores a state, where this browser keeps any. */
  async #keep(state) {
    const { step, steps } = this.#training.facts();
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
    if (told.type !== 'diverged' || !this.#training.go_back()) {
      if (told.type === 'diverged') this.#state = 'ended';
      this.#report({ type: 'failed', error: told, ...this.#progress() });
      return;
    }
    const { step } = this.#training.facts();
    this.#losses.cut(step);
    this.#film = this.#film.filter((frame) => frame.step <= step);
    if (this.#bound?.step > step) this.#bound = null;
    this.#report({ type: 'failed', error: told, ...this.#progress(), wentBack: true, losses: this.#losses.toJSON(), bound: this.#bound });
  }

  #progress() {
    const { step, steps, learningRate } = this.#training.facts();
    const [first, last] = [this.#rates[0], this.#rates.at(-1)];
    const rate = this.#rates.length > 1 && last[0] > first[0] ? (1000 * (last[1] - first[1])) / (last[0] - first[0]) : null;
    return {
      state: this.#state,
      step,
      steps,
      rate,
      left: rate ? (1000 * (steps - step)) / rate : null,
      learningRate,
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
    return {
      facts: this.#facts,
      ...this.#training.facts(),
      losses: this.#losses.toJSON(),
      bound: this.#bound,
      film: structuredClone(this.#film),
      ...(isList(this.#facts.data) && { sample: this.#training.examples(DATA_ITEMS).values }),
    };
  }
}

/** What the model card says of the data. */
function origin({ about }) {
  if (about) return `${about.name}: ${about.about}. ${about.source}. Licence: ${about.licence}.`;
  return 'The pictures were read in the trainer’s own browser and sent nowhere; what may be done with this model depends on them.';
}
