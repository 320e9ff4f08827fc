// The page: loads a model into the stage, a <diffusion-sampler>, and keeps the address in step with the settings.

import { h } from '../elements.js';
import { Noiseball, resolveSource } from '../noiseball.js';
import { bytes, duration } from '../words.js';
import { Controls } from './controls.js';
import { isPictures } from './dropped.js';
import { showFacts } from './facts.js';
import { clearNotice, showError } from './notice.js';
import { MODELS } from './models.js';
import { foreignFolder, listenForSources, typed } from './open.js';
import { announce, byId, flash, setEnabled } from './page.js';
import { copyLink, savePng } from './share.js';
import { ATTRIBUTES, linkable, OF_STAGE, readHash, rowOf, writeHash } from './state.js';
import { LoadingBar, loading, pictures } from './words.js';

byId('unstarted').remove();

const FIRST_MODEL = MODELS[0].address;
const VIEWS = ['sample', 'compare', 'edit', 'train'];
const NAMED = 0.735; // a frame's width by its height where there are names under square pictures

const stage = byId('stage');
const state = readHash(location.hash);
let recommended = null; // what the card of the open model recommends, where the state has it
if (location.hash.length < 2) recommend(MODELS[0].setting);
const controls = new Controls(state, settingChanged);

let model = null;
let source = null; // where `model` is from; kept to load it again on another device
let wanted = null; // [source, address] of the last load, which may have failed
let work = null; // {stop(), done}: the load in progress
let invited = ''; // the address of a link's model while the reader is asked for it

function recommend(setting) {
  Object.assign(state, setting);
  recommended = setting;
}

/** Takes back what only another model's card recommends. */
function forgetRecommended() {
  for (const [name, value] of Object.entries(recommended ?? {})) if (state[name] === value) state[name] = rowOf(name).default;
  recommended = null;
}

/** Starts a load, after the one in progress (which is stopped) has come to its end. */
async function begin(task) {
  work?.stop();
  const before = work?.done;
  const controller = new AbortController();
  const mine = { stop: () => controller.abort(), done: null };
  work = mine;
  mine.done = (async () => {
    await before;
    try {
      await task(controller.signal);
    } catch (error) {
      report(error);
    } finally {
      if (work === mine) work = null;
    }
  })();
  return mine.done;
}

function report(error) {
  if (error.type === 'aborted') return;
  showError(error);
  if (!model) byId('reset').hidden = false; // the way to try again
  say(model ? `${model.info.name} is ready.` : 'No model is loaded.');
}

function say(text) {
  byId('status').textContent = text;
}

/**
 * Loads a model and runs it. The one before stays where this fails. `at` is its place in the browser's history, where the browser is
 * there already; without one a place is added.
 */
function open(promisedSource, address, at = null) {
  return begin(async (signal) => {
    clearNotice();
    const next = await promisedSource;
    if (isPictures(next)) throw picturesError();
    wanted = [next, address];
    try {
      await load(next, signal);
    } catch (error) {
      throw isArchive(next) && error.type === 'checkpoint' ? Object.assign(error, { message: `${error.message}. ${TO_TRAIN}` }) : error;
    }
    state.model = address;
    if (!MODELS.some((ours) => ours.address === next.url)) {
      forgetRecommended();
      const { pipeline, guidance } = model.info;
      if (pipeline && state.guidance === rowOf('guidance').default) recommend({ guidance });
    }
    setStage();
    controls.show();
    byId('reset').hidden = source.kind === 'url' && source.url === FIRST_MODEL;
    visited(next, address, at);
    if (state.view === 'sample') stage.run();
  });
}

const TO_TRAIN = 'If these are pictures to train on, press Train your own at the top of the page and drop them there';

function picturesError() {
  return Object.assign(new Error('To train on them, press Train your own at the top of the page and drop them there'), {
    type: 'checkpoint',
    title: 'These are pictures, not a model.',
  });
}

function isArchive({ kind, files }) {
  return kind === 'files' && files.length === 1 && /\.zip$/i.test(files[0].path);
}

async function load(next, signal) {
  say(`Loading ${next.name}…`);
  announce(`Loading ${next.name}.`);
  const bar = new LoadingBar();
  Object.assign(byId('progress'), { hidden: false, value: 0 });
  const promised = Noiseball.load(next, {
    signal,
    device: state.device,
    onProgress: (progress) => {
      byId('progress').value = bar.take(progress);
      say(loading(progress, next.name));
    },
  });
  // So that Run over the poster waits for it.
  if (!model) stage.model = promised;
  let loaded;
  try {
    loaded = await promised;
  } catch (error) {
    say(error.type === 'aborted' ? 'Loading was stopped.' : 'Loading failed.');
    announce(byId('status').textContent);
    throw error;
  } finally {
    byId('progress').hidden = true;
  }
  const before = model;
  [model, source] = [loaded, next];
  stage.stop();
  stage.model = loaded;
  stage.alt = `Pictures of ${loaded.info.name}`;
  const { width, height, classes } = loaded.info;
  stage.style.setProperty('--noiseball-aspect', String((width / height) * (classes === null ? 1 : NAMED)));
  if (before) comparing?.then((part) => part.show()); // it was of that model
  if (state.view === 'edit') editing?.then((part) => part.show());
  before?.dispose();
  say(`${loaded.info.name} is ready.`);
  controls.setModel(loaded.info);
  setStage();
  showFacts(loaded.info);
  showCached();
}

