// <diffusion-trainer> once it is wanted: it reads a data set, trains a network on it, and shows what the network has learned so far.

import { NoiseballError } from '../errors.js';
import { policyError, watchPolicy } from '../policy.js';
import { resolveSource } from '../source.js';
import { name as shownName } from '../text.js';
import { BUNDLED, prepare, removeRun, train } from '../training.js';
import { Losses } from '../train/losses.js';
import { isList } from '../train/toys.js';
import { addressIn } from './addresses.js';
import { warn } from './check.js';
import { CONTROLS_STYLE } from './controls-style.js';
import { addStyle, emit, fail, h, option } from './element.js';
import { drawGrid, enlarge, layout } from '../grid.js';
import { Loading } from './loading.js';
import { lossChart } from './loss-chart.js';
import { NAMES_STYLE, nameLayer, roomFor, showNames, spoken } from './names.js';
import { Nearest } from './nearest.js';
import { drawList } from './plot.js';
import { blobOf, embedButton, saveFile } from './taking.js';
import { TRAINING_STYLE } from './training-style.js';
import { DATASETS, frameSentence, partsSentence, runSentence } from './training-words.js';
import { deviceSentence, failure } from './words.js';

const SHARP = 1024; // pixels of the canvas at least
const ACROSS = 5; // pictures; a frame has ten
const ASPECT = 2; // of the room for them
const COMPARED = 64; // training pictures at a time
const OF_DATA = ['dataset', 'size'];
const OF_RUN = ['preset', 'steps', 'batch', 'seed', 'device'];
/** Of the loading bar: the training program, then the pictures, then the first frame. */
const SHARES = { download: [0, 0.7], read: [0.7, 0.9] };

/** The worker has one run: what begins and ends them, for all elements of a page, is done one after the other. */
let last = Promise.resolve();

/** @returns {Promise<any>} */
function inTurn(task) {
  const result = last.then(task);
  last = result.catch(() => {});
  return result;
}

export class Training {
  /** Whether a run was asked for. */
  begun = false;
  /** @type {any} what is trained on, once it is read */
  info = null;

  #element;
  #parts;
  #bar;
  #ui;
  /** @type {any} */
  #data = null;
  /** @type {any} the data set in place of the attribute's: what a reader chose or dropped */
  #chosen = null;
  /** @type {any} the newest run, also when it has ended */
  #run = null;
  /** @type {string | null} what the browser keeps it by */
  #kept = null;
  #loading = new AbortController();
  #wishes = 0;
  /** @type {(ended: boolean) => void} */
  #settle = () => {};
  #losses = new Losses();
  /** @type {any[]} */
  #frames = [];
  /** @type {any} */
  #shownFrame = null;
  #sample = null; // some of the data, of points and bits
  #follows = true;
  #native = document.createElement('canvas');
  #changes = new Set();
  /** Whether other data are wanted than those that are read. */
  #stale = false;
  #due = false;
  #state = 'idle';

  constructor(element, parts) {
    this.#element = element;
    this.#parts = parts;
    this.#bar = new Loading(element, parts.progress);
    this.#ui = build(element);
    addStyle(parts.root, CONTROLS_STYLE);
    addStyle(parts.root, NAMES_STYLE);
    addStyle(parts.root, TRAINING_STYLE);
    this.#listen();
  }

