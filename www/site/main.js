// The page: loads a model, runs it, and keeps the address in step with the settings.

import { Noiseball } from '../noiseball.js';
import { resolveSource } from '../source.js';
import { Controls } from './controls.js';
import { isPictures } from './dropped.js';
import { showFacts } from './facts.js';
import { clearNotice, showError } from './notice.js';
import { foreignFolder, listenForSources } from './open.js';
import { announce, byId, flash, setEnabled } from './page.js';
import { Player, progress } from './player.js';
import { copyLink, savePng } from './share.js';
import { linkable, readHash, writeHash } from './state.js';
import { duration, LoadingBar, loading, pictures } from './words.js';

byId('unstarted').remove();

const FIRST_MODEL = new URL('../models/pixel-faces-16/', import.meta.url).href;

const state = readHash(location.hash);
const controls = new Controls(state, settingChanged);
const player = new Player();

let model = null;
let source = null; // where `model` is from; kept to load it again on another device
let wanted = null; // [source, address] of the last load, which may have failed
let work = null; // {stop(), done}: the load or run in progress
let usedSeed = state.seed;
let invited = ''; // the address of a link's model while the reader is asked for it

/** Starts one piece of work, after the one in progress (which is stopped) has come to its end. */
async function begin(task) {
  work?.stop();
  const before = work?.done;
  const controller = new AbortController();
  const mine = { stop: () => controller.abort(), done: null };
  work = mine;
  mine.done = (async () => {
    await before;
    setWorking(true);
    try {
      await task(controller.signal);
    } catch (error) {
      report(error);
    } finally {
      if (work === mine) {
        work = null;
        setWorking(false);
      }
    }
  })();
  return mine.done;
}

function report(error) {
  if (error.type === 'aborted') return;
  showError(error);
  if (!model) byId('reset').hidden = false; // the way to try again
  if (work) progress(0, model ? `${model.info.name} is ready.` : 'No model is loaded.');
}

function setWorking(working) {
  setEnabled(byId('run'), !working && model);
  setEnabled(byId('stop'), working);
  setEnabled(byId('save'), !working && player.shown);
}

/**
 * Loads a model and takes its first pictures. The one before stays where this fails. `at` is its place in the browser's history, where
 * the browser is there already; without one a place is added.
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
    byId('reset').hidden = source.kind === 'url' && source.url === FIRST_MODEL;
    visited(next, address, at);
    await run(signal);
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
  progress(null, `Loading ${next.name}…`);
  announce(`Loading ${next.name}.`);
  const bar = new LoadingBar();
  let loaded;
  try {
    loaded = await Noiseball.load(next, {
      signal,
      device: state.device,
      onProgress: (state) => progress(bar.take(state), loading(state, next.name)),
    });
  } catch (error) {
    progress(0, error.type === 'aborted' ? 'Loading was stopped.' : 'Loading failed.');
    announce(byId('status').textContent);
    throw error;
  }
  model?.dispose();
  [model, source] = [loaded, next];
  controls.setModel(model.info);
  showFacts(model.info);
}

async function run(signal) {
  const options = controls.sampleOptions();
  usedSeed = options.seed;
  byId('stale').hidden = true;
  updateAddress();
  try {
    const time = await player.play(model.sample({ ...options, signal, pauseWhenHidden: true }), options);
    showFacts(model.info); // after a lost device it may run elsewhere
    progress(1, `${pictures(options.batch)} in ${duration(time)}`);
    announce(`Done: ${pictures(options.batch)} in ${duration(time)}.`);
  } catch (error) {
    const { reached } = player;
    const where = error.type === 'aborted' ? 'Stopped' : 'Failed';
    progress(0, reached ? `${where} after step ${reached.index} of ${reached.total}` : where);
    announce(byId('status').textContent);
    throw error;
  }
}

function settingChanged(name) {
  updateAddress();
  if (player.shown && !work && name !== 'lock' && name !== 'device') byId('stale').hidden = false;
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
    controls.keepSeed();
    await run(signal);
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
  controls.keepSeed();
  controls.show();
  showView();
  if (!sampling) return;
  if (there !== place && places.has(there)) open(...places.get(there), there);
  else if (there !== place && linkable(state.model) !== linkable(address)) openFromLink();
  else if (state.device !== device) settingChanged('device');
}

/** A link may name a model on another site; nothing is fetched from there before the reader agrees. */
async function openFromLink() {
  const address = state.model;
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
  endInvitation();
  scrollTo({ top: 0 }); // where its progress and its pictures are
  return open(promisedSource, address);
}

byId('settings').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!model || work) return;
  begin(async (signal) => {
    clearNotice();
    await run(signal);
  });
});
byId('stop').addEventListener('click', () => work?.stop());
byId('save').addEventListener('click', () => !work && player.shown && savePng(player, model.info.name, usedSeed));
byId('link').addEventListener('click', () => copyLink({ ...controls.resolvedState(), model: linkable(state.model) }, source));
byId('invitation-decline').addEventListener('click', () => {
  endInvitation();
  updateAddress();
  byId('run').focus();
});
byId('reset').addEventListener('click', () => choose(resolveSource(FIRST_MODEL), ''));
byId('purge').addEventListener('click', async () => {
  await Noiseball.purge();
  announce('Downloaded models were deleted.');
  flash(byId('purge'), 'Deleted');
});
window.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && work) work.stop();
});

// ---- The two parts of the page ----

let training = null; // the part for training, once it was looked at
let sampling = false; // whether the part for sampling was looked at, and has its model

function showView() {
  document.documentElement.dataset.view = state.view;
  const train = state.view === 'train';
  byId('sampling').hidden = train;
  if (!train) byId('training').hidden = true;
  byId('view-sample').setAttribute('aria-pressed', String(!train));
  byId('view-train').setAttribute('aria-pressed', String(train));
  byId('drop-text').textContent = train ? 'Drop a folder, a ZIP or pictures' : 'Drop a diffusers folder, its files or a ZIP of them';
  if (train) {
    training ??= import('./train/view.js').then(({ openTrainView }) =>
      openTrainView({
        sampledSource: () => source,
        openModel: (promised) => {
          sampling = true;
          setView('sample');
          choose(promised, '');
        },
      }),
    );
    // Not before its buttons do something.
    training.then(() => (byId('training').hidden = state.view !== 'train'));
  } else if (!sampling) {
    sampling = true;
    openFromLink();
  }
}

function setView(view) {
  if (state.view === view) return;
  state.view = view;
  history.pushState({ place }, '', hash());
  showView();
}

byId('view-sample').addEventListener('click', () => setView('sample'));
byId('view-train').addEventListener('click', () => setView('train'));
// Browsers send the one, the other or both; the second finds nothing to do.
window.addEventListener('popstate', followAddress);
window.addEventListener('hashchange', followAddress);

listenForSources((promised, address) => {
  if (state.view !== 'train') return choose(promised, address);
  promised.catch(() => {}); // reported by whoever takes it
  training.then((part) => part.take(promised));
});
showView();
