// The page: loads a model, runs it, and keeps the address in step with the settings.

import { Noiseball } from '../noiseball.js';
import { resolveSource } from '../source.js';
import { Controls } from './controls.js';
import { showFacts } from './facts.js';
import { clearNotice, showError } from './notice.js';
import { foreignHost, listenForSources } from './open.js';
import { announce, byId, flash, setEnabled } from './page.js';
import { Player, progress } from './player.js';
import { copyLink, savePng } from './share.js';
import { readHash, writeHash } from './state.js';
import { duration, loading, pictures } from './words.js';

const FIRST_MODEL = new URL('../models/pixel-faces-16/', import.meta.url).href;

const state = readHash(location.hash);
const controls = new Controls(state, settingChanged);
const player = new Player();

let model = null;
let source = null; // where `model` is from; kept to load it again on another device
let wanted = null; // [source, address] of the last load, which may have failed
let work = null; // {stop(), done}: the load or run in progress
let usedSeed = state.seed;

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

/** Loads a model and takes its first pictures. The one before stays where this fails. */
function open(promisedSource, address) {
  return begin(async (signal) => {
    clearNotice();
    const next = await promisedSource;
    wanted = [next, address];
    await load(next, signal);
    state.model = address;
    byId('reset').hidden = source.kind === 'url' && source.url === FIRST_MODEL;
    updateAddress();
    await run(signal);
  });
}

async function load(next, signal) {
  progress(null, `Loading ${next.name}…`);
  announce(`Loading ${next.name}.`);
  let loaded;
  try {
    loaded = await Noiseball.load(next, {
      signal,
      device: state.device,
      onProgress: (state) =>
        progress(state.stage === 'download' && state.total ? state.loaded / state.total : null, loading(state, next.name)),
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
  updateAddress();
  try {
    const time = await player.play(model.sample({ ...options, signal, pauseWhenHidden: true }), options);
    showFacts(model.info); // after a lost device it may run elsewhere
    progress(1, `${pictures(options.batch)} in ${duration(time)}`);
    announce(`Done: ${pictures(options.batch)} in ${duration(time)}.`);
  } catch (error) {
    const { shown } = player;
    const where = error.type === 'aborted' ? 'Stopped' : 'Failed';
    progress(0, shown ? `${where} after step ${shown.index + 1} of ${shown.total}` : where);
    announce(byId('status').textContent);
    throw error;
  }
}

function settingChanged(name) {
  updateAddress();
  if (name !== 'device' || !wanted) return;
  if (!model) {
    open(...wanted);
    return;
  }
  const before = model?.info.device.kind;
  begin(async (signal) => {
    clearNotice();
    try {
      await load(source, signal);
    } catch (error) {
      // The model before goes on, on its own device, and the setting says so.
      state.device = before ?? 'auto';
      controls.show();
      updateAddress();
      throw error;
    }
    controls.keepSeed();
    await run(signal);
  });
}

function updateAddress() {
  history.replaceState(null, '', writeHash(state));
}

/** A link may name a model on another site; nothing is fetched from there before the reader agrees. */
async function openFromLink() {
  const address = state.model;
  const linked = address ? resolveSource(address, document.baseURI) : resolveSource(FIRST_MODEL);
  const host = await linked.then(foreignHost, () => null);
  if (!host) return open(linked, address);
  byId('invitation-text').textContent = `This link asks for the model ${address} from ${host}.`;
  byId('invitation').hidden = false;
  byId('invitation-accept').onclick = () => choose(linked, address);
  return open(resolveSource(FIRST_MODEL), '');
}

/** Opens what the reader asked for, whatever a link had suggested. */
function choose(promisedSource, address) {
  byId('invitation').hidden = true;
  byId('stage').scrollIntoView(); // where its progress and its pictures are
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
byId('link').addEventListener('click', () => copyLink(controls.resolvedState()));
byId('reset').addEventListener('click', () => choose(resolveSource(FIRST_MODEL), ''));
byId('purge').addEventListener('click', async () => {
  await Noiseball.purge();
  announce('The cache is empty.');
  flash(byId('purge'), 'Emptied');
});
window.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && work) work.stop();
});

// ---- The two parts of the page ----

let training = null; // the part for training, once it was looked at
let sampling = false; // whether the part for sampling was looked at, and has its model

function showView() {
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
  state.view = view;
  updateAddress();
  showView();
}

byId('view-sample').addEventListener('click', () => setView('sample'));
byId('view-train').addEventListener('click', () => setView('train'));
window.addEventListener('hashchange', () => {
  const model = state.model;
  Object.assign(state, readHash(location.hash));
  controls.keepSeed();
  controls.show();
  if (sampling && state.model !== model) openFromLink();
  showView();
});

listenForSources((promised, address) => {
  if (state.view !== 'train') return choose(promised, address);
  promised.catch(() => {}); // reported by whoever takes it
  training.then((part) => part.take(promised));
});
showView();
