// The page's part for training. It is loaded when the reader first turns to it, and the training module with the first
// pictures.

import { BUNDLED, continueRun, train } from '../../training.js';
import { byId } from '../page.js';
import { DataPanel } from './data.js';
import { KeptRuns } from './kept.js';
import { hideProblem, showProblem } from './notice.js';
import { PlanPanel } from './plan.js';
import { RunPanel } from './run.js';

/**
 * @param {{sampledSource: () => object | null, openModel: (source: Promise<object>) => void}} page what the other part of the
 *        page gives: where its model is from, and a way to open another there
 * @returns {{take: (source: Promise<object>) => void}} `take` reads what was dropped
 */
export function openTrainView({ sampledSource, openModel }) {
  const run = new RunPanel({ onNew: showSetup, onChange: () => kept.refresh(), openModel });
  const plan = new PlanPanel({ sampledSource, start, planned: (process) => data.setProcess(process) });
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

  for (const name of BUNDLED) byId(`data-${name}`).addEventListener('click', () => data.take(name));
  byId('train-notice-close').addEventListener('click', hideProblem);
  kept.refresh();
  return {
    take(source) {
      if (!run.isOpen) return data.take(source);
      Promise.resolve(source).catch(() => {});
      return showProblem({ type: 'busy', message: 'A run is open. Begin a new one to choose other pictures' });
    },
  };
}
