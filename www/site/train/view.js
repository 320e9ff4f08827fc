// The page's part for training. It is loaded when the reader first turns to it, and the training module with the first
// pictures.

import { BUNDLED, continueRun, train } from '../../training.js';
import { byId } from '../page.js';
import { isModel } from '../dropped.js';
import { DataPanel } from './data.js';
import { KeptRuns } from './kept.js';
import { hideProblem, tell } from './notice.js';
import { PlanPanel } from './plan.js';
import { RunPanel } from './run.js';

/**
 * @param {{sampledSource: () => object | null, openModel: (source: Promise<object>) => void}} page what the other part of the
 *        page gives: where its model is from, and a way to open another there
 * @returns {{take: (source: Promise<object>) => void}} `take` reads what was dropped
 */
export function openTrainView({ sampledSource, openModel }) {
  const run = new RunPanel({ onNew: showSetup, onChange: () => kept.refresh(), openModel });
  const plan = new PlanPanel({ sampledSource, start, planned: (process) => data.setProcess(process), dataThere: () => data.settled });
  const data = new DataPanel((found, name) => plan.setData(found, name));
  const kept = new KeptRuns({
    goOn: (id) => run.open(() => continueRun(id), hideSetup),
  });

  function start(options) {
    return run.open(() => train(options), hideSetup);
  }

  function hideSetup() {
    byId('setup').hidden = true;
    byId('kept').hidden = true;
  }

  function showSetup() {
    byId('setup').hidden = false;
    data.refresh();
    plan.measureAgain();
    kept.refresh();
  }

  awaitModule();
  for (const name of BUNDLED) byId(`data-${name}`).addEventListener('click', () => data.take(name));
  byId('train-notice-close').addEventListener('click', hideProblem);
  kept.refresh();
  return {
    async take(source) {
      if (run.isOpen) {
        Promise.resolve(source).catch(() => {});
        return tell('Training is in progress.', 'Press New run… to choose other pictures');
      }
      return data.take(Promise.resolve(source).then(checkPictures));
    },
  };
}

/** A model that was dropped here belongs to the page's other part. */
function checkPictures(source) {
  if (!isModel(source)) return source;
  throw Object.assign(new Error('To open it, press Sample at the top of the page and drop it there'), {
    type: 'dataset',
    title: 'This is a model, not pictures to train on.',
  });
}

const MODULE = new URL('../../pkg-train/noiseball_train_bg.wasm.gz', import.meta.url);
const LOOK_AGAIN = 5000; // milliseconds

/** `npm start` serves the page while the training module is being built: until it is there, nothing here can work. */
async function awaitModule() {
  const { status } = await fetch(MODULE, { method: 'HEAD', cache: 'no-cache' }).catch(() => ({ status: 0 }));
  const missing = status === 404;
  byId('setup').inert = missing;
  byId('train-unbuilt').hidden = !missing;
  if (!missing) return;
  byId('train-unbuilt').textContent =
    'The training part is not built yet. “npm start” builds it in the background: ten to twenty minutes the first time. This page looks again by itself.';
  setTimeout(awaitModule, LOOK_AGAIN);
}
