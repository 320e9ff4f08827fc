// <diffusion-sampler> once it is wanted: it borrows a model, runs it, and shows the run and its controls.

import { NoiseballError, readSamplerOptions, resolveSource } from '../noiseball.js';
import { beginsWithPictures } from '../editing.js';
import { allowedOptions } from '../sampler-options.js';
import { KEPT as SHARE, largestBatch } from '../memory.js';
import { SAMPLERS } from '../samplers.js';
import { untilVisible } from '../visible.js';
import { addressIn, PictureError } from './addresses.js';
import { ATTENTION_STYLE, WordsActed } from './attention.js';
import { warn } from './check.js';
import { choiceOf, choicesOf, hasMenu, labelsOf, nameOf } from './classes.js';
import { CONTROLS_STYLE } from './controls-style.js';
import { addStyle, emit, fail, h, option, s } from './element.js';
import { drawGrid, enlarge, layout } from '../grid.js';
import { History } from './history.js';
import { Loading } from './loading.js';
import { borrow, borrowGiven } from './models.js';
import { PROMPT_STYLE, PromptFields } from './prompt.js';
import { NAMES_STYLE, nameLayer, roomFor, showNames, spoken } from './names.js';
import { blobOf, embedButton, saveFile } from './taking.js';
import { samplerOf, usualRun } from '../usual.js';
import { deviceSentence, failure, fewerSentence, moment, progressOf } from './words.js';

// Noise is to be seen becoming pictures, also where a run would be over at once: how long, in milliseconds, the pure noise stands, any
// other state at most, and all of them together at most.
const SPEEDS = {
  slow: { noise: 1500, state: 800, run: 12_000 },
  normal: { noise: 500, state: 250, run: 3000 },
  fast: { noise: 0, state: 0, run: 0 },
};
const FLICK = 40; // milliseconds of a state that is played again, at least
const KEPT = 32 * 2 ** 20; // bytes of a run's states at most; a page may have many elements
const LARGE = 1024; // pixels of a saved picture's longer side, at least

/** What a run can be saved as. */
const SAVED = [
  { type: 'image/png', end: 'png', text: 'Picture (PNG)' },
  { type: 'image/gif', end: 'gif', text: 'Film (GIF)' },
  ...(globalThis.MediaRecorder?.isTypeSupported('video/webm') ? [{ type: 'video/webm', end: 'webm', text: 'Film (WebM)' }] : []),
];

const LOOK = '.over { outline: 3px dashed var(--accent); outline-offset: -3px; }';

/** Attributes that choose the model, and those that a run takes. */
const OF_MODEL = ['model', 'src', 'device', 'variant', 'integrity'];
const OF_RUN = [
  'batch',
  'seed',
  'prompt',
  'negative-prompt',
  'init',
  'strength',
  'mask',
  'label',
  'sampler',
  'steps',
  'guidance',
  'options',
  'rng',
  'attention',
];

export class Sampling {
  /** @type {any} what the model is, once it is loaded */
  info = null;
  /** Whether a run was asked for. */
  begun = false;

  #element;
  #parts;
  #bar;
  #ui;
  #prompt;
  #acted = new WordsActed(() => this.#state && this.#show(this.#state));
  /** @type {any} what sees to a picture to begin with, once there is one or the reader may give one */
  #given = null;
  #seen;
  /** @type {any} */
  #loan = null;
  /** @type {AbortController | null} of the run in progress */
  #run = null;
  #ended = Promise.resolve();
  #interrupted = false;
  /** Whether this run has read files, and shown that. */
  #reading = false;
  #history = new History(KEPT);
  #native = document.createElement('canvas');
  /** @type {any} the newest state of this run */
  #reached = null;
  /** @type {any} the state on show */
  #state = null;
  #follows = true;
  /** Whether the reader holds what is played, and whether it may go one state on. */
  #held = false;
  #once = false;
  /** @type {AbortController | null} of the states that are played again */
  #replay = null;
  /** @type {number[]} the classes of this run's pictures */
  #labels = [];
  /** The prompt of this run. */
  #words = '';
  #changes = new Set();
  #resized = new ResizeObserver(() => this.#state && this.#show(this.#state));
  #calm = matchMedia('(prefers-reduced-motion: reduce)');
  /** @type {Set<() => void>} wakes what is played: the element came into view, or the reader goes on */
  #waiting = new Set();

  constructor(element, parts, seen) {
    this.#element = element;
    this.#parts = parts;
    this.#bar = new Loading(element, parts.progress);
    this.#seen = seen;
    this.#ui = build(element);
    addStyle(parts.root, CONTROLS_STYLE);
    this.#prompt = new PromptFields(element, { run: () => this.run(), read: async (text) => (await this.#loan?.model)?.tokens(text) });
    this.#ui.controls.prepend(this.#prompt.box);
    for (const style of [PROMPT_STYLE, ATTENTION_STYLE]) addStyle(parts.root, style);
    addStyle(parts.root, NAMES_STYLE);
    addStyle(parts.root, LOOK);
    this.#listen();
    this.#resized.observe(parts.frame);
  }