  /** Whether a run is loading, goes on or is paused. */
  get running() {
    return ['loading', 'running', 'paused'].includes(this.#state);
  }

  get progress() {
    return this.#run?.progress ?? null;
  }

  get shown() {
    return this.#shownFrame ? this.#ui.canvas : null;
  }

  toBlob(options) {
    return blobOf(this.shown, options);
  }

  /** Trains from the start, in place of a run before; resolves to whether it came to its end, or was finished early. */
  async run() {
    const mine = ++this.#wishes;
    const newest = () => mine === this.#wishes;
    this.#loading.abort();
    const { signal } = (this.#loading = new AbortController());
    this.#begin();
    this.#set('loading');
    this.#bar.begin();
    this.#parts.error.show();
    this.#say('Loading…', true);
    try {
      return await inTurn(() => this.#open(signal, newest)).then((run) => {
        if (!run) return false;
        this.#bar.take(1);
        this.#bar.end();
        return new Promise((resolve) => {
          this.#settle = resolve;
          this.#watch(run);
        });
      });
    } catch (error) {
      if (newest()) this.#fail(error);
      return false;
    }
  }

  async pause() {
    await this.#ask((run) => run.pause());
  }

  async resume() {
    await this.#ask((run) => run.resume());
  }

  async stop() {
    if (this.#state === 'loading') this.#stopLoading();
    else await this.#ask((run) => run.stop());
  }

  /** The model as a ZIP archive; null while there is no run. */
  async export() {
    return this.#run ? this.#run.export() : null;
  }

  seen() {
    this.#drawSoon();
  }

  /** Attributes have other values. Of several at once, as frameworks set them, one run comes. */
  changed(name) {
    this.#changes.add(name);
    if (this.#changes.size === 1) queueMicrotask(() => this.#takeChanges());
  }

  /** Ends everything, and gives back the data, the run and what the browser keeps of it. */
  free() {
    this.#wishes++;
    this.#loading.abort();
    this.#settle(false);
    inTurn(() => this.#close()).then(() => this.#forgetData());
    const { canvas, controls, names } = this.#ui;
    canvas.remove();
    names.remove();
    controls.remove();
    const { frame, poster } = this.#parts;
    frame.classList.remove('begun');
    frame.style.aspectRatio = '';
    poster.parentElement.hidden = false;
    this.#bar.end();
  }

  // ---- The run ----

  #takeChanges() {
    const changed = (names) => names.some((name) => this.#changes.has(name));
    const [data, run] = [changed(OF_DATA), changed(OF_RUN)];
    if (this.#changes.has('dataset')) this.#chosen = null;
    this.#changes.clear();
    if (!this.#element.isConnected) return;
    this.#stale ||= data;
    this.#showControls();
    if ((data || run) && this.begun) this.run();
  }

  #forgetData() {
    this.#stale = false;
    this.#data?.dispose();
    this.#data = this.info = null;
  }

  /** Ends the run before and starts another; null where it is not wanted any more. */
  async #open(signal, newest) {
    if (!newest()) return null;
    await this.#close();
    await this.#prepare(signal, newest);
    if (!newest()) return null;
    const run = await train(this.#options());
    if (newest()) return (this.#run = run);
    await run.close().catch(() => {});
    return null;
  }

  /** Reads the data set, where it has not been read, or its worker is gone. */
  async #prepare(signal, newest) {
    if (this.#stale) this.#forgetData();
    if (this.#data && !this.#data.lost) return;
    const source = this.#chosen ?? (await sourceOf(this.#element, signal));
    const onProgress = ({ stage, done, total }) => {
      const [from, to] = SHARES[stage];
      this.#bar.take(from + (to - from) * (total ? done / total : done / (done + 5e6)));
    };
    const data = await prepare(source, { signal, onProgress, size: option(this.#element, 'size') ?? undefined });
    if (!newest()) return data.dispose();
    this.#data = data;
    this.info = data.info;
    emit(this.#element, 'load', { info: data.info });
  }

  #options() {
    const element = this.#element;
    const given = (name) => option(element, name) || undefined;
    const { presets } = this.#data;
    const named = given('preset');
    const preset = presets.includes(named) ? named : undefined;
    if (named && !preset) warn(element, 'preset', named, 'it is left out', presets.join(', '));
    const device = option(element, 'device');
    return {
      data: this.#data,
      preset,
      steps: given('steps'),
      batch: given('batch'),
      seed: option(element, 'seed'),
      // Networks for points are so small that the CPU is faster.
      device: device === 'auto' && isList(this.info) ? 'cpu' : device,
      name: `${element.localName}: ${this.#datasetName()}`,
    };
  }

  #datasetName() {
    return this.#data?.about?.name ?? DATASETS[option(this.#element, 'dataset')] ?? 'pictures';
  }

  async #watch(run) {
    for await (const event of run) {
      if (this.#run !== run) return;
      this.#events[event.type]?.(event);
      if (event.state) this.#take(event);
    }
    // One run at a time: another element's took its place.
    if (this.#run !== run || !this.running) return;
    this.#say('Ended, because another training began on this page.', true);
    this.#end('closed', false);
  }

  #events = {
    start: (event) => {
      this.#kept = event.id;
      this.#losses = new Losses(event.losses);
      this.#frames = [];
      this.#sample = event.sample ?? null;
      this.#follows = true;
      this.#shownFrame = null;
      this.#ui.nearest.hidden = true;
      this.#ui.parts.hidden = event.accumulate <= 1;
      this.#ui.parts.textContent = partsSentence(event.accumulate);
      this.#ui.device.replaceChildren(...deviceParts(event.facts.device));
      const { about } = event.facts.data;
      this.#ui.credit.textContent = about ? `${about.about}. ${about.source}. ${about.licence}.` : '';
      for (const frame of event.film) this.#add(frame);
    },
    steps: ({ points, step, steps }) => {
      for (const point of points) this.#losses.merge(point);
      this.#drawSoon();
      emit(this.#element, 'step', { step, steps, loss: this.#losses.smoothed(this.#losses.series()).at(-1)?.[1] ?? Number.NaN });
    },
    frame: ({ frame }) => this.#add(frame),
    recovering: ({ error }) => this.#say(`${failure(error)} Training goes on from its last state.`, true),
    failed: ({ error, wentBack, losses }) => {
      if (losses) this.#losses = new Losses(losses);
      this.#fail(new NoiseballError(error.type, error.message), wentBack);
    },
  };

  #take(event) {
    const { state, step, steps } = event;
    const before = this.#state;
    if (before === 'failed') return;
    this.#set(state === 'ended' ? 'ended' : state);
    this.#say(runSentence(event), state !== before);
    if (state !== 'ended' || before === 'ended') return;
    this.#end('ended', true);
    emit(this.#element, 'finish', { step, steps });
    this.#compare();
  }

  #end(state, well) {
    this.#set(state);
    this.#settle(well);
  }

  async #ask(action) {
    if (!this.#run) return;
    try {
      await action(this.#run);
    } catch (error) {
      if (error.type !== 'disposed') this.#fail(error);
    }
  }

  #stopLoading() {
    this.#wishes++;
    this.#loading.abort();
    this.#bar.end();
    this.#say('Stopped.', true);
    this.#set('idle');
  }

  /** Ends the run, and deletes what the browser keeps: whoever wants it has saved it. */
  async #close() {
    const [run, kept] = [this.#run, this.#kept];
    this.#run = this.#kept = null;
    this.#settle(false);
    if (!run) return;
    await run.close().catch(() => {});
    if (kept) await removeRun(kept).catch(() => {});
  }

  #fail(error, wentBack = false) {
    this.#bar.end();
    if (error.type === 'aborted') return this.#set('idle');
    const failed = error instanceof NoiseballError ? error : new NoiseballError('device-lost', error.message, { cause: error });
    this.#say(wentBack ? 'It went back to its last state.' : 'Failed.');
    this.#end('failed', false);
    fail(this.#element, this.#parts.error, failure(failed, navigator.onLine, 'training program or its data'), failed);
  }

  // ---- What is shown ----

  #listen() {
    const { toggle, finish, save, dataset, choose, input, scrub } = this.#ui;
    const element = this.#element;
    toggle.addEventListener('click', () => {
      if (this.#state === 'running') this.pause();
      else if (this.#state === 'paused') this.resume();
      else if (this.#state === 'loading') this.stop();
      else this.run();
    });
    finish.addEventListener('click', () => this.stop());
    save.addEventListener('click', () => this.#save());
    dataset.addEventListener('change', () => dataset.value && (element.dataset = dataset.value));
    choose.addEventListener('click', () => input.click());
    input.addEventListener('change', () => {
      const files = [...input.files];
      input.value = '';
      if (files.length > 0) this.#choose(files);
    });
    scrub.addEventListener('input', () => {
      this.#follows = Number(scrub.value) === this.#frames.length - 1;
      this.#show(this.#frames[scrub.value]);
    });
    const { frame } = this.#parts;
    const takes = ({ dataTransfer }) => option(element, 'controls').includes('files') && dataTransfer?.types.includes('Files');
    frame.addEventListener('dragover', (event) => {
      if (!takes(event)) return;
      event.preventDefault();
      frame.classList.add('over');
    });
    for (const type of ['dragleave', 'drop']) frame.addEventListener(type, () => frame.classList.remove('over'));
    frame.addEventListener('drop', (event) => {
      if (!takes(event)) return;
      event.preventDefault();
      this.#choose(event.dataTransfer);
    });
  }

  /** Trains on what a reader chose or dropped. Its files are understood within the event: browsers empty a drop afterwards. */
  async #choose(files) {
    try {
      this.#chosen = await resolveSource(files);
    } catch (error) {
      return this.#fail(error);
    }
    this.#stale = true;
    this.#showControls();
    this.run();
  }

  async #save() {
    try {
      const blob = await this.export();
      if (!blob) return;
      saveFile(blob, `${fileName(this.#datasetName())}.zip`);
      this.#parts.live.textContent = 'Model saved.';
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Takes the button off the poster, and puts the controls below. */
  #begin() {
    const { root, frame, start, hint, error } = this.#parts;
    const focused = root.activeElement;
    if (!this.begun || !this.#ui.controls.isConnected) {
      this.begun = true;
      start.hidden = hint.hidden = true;
      hint.after(this.#ui.controls);
      this.#showControls();
      frame.classList.add('begun');
    }
    // The keyboard's focus was on a button that goes.
    if (focused === start || error.box.contains(focused)) this.#ui.toggle.focus();
  }

  #set(state) {
    this.#state = state;
    const { toggle, finish, save } = this.#ui;
    const words = { running: 'Pause', paused: 'Resume', loading: 'Stop', idle: 'Train', ended: 'Train again', closed: 'Train again' };
    toggle.textContent = words[state] ?? 'Train again';
    toggle.classList.toggle('primary', state !== 'running' && state !== 'loading');
    finish.hidden = !['running', 'paused'].includes(state);
    save.hidden = !option(this.#element, 'controls').includes('save') || !['running', 'paused', 'ended'].includes(state);
  }

  #showControls() {
    const { toggle, fields, choose, dataset, scrub, chart, device, embed } = this.#ui;
    const wanted = option(this.#element, 'controls');
    toggle.hidden = !wanted.includes('run');
    fields.dataset.hidden = !wanted.includes('dataset');
    choose.hidden = !wanted.includes('files');
    scrub.hidden = !wanted.includes('scrub');
    chart.figure.hidden = !wanted.includes('chart');
    device.hidden = !wanted.includes('device');
    embed.hidden = !wanted.includes('embed');
    const own = this.#chosen ? shownName(this.#chosen.name) : option(this.#element, 'dataset');
    const listed = !this.#chosen && BUNDLED.includes(own);
    dataset.replaceChildren(
      ...(listed ? [] : [new Option(this.#chosen ? own : shownName(own.split('/').at(-1)), '')]),
      ...BUNDLED.map((name) => new Option(DATASETS[name], name)),
    );
    dataset.value = listed ? own : '';
    this.#set(this.#state);
  }

  #say(text, aloud = false) {
    this.#ui.moment.textContent = text;
    if (aloud) this.#parts.live.textContent = text;
  }

  #add(frame) {
    this.#frames.push(frame);
    const { scrub } = this.#ui;
    Object.assign(scrub, { max: this.#frames.length - 1, disabled: this.#frames.length < 2 });
    if (this.#follows) {
      scrub.value = this.#frames.length - 1;
      this.#show(frame);
    }
    emit(this.#element, 'frame', { step: frame.step });
  }

  #show(frame) {
    if (!frame) return;
    const first = !this.#ui.canvas.isConnected;
    this.#shownFrame = frame;
    if (first) {
      this.#parts.poster.parentElement.hidden = true;
      this.#parts.bar.before(this.#ui.canvas, this.#ui.names);
      emit(this.#element, 'poster-dismissed');
    }
    this.#drawFrame();
  }

  #drawFrame() {
    const { canvas, scrub, at, names: layer } = this.#ui;
    const frame = this.#shownFrame;
    const names = frame.labels?.map((label) => shownName(this.info?.names[label] ?? '')) ?? null;
    this.#parts.frame.style.aspectRatio = 'pictures' in frame ? '' : '1';
    if ('pictures' in frame) {
      const grid = layout(frame.batch, Math.min(ACROSS, frame.batch));
      drawGrid(this.#native, frame.pictures, frame, grid.columns, roomFor(names, grid.columns, frame.height));
      showNames(layer, names, grid, this.#native, ASPECT);
      enlarge(this.#native, canvas, Math.max(1, Math.ceil(SHARP / Math.max(this.#native.width, this.#native.height))));
    } else {
      layer.hidden = true;
      const [color, accent] = this.#ui.chart.colours();
      drawList(canvas, { kind: this.info.kind, ...frame, behind: this.#sample, color, accent });
    }
    const text = frameSentence(frame, this.info?.kind);
    at.textContent = `${text}.`;
    scrub.setAttribute('aria-valuetext', text);
    canvas.setAttribute('aria-label', `${option(this.#element, 'alt') || this.#datasetName()}${spoken(names)}: ${text}`);
  }

  /** Draws the chart with the next frame, however often it is asked to. */
  #drawSoon() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      if (this.#run) this.#ui.chart.show(this.#losses, this.#run.progress?.steps ?? 1);
    });
  }

  /** After training: the nearest of the training pictures below the newest that were drawn. */
  async #compare() {
    const [run, frame, data] = [this.#run, this.#frames.at(-1), this.#data];
    if (!option(this.#element, 'controls').includes('nearest') || !frame || !('pictures' in frame) || data.lost) return;
    const nearest = new Nearest(frame.pictures, frame.batch);
    const { count } = data.info;
    try {
      for (let first = 0; first < count; first += COMPARED) {
        const indices = Array.from({ length: Math.min(COMPARED, count - first) }, (_, i) => first + i);
        const { pictures } = await data.show({ indices });
        if (this.#run !== run) return;
        nearest.look(pictures, first);
      }
    } catch (error) {
      if (error.type !== 'disposed') this.#fail(error);
      return;
    }
    const { near, nearest: figure } = this.#ui;
    const small = document.createElement('canvas');
    drawGrid(small, nearest.pictures, frame, Math.min(ACROSS, frame.batch));
    enlarge(small, near, Math.max(1, Math.ceil(SHARP / 2 / small.width)));
    near.setAttribute(
      'aria-label',
      `The nearest of the training pictures to each: ${nearest.found.map(({ index }) => index + 1).join(', ')}`,
    );
    figure.hidden = false;
  }
}

/** The data set that the attribute names: a bundled one's name, or the file at an address. */
async function sourceOf(element, signal) {
  const text = option(element, 'dataset');
  if (BUNDLED.includes(text)) return text;
  const url = addressIn(element, 'dataset', `one of ${BUNDLED.join(', ')}`);
  let response;
  watchPolicy();
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    if (signal.aborted) throw new NoiseballError('aborted', 'stopped on request', { cause });
    const refused = await policyError(url);
    if (refused) throw refused;
    throw new NoiseballError(
      'fetch',
      `could not reach ${url}: there is no network, no such server, or the server does not let other sites read its files. It must answer with the header 'Access-Control-Allow-Origin'`,
      { cause },
    );
  }
  if (!response.ok) {
    const names = /[/.:]/.test(text) ? '' : `. Or name one of ${BUNDLED.join(', ')}`;
    throw new NoiseballError('fetch', `${url} answered with HTTP status ${response.status}. Check the address${names}`);
  }
  return [new File([await response.blob()], url.pathname.split('/').at(-1) || 'data')];
}

function deviceParts(info) {
  const { sentence, more } = deviceSentence(info);
  return [sentence, ...(more ? [h('details', {}, h('summary', {}, 'Why?'), more)] : [])];
}

const fileName = (text) => text.toLowerCase().replace(/[^\w.-]+/g, '-');

function build(element) {
  const toggle = h('button', { type: 'button', part: 'run-button', class: 'toggle primary' }, 'Train');
  const finish = h('button', { type: 'button', hidden: true }, 'Finish now');
  const save = h('button', { type: 'button', hidden: true }, 'Save the model');
  const embed = embedButton(element);
  const dataset = h('select');
  const fields = { dataset: h('label', { class: 'field' }, 'Data', dataset) };
  const choose = h('button', { type: 'button' }, 'Your pictures…');
  const input = h('input', { type: 'file', multiple: true, hidden: true, accept: 'image/*,.zip,.npy,.npz,.gz,.idx', tabindex: -1 });
  const at = h('p', { class: 'moment' });
  const scrub = h('input', { type: 'range', min: 0, max: 0, value: 0, disabled: true, 'aria-label': 'Moment of the training' });
  const moment = h('p', { class: 'moment' });
  const chart = lossChart();
  const near = h('canvas', { part: 'nearest', role: 'img' });
  const nearest = h('figure', { hidden: true }, near, h('figcaption', {}, 'The nearest of the training pictures to each'));
  const parts = h('p', { class: 'hint', hidden: true });
  const device = h('div', { class: 'hint' });
  const credit = h('p', { class: 'hint' });
  const canvas = h('canvas', { part: 'canvas', role: 'img' });
  const controls = h(
    'div',
    { part: 'controls' },
    moment,
    h('div', { class: 'row' }, toggle, finish, save, embed),
    at,
    scrub,
    nearest,
    chart.figure,
    h('div', { class: 'row' }, fields.dataset, choose, input),
    parts,
    device,
    credit,
  );
  const names = nameLayer();
  return {
    names,
    toggle,
    finish,
    save,
    embed,
    dataset,
    fields,
    choose,
    input,
    at,
    scrub,
    moment,
    chart,
    near,
    nearest,
    parts,
    device,
    credit,
    canvas,
    controls,
  };
}