/** How much a reader can delete. */
async function showCached() {
  const kept = await Noiseball.cached();
  byId('cached').textContent = `Downloaded models are kept for your next visit${kept.files > 0 ? `: ${bytes(kept.bytes)} now` : ''}.`;
}

// ---- The stage: what it says of its run, and what its own controls change ----

let began = 0;
let ran = false; // whether a run was begun

stage.addEventListener('start', () => {
  ran = true;
  if (model) say(`Drawing ${pictures(stage.batch)}…`);
});
// A run of a large model loads its parts. Another model's load has the bar for itself.
stage.addEventListener('progress', ({ detail: { totalProgress } }) => {
  if (work) return;
  Object.assign(byId('progress'), { hidden: false, value: totalProgress });
  say(`Loading a part of ${model.info.name}…`);
});
for (const type of ['start', 'step', 'finish', 'stop', 'error'])
  stage.addEventListener(type, () => work || (byId('progress').hidden = true));
stage.addEventListener('step', ({ detail: { index, total, batch } }) => {
  if (index === 1) began = performance.now();
  const left = index > 1 && index < total ? ((performance.now() - began) / (index - 1)) * (total - index) : 0;
  say(`Drawing ${pictures(batch)}${left > 0 ? `, ${duration(left)} left` : '…'}`);
  setEnabled(byId('save'), true);
});
stage.addEventListener('finish', ({ detail: { milliseconds, batch } }) => {
  showFacts(model.info); // after a lost device it may run elsewhere
  clearNotice();
  say(`${pictures(batch)} in ${duration(milliseconds)} of computing`);
});
stage.addEventListener('stop', ({ detail }) => {
  if (!work) say(detail ? `Stopped after step ${detail.index} of ${detail.total}` : 'Stopped');
});
stage.addEventListener('error', ({ detail: { sourceError } }) => {
  if (model) report(sourceError); // else the load has said so
});

/** Puts the settings on the stage, which runs again where that changes something. */
function setStage() {
  for (const name of OF_STAGE) if (String(stage[name]) !== String(state[name])) stage[name] = state[name];
}

new MutationObserver(() => {
  for (const name of OF_STAGE) state[name] = stage[name];
  updateAddress();
}).observe(stage, { attributeFilter: ATTRIBUTES });

function settingChanged(name) {
  if (name === 'sampler') state.options = ''; // they were the other sampler's
  setStage();
  controls.show();
  updateAddress();
  if (name !== 'device' || !wanted) return;
  if (!model) {
    open(...wanted, newPlace());
    return;
  }
  const before = model.info.device.kind;
  begin(async (signal) => {
    clearNotice();
    try {
      await load(source, signal);
    } catch (error) {
      // The model before goes on, on its own device, and the setting says so.
      state.device = before;
      controls.show();
      updateAddress();
      throw error;
    }
    if (state.view === 'sample') stage.run();
  });
}

// ---- The address and the browser's history ----

// What Back can return to: the models opened in this tab by their places in its history, also those that have no address. A place of
// an earlier load of the page is not among them.
const places = new Map();
let place = null;

function updateAddress() {
  history.replaceState({ place }, '', hash());
}

function hash() {
  return writeHash({ ...state, model: linkable(invited || state.model) });
}

function newPlace() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** Notes the model that is open now: where the browser is, or in a place that is added. */
function visited(next, address, at) {
  place = at ?? newPlace();
  places.set(place, [next, address]);
  if (at === null) history.pushState({ place }, '', hash());
  else updateAddress();
}

/** Follows the browser's Back and Forward, and an address that was changed by hand. */
function followAddress() {
  const there = history.state?.place ?? null;
  const { model: address, device } = state;
  const asked = readHash(location.hash);
  if (invited && asked.model === linkable(invited)) asked.model = address; // the reader is still being asked
  Object.assign(state, asked);
  setStage();
  controls.show();
  showView();
  if (!sampling) return;
  if (there !== place && places.has(there)) open(...places.get(there), there);
  else if (there !== place && linkable(state.model) !== linkable(address)) openFromLink();
  else if (state.device !== device) settingChanged('device');
}

/** A link may name a model on another site; nothing is fetched from there before the reader agrees. */
async function openFromLink() {
  const address = typed(state.model);
  const linked = address ? resolveSource(address, document.baseURI) : resolveSource(FIRST_MODEL);
  const folder = await linked.then(foreignFolder, () => null);
  if (!folder) return open(linked, address, newPlace());
  [invited, state.model] = [address, ''];
  byId('invitation-host').textContent = folder.host;
  byId('invitation-address').textContent = folder.address;
  byId('invitation').hidden = false;
  byId('invitation-accept').onclick = () => choose(linked, address);
  return open(resolveSource(FIRST_MODEL), '', newPlace());
}