  get running() {
    return this.#run !== null;
  }

  /** Whether the controls are there, in the hint's place. */
  get attached() {
    return this.#ui.controls.parentNode !== null;
  }

  /** The pictures on show on a canvas of their own, large enough to be saved, or null. */
  get shown() {
    if (!this.#state) return null;
    const [native, canvas] = [document.createElement('canvas'), document.createElement('canvas')];
    drawGrid(native, this.#state.pictures, this.#state);
    enlarge(native, canvas, Math.max(1, Math.ceil(LARGE / Math.max(native.width, native.height))));
    return canvas;
  }

  /** The pictures on show; or the run, where a film's type is asked for. */
  async toBlob(options) {
    if (!/^(image\/gif|video\/)/.test(options?.mimeType ?? '')) return blobOf(this.shown, options);
    const { steps } = this.#history;
    if (steps.length === 0) return null;
    const { film } = await import('./film.js');
    const { noise, state, run } = SPEEDS.normal;
    return film(steps, options.mimeType, { noise, each: Math.min(state, run / steps.length) });
  }

  /** Loads the model without running it. */
  async load() {
    if (this.#element.model) this.#attach();
    try {
      await this.#model(undefined);
    } catch (error) {
      if (error.type !== 'aborted') this.#fail(error);
    }
  }

  /** Runs in place of the run in progress; resolves to whether it came to its end. */
  run() {
    this.#begin();
    if (!hasModel(this.#element) && option(this.#element, 'controls').includes('files')) {
      this.#say('Drop a model’s folder on the picture, or press Your model….', true);
      return Promise.resolve(false);
    }
    this.#run?.abort();
    this.#replay?.abort();
    this.#held = this.#once = false;
    const controller = new AbortController();
    const before = this.#ended;
    this.#run = controller;
    this.#showRunning();
    emit(this.#element, 'start');
    const mine = (async () => {
      await before;
      try {
        await this.#perform(controller.signal);
        return true;
      } catch (error) {
        if (this.#run !== controller) return false; // another has taken its place
        if (error.type === 'aborted') this.#stopped();
        else this.#fail(error);
        return false;
      } finally {
        if (this.#run === controller) this.#run = null;
        if (!this.#loan) this.#bar.end(); // stopped while it loaded
        this.#showRunning();
      }
    })();
    this.#ended = mine.then(() => {});
    return mine;
  }

  stop() {
    this.#interrupted = false;
    this.#run?.abort();
    this.#replay?.abort();
  }

  #stopped() {
    if (this.#interrupted) return this.#say('Waits until it is seen again.');
    this.#say(this.#where('Stopped'));
    const { index, total } = this.#reached ?? {};
    emit(this.#element, 'stop', this.#reached && { index, total });
  }

  /** The element came into view, or left it. */
  sees(seen) {
    this.#seen = seen;
    if (!seen) return;
    this.#wake();
    if (this.#interrupted && !this.#run) this.run();
  }

  /** Attributes have other values. Of several at once, as frameworks set them, one run comes. */
  changed(name) {
    this.#changes.add(name);
    if (this.#changes.size === 1) queueMicrotask(() => this.#takeChanges());
  }

  free() {
    this.stop();
    this.#resized.disconnect();
    this.#release();
    for (const part of [
      this.#ui.pictures,
      this.#ui.guessPictures,
      this.#ui.caption,
      this.#ui.guessCaption,
      this.#ui.track,
      this.#acted.box,
      this.#ui.controls,
    ])
      part.remove();
    const { root, layout } = this.#parts;
    layout.classList.remove('begun', 'attached');
    for (const poster of root.querySelectorAll('div.poster')) poster.hidden = false;
    this.#bar.end();
  }

  #takeChanges() {
    const changed = (names) => names.some((name) => this.#changes.has(name));
    const [model, run] = [changed(OF_MODEL), changed(OF_RUN)];
    this.#changes.clear();
    if (!this.#element.isConnected) return;
    this.#showControls();
    if (this.#state) this.#show(this.#state);
    if (model) this.#release();
    // A model that the page gives is run when the page says so.
    if (model && this.#element.model) this.load();
    else if ((model || run) && this.begun) this.run();
    else if (model) this.load();
  }

  #release() {
    this.#loan?.release();
    this.#loan = this.info = null;
  }

  /** The model. Another caller may wait for it, too; where this one's signal fires or the load fails, it is given back. */
  async #model(signal) {
    const { model } = this.#element;
    if (!this.#loan && model) {
      this.#loan = borrowGiven(model);
    } else if (!this.#loan) {
      this.#parts.error.show();
      this.#bar.begin();
      const options = optionsOf(this.#element);
      this.#loan = borrow(sourceOf(this.#element), options, (progress) => this.#bar.take(progressOf(progress)));
    }
    const loan = this.#loan;
    try {
      const model = await unlessAborted(loan.model, signal);
      if (loan === this.#loan && !this.info) this.#loaded(model);
      return model;
    } catch (error) {
      if (loan === this.#loan) this.#release();
      throw error;
    }
  }

  #loaded(model) {
    this.info = model.info;
    this.#showControls();
    if (!this.#element.model) this.#bar.take(1);
    this.#bar.end();
    emit(this.#element, 'load', { info: model.info });
  }

  async #perform(signal) {
    this.#interrupted = false;
    this.#reached = null;
    this.#parts.error.show();
    if (!this.info) this.#say('Loading the model…', true);
    const milliseconds = await this.#takeRun(signal).catch((error) => {
      // Its next run loads the model once more, on a new device: that is worth one try.
      if (error.type !== 'device-lost') throw error;
      return this.#takeRun(signal);
    });
    emit(this.#element, 'finish', { seed: option(this.#element, 'seed'), milliseconds, batch: this.#state.batch });
  }

  async #takeRun(signal) {
    const model = await this.#model(signal);
    const loan = this.#loan;
    // A picture's server may never answer.
    const pictures = this.#picture().then((given) => given?.options(model.info));
    const options = { ...this.#options(), ...(await unlessAborted(pictures, signal)) };
    loan.interrupt = () => {
      this.#interrupted = !this.#held;
      this.#run?.abort();
    };
    this.#say('Waiting for another run on this page…');
    await loan.begin(signal);
    let milliseconds;
    try {
      const onProgress = (progress) => this.#reads(progress, signal);
      milliseconds = await this.#play(model.sample({ ...options, onProgress, signal }), loan, options, signal);
      if (this.#reading) this.#bar.take(1);
    } finally {
      if (this.#reading) this.#bar.end();
      this.#reading = false;
      loan.end();
    }
    this.info = model.info; // after a lost device it may run elsewhere
    this.#showDevice();
    return milliseconds;
  }

  /** Files that a run reads: it is of a model whose parts are not kept. */
  #reads(progress, signal) {
    if (signal.aborted) return;
    if (!this.#reading) {
      this.#bar.begin();
      this.#say('Loading a part of the model…');
    }
    this.#reading = true;
    this.#bar.take(progressOf(progress));
  }

  /** Plays a run to its end; resolves to how long it was computed, in milliseconds. */
  async #play(run, loan, { batch, steps, labels, prompt }, signal) {
    this.#follows = true;
    this.#history = new History(Math.min(KEPT, this.info.memory.budget * SHARE));
    this.#labels = labels ?? [];
    this.#words = prompt ?? '';
    let milliseconds = 0;
    const compute = () => {
      const began = performance.now();
      const step = run.next();
      step.then(() => (milliseconds += performance.now() - began)).catch(() => {}); // where it matters, it is awaited
      return step;
    };
    this.#say(`Drawing ${batch === 1 ? 'a picture' : `${batch} pictures`} in ${steps === 1 ? 'one step' : `${steps} steps`}.`, true);
    /** @type {any} */
    let last = null;
    let next = compute();
    try {
      for (;;) {
        const { done, value: step } = await next;
        if (done) break;
        this.#add(stateOf(step, step.index, step.noise, last?.pictures ?? step.start));
        last = step;
        if (this.#reading) this.#bar.end();
        emit(this.#element, 'step', { index: step.index + 1, total: step.total, batch });
        next = compute(); // while this one stands
        await this.#stand(this.#calm.matches ? 0 : this.#duration(step.index, step.total), loan, signal);
      }
    } finally {
      await run.return();
      // Where it was stopped, nobody knows how much noise is left: only the next step would say.
      if (last) this.#add(stateOf(last, last.index + 1, null, last.pictures));
    }
    this.#parts.live.textContent = this.#where('Finished');
    return milliseconds;
  }

  /** How long a state stands, in milliseconds. */
  #duration(index, total) {
    const { noise, state, run } = SPEEDS[option(this.#element, 'speed')];
    return index === 0 ? noise : Math.min(state, run / total);
  }

  /** Lets what is on show stand for some milliseconds, and as long as nobody can see it or the reader holds it. */
  async #stand(milliseconds, loan, signal) {
    const until = performance.now() + milliseconds;
    for (;;) {
      if (this.#once) break;
      const hidden = document.visibilityState === 'hidden';
      const waits = hidden || !this.#seen || this.#held;
      const left = until - performance.now();
      if (!waits && left <= 0) break;
      loan?.pause(waits);
      let woken = () => {};
      try {
        if (hidden) await untilVisible([signal]);
        else {
          const wake = new Promise((resolve) => (woken = () => resolve(undefined)));
          this.#waiting.add(woken);
          if (!waits) setTimeout(woken, left);
          await unlessAborted(wake, signal);
        }
      } finally {
        this.#waiting.delete(woken);
        loan?.pause(false);
      }
    }
    this.#once = false;
  }

  #wake() {
    for (const woken of this.#waiting) woken();
  }

  /** Shows the states of the last run once more, from its noise on. */
  async #playAgain() {
    this.#replay?.abort();
    const controller = new AbortController();
    this.#replay = controller;
    this.#follows = this.#held = false;
    this.#showRunning();
    try {
      for (const state of this.#history.steps) {
        this.#show(state);
        this.#ui.scrub.value = state.index;
        if (state.noise !== null) await this.#stand(Math.max(FLICK, this.#duration(state.index, state.total)), null, controller.signal);
      }
    } catch (error) {
      if (error.type !== 'aborted') throw error;
    }
    if (this.#replay === controller) this.#replay = null;
    this.#showRunning();
  }

  /** Holds what is played or lets it go on; plays the last run again where nothing is. */
  #hold() {
    if (!this.running && !this.#replay) return this.#playAgain();
    this.#held = !this.#held;
    this.#follows = this.running;
    this.#wake();
    this.#showRunning();
  }

  /** Goes one state on and stays there; from the last to the first. */
  #step() {
    if (this.running || this.#replay) {
      this.#once = this.#waiting.size > 0; // what is on show stands: the next comes in its place
      this.#held = true;
      this.#follows = this.running;
      this.#wake();
      this.#showRunning();
      return;
    }
    const { steps } = this.#history;
    const next = steps[(steps.indexOf(this.#state) + 1) % steps.length];
    this.#follows = false;
    this.#show(next);
    this.#ui.scrub.value = next.index;
  }

  /**
   * What `sample` takes, with a warning of what this model or this version does not have.
   * @returns {any}
   */
  #options() {
    const element = this.#element;
    const seed = option(element, 'seed');
    const [named, sampler] = [option(element, 'sampler'), this.#sampler()];
    if (named && sampler !== named)
      warn(element, 'sampler', named, `“${sampler}” is used instead`, SAMPLERS.map(({ name }) => name).join(', '));
    const [batch, choice] = [this.#batch(), this.#choice()];
    const labels = choice ? labelsOf(this.info, choice.value, batch) : undefined;
    const guidance = this.#guidance();
    if (guidance !== 1 && !this.#guides())
      warn(element, 'guidance', guidance, 'it is left out', '1, as this model has no answer without a class');
    const { pipeline } = this.info;
    const guided = pipeline ? this.#guides() : this.#guided() && labels?.some((label) => label !== this.info.nullLabel);
    const negativePrompt = option(element, 'negative-prompt');
    const words = {
      ...(pipeline?.prompt && { prompt: option(element, 'prompt') }),
      ...(this.#attends() && { attention: true }),
      ...(pipeline?.negativePrompt && negativePrompt && { negativePrompt }),
    };
    const text = option(element, 'options');
    const own = readSamplerOptions(sampler, text);
    for (const pair of text.split(',').filter((pair) => pair.trim())) {
      const name = pair.split('=')[0].trim();
      if (!(name in own)) warn(element, 'options', pair.trim(), 'it is left out', allowedOptions(sampler, name));
    }
    // A list of levels has its own number of steps.
    const steps = own.timesteps || own.sigmas ? undefined : Math.min(this.#steps(), this.info.trainTimesteps);
    return {
      sampler,
      steps,
      seed,
      batch,
      rng: option(element, 'rng'),
      ...own,
      ...words,
      ...(labels && { labels }),
      ...(guided && { guidance }),
    };
  }

  /** What sees to a picture to begin with; null where nobody wants one. */
  async #picture() {
    const element = this.#element;
    const wanted = ['init', 'mask'].some(
      (name) => option(element, 'controls').includes(name) || option(element, name) || element[`${name}Picture`],
    );
    if (!wanted) return this.#given;
    const { GivenPicture, PICTURE_STYLE } = await import('./picture.js');
    if (!this.#given) {
      this.#given = new GivenPicture(element);
      addStyle(this.#parts.root, PICTURE_STYLE);
      this.#prompt.box.after(this.#given.box);
    }
    return this.#given;
  }

  /** Whether a run tells where words act. */
  #attends() {
    return Boolean(this.info.pipeline?.attention) && option(this.#element, 'attention') === 'on';
  }

  /** Whether the model has an answer without a class, which guidance leads away from. */
  #guides() {
    if (this.info.pipeline) return this.info.guidance !== 1;
    return choicesOf(this.info).length > 0 && this.info.nullLabel !== null;
  }

  /** Whether a run may be guided: whether its labels are the null label is not looked at. */
  #guided() {
    return this.#guidance() !== 1 && this.#guides();
  }

  /** The guidance that is chosen: a pipeline's own where none is. */
  #guidance() {
    const { pipeline, guidance } = this.info;
    return pipeline && !this.#element.hasAttribute('guidance') ? guidance : option(this.#element, 'guidance');
  }

  /** How many pictures: those that are wanted, as far as there is memory for them. Where there is for none, the run says so. */
  #batch() {
    return Math.min(option(this.#element, 'batch'), largestBatch(this.info.memory, this.#guided()) || 1);
  }

  /** The sampler that is chosen: the model's usual one where the attribute names none that there is. */
  #sampler() {
    const named = option(this.#element, 'sampler');
    return samplerOf(named)?.name ?? usualRun(this.info).sampler;
  }

  /** The steps that are chosen: the usual ones where neither they nor a sampler is. */
  #steps() {
    const chosen = ['steps', 'sampler'].some((name) => this.#element.hasAttribute(name));
    return chosen ? option(this.#element, 'steps') : usualRun(this.info).steps;
  }

  /** The class that is chosen: the first choice where none is, or one that this model lacks. */
  #choice() {
    const text = option(this.#element, 'label');
    const found = choiceOf(this.info, text);
    const [first] = choicesOf(this.info);
    if (text && !found && (first || !/^(any|each)$/.test(text))) {
      const allowed = choicesOf(this.info).map(({ value, text }) => (value === text ? value : `${value} (${text})`));
      if (!hasMenu(this.info)) allowed.push(`a number below ${this.info.classes}`);
      warn(this.#element, 'label', text, 'it is left out', allowed.slice(0, 40).join(', ') || 'none, as this model has no classes');
    }
    return found ?? first;
  }

  #fail(error) {
    const failed = error instanceof NoiseballError ? error : new NoiseballError('device-lost', error.message, { cause: error });
    this.#bar.end();
    this.#say(this.#reached !== null ? this.#where('Failed') : this.#state ? moment(this.#state) : '');
    this.#parts.live.textContent = ''; // what was announced does not happen; what is wrong is an alert
    const what = failed instanceof PictureError ? 'picture' : 'model';
    fail(this.#element, this.#parts.error, failure(failed, navigator.onLine, what), failed);
  }

  // ---- What is shown ----

  #listen() {
    const { toggle, play, step, scrub, seed, dice, label, labelNumber, sampler, steps, guidance, speed, guess, save, choose, input } =
      this.#ui;
    const element = this.#element;
    const set = (name, field) => {
      if (field.checkValidity()) element[name] = field.value;
      else this.#showControls();
    };
    save.addEventListener('click', () => this.#save());
    // A press takes the focus from a field, whose new value begins a run: the button was not pressed to stop that one.
    let begins = false;
    toggle.addEventListener('pointerdown', () => (begins = !this.running));
    toggle.addEventListener('click', (event) => {
      if (!this.running) this.run();
      else if (event.detail === 0 || !begins) this.stop();
      begins = false;
    });
    play.addEventListener('click', () => this.#hold());
    step.addEventListener('click', () => this.#step());
    guess.addEventListener('change', () => (element.guess = guess.checked ? 'on' : 'off'));
    labelNumber.addEventListener('change', () => {
      if (labelNumber.checkValidity()) element.label = labelNumber.value === '' ? '' : String(Number(labelNumber.value));
    });
    dice.addEventListener('click', () => (element.seed = crypto.getRandomValues(new Uint32Array(1))[0]));
    for (const [name, field] of Object.entries({ seed, label, sampler, steps, guidance, speed }))
      field.addEventListener('change', () => set(name, field));
    choose.addEventListener('click', () => input.click());
    input.addEventListener('change', () => {
      const files = [...input.files];
      input.value = '';
      if (files.length > 0) this.#take(files);
    });
    const { frame } = this.#parts;
    const takesPicture = () => option(element, 'controls').includes('init') && (this.info === null || beginsWithPictures(this.info));
    const takes = ({ dataTransfer }) =>
      (option(element, 'controls').includes('files') || takesPicture()) && dataTransfer?.types.includes('Files');
    frame.addEventListener('dragover', (event) => {
      if (!takes(event)) return;
      event.preventDefault();
      frame.classList.add('over');
    });
    for (const type of ['dragleave', 'drop']) frame.addEventListener(type, () => frame.classList.remove('over'));
    frame.addEventListener('drop', (event) => {
      if (!takes(event)) return;
      event.preventDefault();
      const [file, ...others] = event.dataTransfer.files;
      if (takesPicture() && file?.type.startsWith('image/') && others.length === 0) this.#picture().then((given) => given.take(file));
      else if (option(element, 'controls').includes('files')) this.#take(event.dataTransfer);
    });
    scrub.addEventListener('input', () => {
      this.#follows = false;
      this.#replay?.abort();
      // Of a long run not every state is kept.
      this.#show(this.#history.steps.findLast(({ index }) => index <= Number(scrub.value)));
    });
    for (const part of [this.#ui.controls, this.#parts.main]) {
      part.addEventListener('keydown', (event) => event.key === 'Escape' && this.stop());
    }
  }

  /** Runs a model that a reader chose or dropped. Its files are understood within the event: browsers empty a drop afterwards. */
  async #take(files) {
    try {
      const source = await resolveSource(files);
      this.#begin(); // so that it runs
      this.#element.source = source;
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Hands the reader the pictures or the film as a file. */
  async #save() {
    const { kind, save } = this.#ui;
    save.disabled = true;
    try {
      const blob = await this.toBlob({ mimeType: kind.value });
      if (!blob) return;
      const { end } = SAVED.find(({ type }) => type === kind.value) ?? SAVED[0];
      const name = `${this.info?.name ?? 'pictures'}-seed-${option(this.#element, 'seed')}.${end}`;
      saveFile(blob, name.replace(/[^\w.-]+/g, '-'));
      this.#parts.live.textContent = 'Saved.';
    } catch (error) {
      this.#fail(error);
    } finally {
      save.disabled = false;
    }
  }

  /** Puts the controls where the hint was. */
  #attach() {
    const { hint, main, frame, guess } = this.#parts;
    if (this.attached) return;
    this.#parts.layout.classList.add('attached');
    hint.hidden = true;
    hint.after(this.#ui.controls);
    main.append(this.#ui.track, this.#acted.box);
    this.#ui.pictures.append(this.#acted.canvas);
    guess.append(this.#ui.guessCaption);
    frame.after(this.#ui.caption);
    this.#caption(false);
    this.#showControls();
    this.#showRunning();
  }

  /** Takes the button off the poster. */
  #begin() {
    const { root, layout, start, error } = this.#parts;
    const focused = root.activeElement;
    this.#attach();
    if (!this.begun) {
      this.begun = true;
      start.hidden = true;
      this.#ui.toggle.classList.remove('later');
      layout.classList.add('begun');
    }
    // The keyboard's focus was on a button that goes.
    if (focused === start || error.box.contains(focused)) this.#ui.toggle.focus();
  }

  #add(state) {
    // What is shown of a state may be wanted when another run has begun.
    Object.assign(state, { info: this.info, labels: this.#labels, prompt: this.#words, start: (this.#history.steps[0] ?? state).pictures });
    this.#reached = state;
    this.#history.add(state);
    const { steps } = this.#history;
    const { scrub } = this.#ui;
    // A run that was stopped ends where it was.
    Object.assign(scrub, { max: state.noise === null ? state.index : state.total, disabled: steps.length < 2 });
    // With reduced motion the pictures change once, from noise to what came of it.
    if (this.#follows && (!this.#calm.matches || steps.length === 1 || state.noise === null)) this.#show(state);
  }

  #show(state) {
    if (!state) return;
    const first = this.#state === null;
    this.#state = state;
    const { pictures, canvas, guessPictures, guessCanvas, names, scrub } = this.#ui;
    const grid = layout(state.batch);
    const texts = this.#names(state);
    const below = roomFor(texts, grid.columns, state.height);
    drawGrid(this.#native, state.pictures, state, grid.columns, below);
    this.#acted.show(state, below);
    showNames(names, texts, grid, this.#native, this.#native.width / this.#native.height);
    this.#enlarge(canvas, pictures);
    if (option(this.#element, 'guess') === 'on') {
      // Finished pictures and the last guess of them are the same: what they were made from says more.
      drawGrid(this.#native, finished(state) ? state.start : state.predicted, state, grid.columns, below);
      this.#enlarge(guessCanvas, guessPictures);
      const [, text] = CAPTIONS[finished(state) ? 'finished' : 'running'];
      guessCanvas.setAttribute('aria-label', `${text}. ${moment(state)}`);
      this.#parts.guess.querySelector('.poster').hidden = true;
      this.#parts.guess.querySelector('[part=frame]').append(guessPictures);
      this.#caption(finished(state));
    }
    if (this.#follows) scrub.value = state.index;
    this.#describe();
    if (!first) return;
    this.#parts.poster.parentElement.hidden = true;
    this.#parts.bar.before(pictures);
    emit(this.#element, 'poster-dismissed');
  }

  /** Puts what was drawn on a canvas, each pixel a crisp square, as large as its frame has room for. */
  #enlarge(canvas, box) {
    const { width, height } = this.#native;
    const room = this.#parts.frame.clientWidth * devicePixelRatio;
    enlarge(this.#native, canvas, Math.max(1, Math.ceil(room / Math.max(width, height))));
    Object.assign(box.style, { aspectRatio: `${width} / ${height}`, width: `min(100%, 100% * ${width / height} / var(--aspect))` });
  }

  /** What is to be seen in each of the two frames. */
  #caption(finished) {
    const [now, guess] = CAPTIONS[finished ? 'finished' : 'running'];
    const symbol = (letter, below) => h('b', { 'aria-hidden': 'true' }, h('i', {}, letter), h('sub', {}, below));
    const { caption, guessCaption } = this.#ui;
    caption.replaceChildren(...(finished ? [] : [symbol('x', 't')]), now);
    guessCaption.replaceChildren(finished ? symbol('x', 'T') : symbol('x̂', '0'), guess);
  }

  /** Each picture's class; null where the model has none, or any class was asked for. */
  #names({ labels, info }) {
    if (!info || labels.length === 0 || labels.includes(info.nullLabel)) return null;
    return labels.map((label) => nameOf(info, label));
  }

  #describe() {
    const text = moment(this.#state);
    this.#ui.moment.textContent = text;
    this.#ui.scrub.setAttribute('aria-valuetext', text);
    const alt = option(this.#element, 'alt') || `Pictures of ${this.info?.name}`;
    const words = this.info?.pipeline?.prompt ? this.#state.prompt : '';
    this.#ui.canvas.setAttribute('aria-label', `${alt}${words ? `: ${words}` : ''}${spoken(this.#names(this.#state))}. ${text}`);
  }

  /** What became of a run, and when. */
  #where(what) {
    return this.#reached === null ? `${what}.` : `${what} at step ${this.#reached.index} of ${this.#reached.total}.`;
  }

  /** The line below the pictures; aloud also to screen readers. */
  #say(text, aloud = false) {
    this.#ui.moment.textContent = text;
    if (aloud) this.#parts.live.textContent = text;
  }

  #showRunning() {
    const { toggle, play, step } = this.#ui;
    toggle.textContent = this.running ? 'Stop' : 'Run';
    toggle.classList.toggle('primary', !this.running);
    const plays = this.running || this.#replay !== null;
    play.textContent = !plays ? 'Replay' : this.#held ? 'Go on' : 'Hold';
    play.disabled = step.disabled = !plays && this.#history.steps.length < 2;
  }

  #showControls() {
    const element = this.#element;
    const wanted = option(element, 'controls');
    const { fields, row, scrub, device, toggle, play, step, speed, guess, label, labelNumber, seed, sampler, steps } = this.#ui;
    const { guidance, embed, choose, saving, taking } = this.#ui;
    toggle.hidden = !wanted.includes('run');
    play.hidden = step.hidden = !wanted.includes('play');
    for (const [name, field] of Object.entries(fields)) field.hidden = !wanted.includes(name);
    // Their place is kept until it is known what can be chosen.
    row.classList.toggle('later', !this.info);
    this.#prompt.box.hidden = true; // until it is known that the model takes words
    row.hidden = [fields.class, fields.seed, fields.sampler, fields.steps, fields.guidance].every(({ hidden }) => hidden);
    scrub.hidden = this.#ui.moment.hidden = !wanted.includes('scrub');
    device.hidden = !wanted.includes('device');
    embed.hidden = !wanted.includes('embed');
    saving.hidden = !wanted.includes('save') || !this.info;
    choose.hidden = !wanted.includes('files');
    taking.hidden = embed.hidden && saving.hidden && choose.hidden;
    speed.value = option(element, 'speed');
    guess.checked = option(element, 'guess') === 'on';
    if (!this.info) return;
    const choices = choicesOf(this.info);
    fields.class.hidden ||= choices.length === 0;
    fields.guidance.hidden ||= !this.#guides();
    guidance.value = this.#guidance();
    this.#prompt.show(this.info, wanted);
    this.#acted.wait(this.#attends());
    this.#picture()
      .then((given) => given?.show(this.info, wanted))
      .catch(() => {}); // the run says so
    if (label.dataset.of !== JSON.stringify(choices)) {
      label.dataset.of = JSON.stringify(choices);
      label.replaceChildren(...choices.map(({ value, text }) => new Option(text, value)));
    }
    const chosen = (choiceOf(this.info, option(element, 'label')) ?? choices[0])?.value ?? '';
    label.value = chosen;
    label.hidden = !hasMenu(this.info);
    labelNumber.hidden = !label.hidden;
    Object.assign(labelNumber, {
      max: (this.info.classes ?? 1) - 1,
      placeholder: choices[0]?.text ?? '',
      value: Number(chosen) >= 0 ? chosen : '',
    });
    seed.value = option(element, 'seed');
    sampler.value = this.#sampler();
    Object.assign(steps, { max: Math.min(1000, this.info.trainTimesteps), value: this.#steps() });
    this.#showDevice();
  }

  #showDevice() {
    const { sentence, more } = deviceSentence(this.info.device);
    const fewer = fewerSentence(option(this.#element, 'batch'), this.#batch(), this.info.memory);
    this.#ui.fewer.textContent = fewer;
    this.#ui.fewer.hidden = fewer === '';
    this.#ui.device.replaceChildren(sentence, ...(more ? [h('details', {}, h('summary', {}, 'Why?'), more)] : []));
  }
}

function build(element) {
  const toggle = h('button', { type: 'button', part: 'run-button', class: 'toggle later' });
  const play = h('button', { type: 'button', class: 'play' }, 'Replay');
  const step = h('button', { type: 'button', title: 'Go one step on and hold' }, 'Step');
  const speed = h('select', {}, new Option('Slow', 'slow'), new Option('Normal', 'normal'), new Option('Fast', 'fast'));
  const guess = h('input', { type: 'checkbox', role: 'switch' });
  const label = h('select');
  const labelNumber = h('input', { type: 'number', inputmode: 'numeric', min: 0, step: 1, hidden: true });
  const seed = h('input', { type: 'number', inputmode: 'numeric', min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, required: true });
  const dots = [
    [8.5, 8.5],
    [15.5, 8.5],
    [12, 12],
    [8.5, 15.5],
    [15.5, 15.5],
  ].map(([cx, cy]) => s('circle', { cx, cy, r: 1.2 }));
  const die = s(
    'svg',
    { viewBox: '0 0 24 24', 'aria-hidden': 'true' },
    s('rect', { x: 3.5, y: 3.5, width: 17, height: 17, rx: 4 }),
    ...dots,
  );
  const dice = h('button', { type: 'button', class: 'dice', title: 'Draw another seed', 'aria-label': 'Draw another seed' }, die);
  const sampler = h('select', {}, ...SAMPLERS.map(({ name }) => new Option(name, name)));
  const steps = h('input', { type: 'number', inputmode: 'numeric', min: 1, step: 1, required: true });
  const guidance = h('input', { type: 'number', inputmode: 'decimal', min: 0, max: 20, step: 'any', required: true });
  const fields = {
    speed: h('label', { class: 'field speed' }, 'Speed', speed),
    class: h('label', { class: 'field' }, 'Class', label, labelNumber),
    seed: h('div', { class: 'seed' }, h('label', { class: 'field' }, 'Seed', seed), dice),
    sampler: h('label', { class: 'field' }, 'Sampler', sampler),
    steps: h('label', { class: 'field' }, 'Steps', steps),
    guidance: h('label', { class: 'field' }, 'Guidance', guidance),
    guess: h('label', { class: 'switch' }, guess, 'Show what it guesses'),
  };
  const embed = embedButton(element);
  const choose = h('button', { type: 'button' }, 'Your model…');
  const input = h('input', { type: 'file', webkitdirectory: true, multiple: true, hidden: true, tabindex: -1 });
  const kind = h('select', {}, ...SAVED.map(({ type, text }) => new Option(text, type)));
  const save = h('button', { type: 'button' }, 'Save');
  const saving = h('div', { class: 'seed' }, h('label', { class: 'field' }, 'Save as', kind), save);
  const scrub = h('input', { type: 'range', min: 0, max: 1, value: 0, disabled: true, 'aria-label': 'Step' });
  const moment = h('p', { class: 'moment' });
  const device = h('div', { class: 'hint device' });
  const row = h('div', { class: 'row' }, fields.class, fields.seed, fields.sampler, fields.steps, fields.guidance);
  const buttons = h('div', { class: 'row' }, toggle, play, step, fields.speed, fields.guess);
  const taking = h('div', { class: 'row' }, saving, choose, input, embed);
  const track = h('div', { class: 'track' }, scrub, moment);
  const fewer = h('p', { class: 'hint', hidden: true });
  const controls = h('div', { part: 'controls' }, buttons, row, taking, fewer, device);
  const canvas = h('canvas', { part: 'canvas', role: 'img' });
  const names = nameLayer();
  const pictures = h('div', { class: 'pictures' }, canvas, names);
  const guessCanvas = h('canvas', { part: 'canvas', role: 'img' });
  const guessPictures = h('div', { class: 'pictures' }, guessCanvas);
  const [caption, guessCaption] = [h('figcaption'), h('figcaption')];
  const views = { pictures, canvas, names, guessPictures, guessCanvas, caption, guessCaption };
  return {
    ...views,
    toggle,
    play,
    step,
    speed,
    guess,
    label,
    labelNumber,
    seed,
    dice,
    sampler,
    steps,
    guidance,
    fields,
    row,
    embed,
    choose,
    input,
    kind,
    save,
    saving,
    taking,
    track,
    scrub,
    moment,
    device,
    fewer,
    controls,
  };
}

/** What stands under the pictures and under the guess. */
const CAPTIONS = {
  running: ['What the model has now', 'Its guess, from that, of the finished pictures'],
  finished: ['Finished pictures', 'The pure noise that they were made from'],
};

const finished = ({ index, total }) => index === total;

/** A moment between two steps: the pictures then, and how much of them is noise. */
function stateOf({ total, batch, width, height, predicted, attention }, index, noise, pictures) {
  return { index, total, noise, batch, width, height, pictures, predicted, attention };
}

const hasModel = (element) => Boolean(element.model || element.source || option(element, 'src'));

/** What a model is loaded with. Hashes that cannot be read are not passed over: somebody wanted the files to be held to them. */
function optionsOf(element) {
  const [variant, text] = [option(element, 'variant') || undefined, option(element, 'integrity')];
  let integrity;
  try {
    integrity = text ? JSON.parse(text) : undefined;
  } catch {
    integrity = null;
  }
  const known =
    integrity === undefined || (Object(integrity) === integrity && Object.values(integrity).every((hash) => typeof hash === 'string'));
  if (known) return { device: option(element, 'device'), variant, integrity };
  throw new NoiseballError(
    'invalid-option',
    `integrity is not a JSON object of paths and hashes, such as {"unet/config.json": "sha256-…"}`,
  );
}

/** What `Noiseball.load` takes: the element's `source`, or its `src`. The hub is meant only where `hf:` says so: `faces/v2` is a folder. */
function sourceOf(element) {
  if (element.source) return element.source;
  const src = option(element, 'src');
  if (!src) throw new NoiseballError('invalid-option', `<${element.localName}> has no src: give it the address of a model's folder`);
  if (src.startsWith('hf:')) return src;
  return addressIn(element, 'src').href;
}

/** @returns {Promise<any>} the promise's own end, unless the signal fires before */
function unlessAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new NoiseballError('aborted', 'stopped on request'));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
