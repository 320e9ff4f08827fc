// <diffusion-sampler> once it is wanted: it borrows a model, runs it, and shows the run and its controls.

import { NoiseballError } from '../noiseball.js';
import { SAMPLERS } from '../samplers.js';
import { untilVisible } from '../visible.js';
import { warn } from './check.js';
import { choiceOf, choicesOf, labelsOf } from './classes.js';
import { addStyle, blobOf, emit, h, option, s } from './element.js';
import { drawGrid, enlarge, layout } from './grid.js';
import { History } from './history.js';
import { borrow } from './models.js';
import { samplerOf, usual } from './usual.js';
import { NAMES_STYLE, nameLayer, roomFor, showNames, spoken } from './names.js';
import { deviceSentence, failure, moment } from './words.js';

// Noise is to be seen becoming pictures, also where a run would be over at once: how long, in milliseconds, each state stands.
const NOISE = 500; // the pure noise
const STATE = 250; // any other, at most
const RUN_TIME = 3000; // all of them together, at most
const KEPT = 32 * 2 ** 20; // bytes of a run's states; a page may have many elements
const SHARP = 1024; // pixels of the canvas at least, so that the pictures' own stay sharp when it is shrunk
const MENU = 1000; // classes; nobody reads a longer menu

/** What a run can be saved as. */
const SAVED = [
  { type: 'image/png', end: 'png', text: 'Picture (PNG)' },
  { type: 'image/gif', end: 'gif', text: 'Film (GIF)' },
  ...(globalThis.MediaRecorder?.isTypeSupported('video/webm') ? [{ type: 'video/webm', end: 'webm', text: 'Film (WebM)' }] : []),
];

/** Attributes that choose the model, and those that a run takes. */
const OF_MODEL = ['src', 'device', 'variant'];
const OF_RUN = ['batch', 'seed', 'label', 'sampler', 'steps'];

export class Sampling {
  /** @type {any} what the model is, once it is loaded */
  info = null;
  /** Whether a run was asked for. */
  begun = false;

  #element;
  #parts;
  #ui;
  #seen;
  /** @type {any} */
  #loan = null;
  /** @type {AbortController | null} of the run in progress */
  #run = null;
  #ended = Promise.resolve();
  #interrupted = false;
  #history = new History(KEPT);
  #native = document.createElement('canvas');
  /** @type {any} the newest state of this run */
  #reached = null;
  /** @type {any} the state on show */
  #state = null;
  #follows = true;
  #choices = [];
  /** @type {string[] | null} of the run's pictures, where they have classes */
  #names = null;
  #changes = new Set();
  #totalProgress = 0;
  #calm = matchMedia('(prefers-reduced-motion: reduce)');
  /** @type {(() => void)[]} called when the element comes into view */
  #waiting = [];

  constructor(element, parts, seen) {
    this.#element = element;
    this.#parts = parts;
    this.#seen = seen;
    this.#ui = build();
    addStyle(parts.root, NAMES_STYLE);
    this.#listen();
  }

  get running() {
    return this.#run !== null;
  }

  /** The canvas with the pictures on show, or null. */
  get shown() {
    return this.#state ? this.#ui.canvas : null;
  }

  /** The pictures on show; or the run, where a film's type is asked for. */
  async toBlob(options) {
    if (!/^(image\/gif|video\/)/.test(options?.mimeType ?? '')) return blobOf(this.shown, options);
    const { steps } = this.#history;
    if (steps.length === 0) return null;
    const { film } = await import('./film.js');
    return film(steps, options.mimeType, { noise: NOISE, each: Math.min(STATE, RUN_TIME / steps.length) });
  }

  /** Loads the model without running it. */
  async load() {
    try {
      await this.#model(undefined);
    } catch (error) {
      if (error.type !== 'aborted') this.#fail(error);
    }
  }