function endInvitation() {
  invited = '';
  byId('invitation').hidden = true;
}

/** Opens what the reader asked for, whatever a link had suggested. */
function choose(promisedSource, address) {
  setView('sample');
  endInvitation();
  scrollTo({ top: 0 }); // where its progress and its pictures are
  return open(promisedSource, address);
}

byId('settings').addEventListener('submit', (event) => event.preventDefault());
byId('save').addEventListener('click', () => model && savePng(stage, model.info.name, state.seed));
byId('link').addEventListener('click', () => copyLink({ ...state, sampler: controls.sampler, model: linkable(state.model) }, source));
byId('embed').addEventListener('click', () => stage.embed());
byId('invitation-decline').addEventListener('click', () => {
  endInvitation();
  updateAddress();
  byId('link').focus();
});
byId('models').replaceChildren(
  ...MODELS.map(({ title, about, address, bytes: size, setting }) => {
    const button = h('button', { type: 'button' }, title);
    button.addEventListener('click', () => {
      forgetRecommended();
      recommend(setting);
      // The first needs no address, and the others' are the page's own.
      choose(resolveSource(address), address === FIRST_MODEL ? '' : address);
    });
    return h('li', {}, button, ` ${about}, ${bytes(size)}`);
  }),
);
byId('reset').addEventListener('click', () => choose(resolveSource(FIRST_MODEL), ''));
byId('purge').addEventListener('click', async () => {
  await Noiseball.purge();
  showCached();
  announce('Downloaded models were deleted.');
  flash(byId('purge'), 'Deleted');
});
window.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  work?.stop();
  stage.stop();
});

// ---- The parts of the page ----

let training = null; // the part for training, once it was looked at
let comparing = null; // the one that compares samplers
let editing = null; // the one that edits pictures
let sampling = false; // whether the part for sampling was looked at, and has its model

function showView() {
  document.documentElement.dataset.view = state.view;
  const train = state.view === 'train';
  byId('sampling').hidden = state.view !== 'sample';
  if (state.view !== 'compare') byId('comparing').hidden = true;
  if (state.view !== 'edit') byId('editing').hidden = true;
  if (!train) byId('training').hidden = true;
  for (const view of VIEWS) byId(`view-${view}`).setAttribute('aria-pressed', String(state.view === view));
  byId('drop-text').textContent = train ? 'Drop a folder, a ZIP or pictures' : 'Drop a diffusers folder, its files or a ZIP of them';
  if (train) {
    training ??= import('./train/view.js').then(({ openTrainView }) =>
      openTrainView({
        sampledSource: () => source,
        openModel: (promised) => {
          sampling = true;
          choose(promised, '');
        },
      }),
    );
    // Not before its buttons do something.
    training.then(() => (byId('training').hidden = state.view !== 'train'));
  } else if (!sampling) {
    sampling = true;
    openFromLink();
  } else if (state.view === 'sample' && model && !ran) {
    stage.run();
  }
  if (state.view === 'compare') showCompare();
  else comparing?.then((part) => part.stop());
  if (state.view === 'edit') showEdit();
  else editing?.then((part) => part.stop());
}

async function showCompare() {
  stage.stop(); // a model does one run at a time
  comparing ??= import('./compare.js').then(
    ({ Compare }) =>
      new Compare({
        model: () => model ?? work?.done.then(() => model),
        state,
        changed: (solvers) => {
          state.solvers = solvers;
          updateAddress();
        },
      }),
  );
  (await comparing).show();
  byId('comparing').hidden = state.view !== 'compare'; // not before its buttons do something
}

async function showEdit() {
  stage.stop(); // a model does one run at a time
  editing ??= import('./edit.js').then(
    ({ Edit }) =>
      new Edit({
        model: () => model ?? work?.done.then(() => model),
        state,
        changed: () => {
          setStage();
          controls.show();
          updateAddress();
        },
      }),
  );
  const part = await editing;
  byId('editing').hidden = state.view !== 'edit'; // not before its buttons do something
  await part.show();
}

function setView(view) {
  if (state.view === view) return;
  state.view = view;
  clearNotice();
  history.pushState({ place }, '', hash());
  showView();
}

for (const view of VIEWS) byId(`view-${view}`).addEventListener('click', () => setView(view));
// Browsers send the one, the other or both; the second finds nothing to do.
window.addEventListener('popstate', followAddress);
window.addEventListener('hashchange', followAddress);

listenForSources((promised, address) => {
  if (state.view === 'edit') return takeOrOpen(promised, address);
  if (state.view !== 'train') return choose(promised, address);
  promised.catch(() => {}); // reported by whoever takes it
  training.then((part) => part.take(promised));
});

/** A picture is edited; anything else is a model. */
async function takeOrOpen(promised, address) {
  const found = await promised.catch(() => null);
  if (found && isPictures(found)) (await editing).take(found.files[0].file);
  else choose(promised, address);
}

setStage();
showView();

// The built site is there without a network, too.
if ('built' in document.documentElement.dataset) navigator.serviceWorker?.register(new URL('../../sw.js', import.meta.url)).catch(() => {});