  /** Runs in place of the run in progress; resolves to whether it came to its end. */
  run() {
    this.#begin();
    this.#run?.abort();
    const controller = new AbortController();
    const before = this.#ended;
    this.#run = controller;
    this.#showRunning();
    const mine = (async () => {
      await before;
      try {
        await this.#perform(controller.signal);
        return true;
      } catch (error) {
        if (error.type !== 'aborted') this.#fail(error);
        else if (this.#run === controller) this.#say(this.#interrupted ? 'Waits until it is seen again.' : this.#where('Stopped'));
        return false;
      } finally {
        if (this.#run === controller) this.#run = null;
        if (!this.#loan) this.#parts.progress.hidden = true; // stopped while it loaded
        this.#showRunning();
      }
    })();
    this.#ended = mine.then(() => {});
    return mine;
  }

  stop() {
    this.#interrupted = false;
    this.#run?.abort();
  }

  /** The element came into view, or left it. */
  sees(seen) {
    this.#seen = seen;
    if (!seen) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
    if (this.#interrupted && !this.#run) this.run();
  }

  /** Attributes have other values. Of several at once, as frameworks set them, one run comes. */
  changed(name) {
    this.#changes.add(name);
    if (this.#changes.size === 1) queueMicrotask(() => this.#takeChanges());
  }

  free() {
    this.stop();
    this.#release();
    const { canvas, controls, names } = this.#ui;
    canvas.remove();
    names.remove();
    controls.remove();
    const { frame, poster, progress } = this.#parts;
    frame.classList.remove('begun');
    poster.parentElement.hidden = false;
    progress.value = 0;
    progress.hidden = true;
  }

  #takeChanges() {
    const changed = (names) => names.some((name) => this.#changes.has(name));
    const [model, run] = [changed(OF_MODEL), changed(OF_RUN)];
    this.#changes.clear();
    if (!this.#element.isConnected) return;
    this.#showControls();
    if (this.#state) this.#describe();
    if (model) this.#release();
    if ((model || run) && this.begun) this.run();
    else if (model) this.load();
  }

  #release() {
    this.#loan?.release();
    this.#loan = this.info = null;
  }

  /** The model. Another caller may wait for it, too; where this one's signal fires or the load fails, it is given back. */
  async #model(signal) {
    if (!this.#loan) {
      this.#parts.error.show();
      this.#totalProgress = 0;
      this.#progress(0);
      const options = { device: option(this.#element, 'device'), variant: option(this.#element, 'variant') || undefined };
      this.#loan = borrow(sourceOf(this.#element), options, (progress) => this.#progress(progressOf(progress)));
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
    this.#choices = choicesOf(model.info);
    this.#showControls();
    this.#progress(1);
    this.#parts.progress.hidden = true;
    emit(this.#element, 'load', { info: model.info });
  }

  async #perform(signal) {
    this.#interrupted = false;
    this.#reached = null;
    this.#parts.error.show();
    if (!this.info) this.#say('Loading the model…', true);
    await this.#takeRun(signal).catch((error) => {
      // Its next run loads the model once more, on a new device: that is worth one try.
      if (error.type !== 'device-lost') throw error;
      return this.#takeRun(signal);
    });
    emit(this.#element, 'finish', { seed: option(this.#element, 'seed') });
  }

  async #takeRun(signal) {
    const model = await this.#model(signal);
    const loan = this.#loan;
    const options = this.#options();
    const names = this.#namesOf(options.labels);
    loan.interrupt = () => {
      this.#interrupted = true;
      this.#run?.abort();
    };
    this.#say('Waiting for another run on this page…');
    await loan.begin(signal);
    this.#names = names;
    try {
      await this.#play(model.sample({ ...options, signal }), loan, options, signal);
    } finally {
      loan.end();
    }
    this.info = model.info; // after a lost device it may run elsewhere
    this.#showDevice();
  }

  async #play(run, loan, { batch, steps }, signal) {
    this.#follows = true;
    this.#history = new History(KEPT);
    this.#say(`Drawing ${batch === 1 ? 'a picture' : `${batch} pictures`} in ${steps} steps.`, true);
    /** @type {any} */
    let last = null;
    let next = run.next();
    try {
      for (;;) {
        const { done, value: step } = await next;
        if (done) break;
        this.#add(stateOf(step, step.index, step.noise, last?.pictures ?? step.start));
        const stands = this.#calm.matches ? 0 : last ? Math.min(STATE, RUN_TIME / step.total) : NOISE;
        last = step;
        emit(this.#element, 'step', { index: step.index + 1, total: step.total });
        next = run.next(); // is computed while this one stands
        next.catch(() => {}); // where it matters, it is awaited
        await this.#whileSeen(stands, loan, signal);
      }
    } finally {
      await run.return();
      // Where it was stopped, nobody knows how much noise is left: only the next step would say.
      if (last) this.#add(stateOf(last, last.index + 1, null, last.pictures));
    }
    this.#say(this.#where('Finished'), true);
  }

  /** Holds the run for some milliseconds, and as long as nobody can see it. */
  async #whileSeen(milliseconds, loan, signal) {
    await unlessAborted(new Promise((resolve) => setTimeout(resolve, milliseconds)), signal);
    while (!this.#seen || document.visibilityState === 'hidden') {
      loan.pause(true);
      try {
        await untilVisible([signal]);
        if (!this.#seen) await unlessAborted(new Promise((resolve) => this.#waiting.push(() => resolve(undefined))), signal);
      } finally {
        loan.pause(false);
      }
    }
  }

  /** What `sample` takes, with a warning of what this model or this version does not have. */
  #options() {
    const element = this.#element;
    const [batch, seed] = [option(element, 'batch'), option(element, 'seed')];
    const steps = Math.min(this.#steps(), this.info.trainTimesteps);
    const [named, sampler] = [option(element, 'sampler'), this.#sampler()];
    if (named && sampler !== named)
      warn(element, 'sampler', named, `“${sampler}” is used instead`, SAMPLERS.map(({ name }) => name).join(', '));
    const choice = this.#choice();
    const labels = choice ? labelsOf(this.info, choice.value, batch) : undefined;
    return { sampler, steps, seed, batch, ...(labels && { labels }) };
  }

  /** The sampler that is chosen: the model's usual one where the attribute names none that there is. */
  #sampler() {
    const named = option(this.#element, 'sampler');
    return samplerOf(named)?.name ?? usual(this.info).sampler;
  }

  /** The steps that are chosen: the usual ones where neither they nor a sampler is. */
  #steps() {
    const chosen = ['steps', 'sampler'].some((name) => this.#element.hasAttribute(name));
    return chosen ? option(this.#element, 'steps') : usual(this.info).steps;
  }

  /** The class that is chosen: the first choice where none is, or one that this model lacks. */
  #choice() {
    const text = option(this.#element, 'label');
    const found = choiceOf(this.#choices, text);
    if (text && !found) {
      const allowed = this.#choices.map(({ value, text }) => (value === text ? value : `${value} (${text})`)).slice(0, 40);
      warn(this.#element, 'label', text, 'it is left out', allowed.join(', ') || 'none, as this model has no classes');
    }
    return found ?? this.#choices[0];
  }

  /** Each picture's class, where the model has classes and it is one of them. */
  #namesOf(labels) {
    if (!labels || labels.includes(this.info.nullLabel)) return null;
    const texts = new Map(this.#choices.map(({ value, text }) => [value, text]));
    return labels.map((label) => texts.get(String(label)) ?? '');
  }

  /** From 0 once up to 1, over download and preparation. */
  #progress(fraction) {
    const { progress } = this.#parts;
    progress.hidden = false;
    this.#totalProgress = Math.max(this.#totalProgress, fraction);
    progress.value = this.#totalProgress;
    emit(this.#element, 'progress', { totalProgress: this.#totalProgress });
  }

  #fail(error) {
    const failed = error instanceof NoiseballError ? error : new NoiseballError('device-lost', error.message, { cause: error });
    this.#parts.progress.hidden = true;
    this.#parts.error.show({ sentence: failure(failed, navigator.onLine), message: failed.message });
    this.#say(this.#reached !== null ? this.#where('Failed') : this.#state ? moment(this.#state) : '');
    emit(this.#element, 'error', { type: failed.type, message: failed.message, sourceError: failed });
  }

  // ---- What is shown ----

  #listen() {
    const { toggle, scrub, seed, dice, label, sampler, steps, embed, save } = this.#ui;
    const element = this.#element;
    const set = (name, field) => {
      if (field.checkValidity()) element[name] = field.value;
      else this.#showControls();
    };
    toggle.addEventListener('click', () => (this.running ? this.stop() : this.run()));
    save.addEventListener('click', () => this.#save());
    embed.addEventListener('click', async () => {
      const { attributesOf, openEmbed } = await import('./embed.js');
      await openEmbed(element.localName, attributesOf(element));
    });
    dice.addEventListener('click', () => (element.seed = crypto.getRandomValues(new Uint32Array(1))[0]));
    for (const [name, field] of Object.entries({ seed, label, sampler, steps })) field.addEventListener('change', () => set(name, field));
    scrub.addEventListener('input', () => {
      this.#follows = false;
      // Of a long run not every state is kept.
      this.#show(this.#history.steps.findLast(({ index }) => index <= Number(scrub.value)));
    });
    for (const part of [this.#ui.controls, this.#parts.frame]) {
      part.addEventListener('keydown', (event) => event.key === 'Escape' && this.stop());
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
      const link = h('a', { href: URL.createObjectURL(blob), download: name.replace(/[^\w.-]+/g, '-') });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the download has its own hold on the blob by then
      this.#parts.live.textContent = 'Saved.';
    } catch (error) {
      this.#fail(error);
    } finally {
      save.disabled = false;
    }
  }

  /** Takes the button off the poster, and puts the controls below. */
  #begin() {
    const { root, frame, start, hint, error } = this.#parts;
    const focused = root.activeElement;
    if (!this.begun) {
      this.begun = true;
      start.hidden = hint.hidden = true;
      hint.after(this.#ui.controls);
      this.#showControls();
      frame.classList.add('begun');
    }
    // The keyboard's focus was on a button that goes.
    if (focused === start || error.box.contains(focused)) this.#ui.toggle.focus();
  }

  #add(state) {
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
    const { canvas, scrub, names } = this.#ui;
    const grid = layout(state.batch);
    drawGrid(this.#native, state.pictures, state, grid.columns, roomFor(this.#names, grid.columns, state.height));
    showNames(names, this.#names, grid, this.#native, 1);
    enlarge(this.#native, canvas, Math.max(1, Math.ceil(SHARP / Math.max(this.#native.width, this.#native.height))));
    if (this.#follows) scrub.value = state.index;
    this.#describe();
    if (!first) return;
    this.#parts.poster.parentElement.hidden = true;
    this.#parts.bar.before(canvas, names);
    emit(this.#element, 'poster-dismissed');
  }

  #describe() {
    const text = moment(this.#state);
    this.#ui.moment.textContent = text;
    this.#ui.scrub.setAttribute('aria-valuetext', text);
    this.#ui.canvas.setAttribute(
      'aria-label',
      `${option(this.#element, 'alt') || `Pictures of ${this.info?.name}`}${spoken(this.#names)}. ${text}`,
    );
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
    const { toggle } = this.#ui;
    toggle.textContent = this.running ? 'Stop' : 'Run';
    toggle.classList.toggle('primary', !this.running);
  }

  #showControls() {
    const element = this.#element;
    const wanted = option(element, 'controls');
    const { fields, scrub, device, toggle, label, seed, sampler, steps, embed } = this.#ui;
    const classes = this.#choices.length > 0 && this.#choices.length <= MENU;
    toggle.hidden = !wanted.includes('run');
    for (const [name, field] of Object.entries(fields)) field.hidden = !wanted.includes(name) || !this.info;
    fields.class.hidden ||= !classes;
    scrub.hidden = this.#ui.moment.hidden = !wanted.includes('scrub');
    device.hidden = !wanted.includes('device');
    embed.hidden = !wanted.includes('embed');
    this.#ui.saving.hidden = !wanted.includes('save') || !this.info;
    if (!this.info) return;
    if (label.dataset.of !== JSON.stringify(this.#choices)) {
      label.dataset.of = JSON.stringify(this.#choices);
      label.replaceChildren(...(classes ? this.#choices.map(({ value, text }) => new Option(text, value)) : []));
    }
    label.value = (choiceOf(this.#choices, option(element, 'label')) ?? this.#choices[0])?.value ?? '';
    seed.value = option(element, 'seed');
    sampler.value = this.#sampler();
    Object.assign(steps, { max: Math.min(1000, this.info.trainTimesteps), value: this.#steps() });
    this.#showDevice();
  }

  #showDevice() {
    const { sentence, more } = deviceSentence(this.info.device);
    this.#ui.device.replaceChildren(sentence, ...(more ? [h('details', {}, h('summary', {}, 'Why?'), more)] : []));
  }
}

function build() {
  const toggle = h('button', { type: 'button', part: 'run-button', class: 'toggle' });
  const label = h('select');
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
  const fields = {
    class: h('label', { class: 'field' }, 'Class', label),
    seed: h('div', { class: 'seed' }, h('label', { class: 'field' }, 'Seed', seed), dice),
    sampler: h('label', { class: 'field' }, 'Sampler', sampler),
    steps: h('label', { class: 'field' }, 'Steps', steps),
  };
  const embed = h('button', { type: 'button' }, 'Embed');
  const kind = h('select', {}, ...SAVED.map(({ type, text }) => new Option(text, type)));
  const save = h('button', { type: 'button' }, 'Save');
  const saving = h('div', { class: 'seed' }, h('label', { class: 'field' }, 'Save as', kind), save);
  const scrub = h('input', { type: 'range', min: 0, max: 1, value: 0, disabled: true, 'aria-label': 'Step' });
  const moment = h('p', { class: 'moment' });
  const device = h('div', { class: 'hint' });
  const controls = h(
    'div',
    { part: 'controls' },
    scrub,
    moment,
    h('div', { class: 'row' }, toggle, ...Object.values(fields), saving, embed),
    device,
  );
  const canvas = h('canvas', { part: 'canvas', role: 'img' });
  const names = nameLayer();
  return { names, embed, kind, save, saving, toggle, label, seed, dice, sampler, steps, fields, scrub, moment, device, controls, canvas };
}

/** A moment between two steps: the pictures then, and how much of them is noise. */
function stateOf({ total, batch, width, height }, index, noise, pictures) {
  return { index, total, noise, batch, width, height, pictures };
}

/** What `Noiseball.load` takes: the element's `source`, or its `src`. The hub is meant only where `hf:` says so: `faces/v2` is a folder. */
function sourceOf(element) {
  if (element.source) return element.source;
  const src = option(element, 'src');
  if (!src) throw new NoiseballError('invalid-option', `<${element.localName}> has no src: give it the address of a model's folder`);
  if (src.startsWith('hf:')) return src;
  let url;
  try {
    url = new URL(src, element.baseURI);
  } catch (cause) {
    throw new NoiseballError('invalid-option', `src="${src}" is no address`, { cause });
  }
  if (url.protocol === 'file:') {
    throw new NoiseballError(
      'fetch',
      'this page was opened as a file, and browsers let it load nothing. Serve its folder with a web server, and open it from there',
    );
  }
  return url.href;
}

/**
 * How far a load is: nine tenths for the download. What is small comes first and is complete before the size of the weights is known;
 * until then, and where a server does not say how long they are, the bar only shows that something comes.
 */
function progressOf({ stage, loaded, total, file }) {
  if (stage === 'compile') return 0.95;
  const weights = /\.(safetensors|bin)$/.test(file ?? '');
  return 0.9 * (weights && total ? loaded / total : loaded / (loaded + 2e7));
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
