// A run on the page: progress, loss chart, filmstrip, and what the reader can do with it.

import { Losses } from '../../training.js';
import { bytes, partsSentence, runSentence } from '../../words.js';
import { byId, flash, setEnabled } from '../page.js';
import { LossChart } from './chart.js';
import { Film } from './film.js';
import { announceTraining, hideProblem, showProblem, tell } from './notice.js';
import { boundSentence, lossSentence } from './words.js';

const FILM_NOTES = {
  pictures: 'Samples from the same noise, drawn with the averaged weights after the number of steps below them.',
  points: 'Samples from the same noise, drawn with the averaged weights after the number of steps below them; the data are faint behind.',
  bits: 'Samples from the same noise, drawn with the averaged weights after the number of steps below them: a row is a sequence, black is a pulse.',
};

export class RunPanel {
  #onNew;
  #onChange;
  #openModel;
  #run = null;
  #name = '';
  #known = null; // what is known of the bound
  #rate = null; // the peak rate, as the engine has it
  #losses = new Losses();
  #chart = new LossChart(byId('loss-chart'), byId('loss-legend'));
  #film = new Film(byId('film'));
  #told = { state: null, kept: null };

  constructor({ onNew, onChange, openModel }) {
    this.#onNew = onNew;
    this.#onChange = onChange;
    this.#openModel = openModel;
    this.#click('train-pause', () => (this.#run.progress.state === 'paused' ? this.#run.resume() : this.#run.pause()));
    this.#click('train-stop', () => this.#run.stop());
    this.#click('train-fork', async () => this.#openModel(this.#run.source(`${this.#name} after ${this.#run.progress.step} steps`)));
    this.#click('train-export', () => this.#download(this.#run.export(), `${this.#name}.zip`));
    this.#click('train-new', () => this.close());
    byId('live-rate').addEventListener('change', () => {
      const rate = Number(byId('live-rate').value);
      this.#run?.setLearningRate(rate).then(
        () => {
          this.#rate = rate;
          announceTraining(`The learning rate is ${rate} from now on.`);
        },
        (error) => {
          byId('live-rate').value = this.#rate; // with which it goes on
          showProblem(error);
        },
      );
    });
    byId('live-steps').addEventListener('change', () => this.#setSteps(Number(byId('live-steps').value)));
  }

  get isOpen() {
    return this.#run !== null;
  }

  /** Opens a run; `opened` is called when it is there. A failure to open is shown and leaves everything as it is. */
  async open(start, opened) {
    hideProblem();
    try {
      this.#run = await start();
    } catch (error) {
      return showProblem(error);
    }
    opened();
    byId('run-panel').hidden = false;
    byId('run-panel').scrollIntoView({ block: 'start' });
    this.#watch(this.#run);
  }

  /** Makes the run longer, also one that has ended, or shorter down to where it is. */
  async #setSteps(steps) {
    try {
      await this.#run?.setSteps(steps);
      announceTraining(`The run has ${steps.toLocaleString('en')} steps now.`);
    } catch (error) {
      byId('live-steps').value = this.#run.progress.steps;
      showProblem(error);
    }
  }

  async close() {
    const run = this.#run;
    this.#run = null;
    await run?.pause().catch(() => {});
    await run?.close().catch(() => {});
    byId('run-panel').hidden = true;
    hideProblem(); // it was of that run
    this.#onNew();
  }

  async #watch(run) {
    for await (const event of run) {
      if (this.#run !== run) return;
      this.#events[event.type]?.(event);
      if (event.state) this.#show(event);
    }
  }

  #events = {
    start: (event) => {
      this.#name = event.facts.name;
      this.#losses = new Losses(event.losses);
      const recipe = JSON.parse(event.recipe);
      const { data } = event.facts;
      this.#chart.show(this.#losses, recipe.objective === 'bound' || recipe.objective === 'binomial');
      byId('loss-help').textContent = lossSentence(recipe);
      this.#film.set(event.film, data, event.sample);
      this.#known = data.about?.bound;
      this.#bound(event.bound);
      byId('film-note').textContent = FILM_NOTES[data.kind ?? 'pictures'];
      byId('train-fork-why').hidden = data.kind === 'pictures';
      byId('run-title').textContent = this.#name;
      byId('live-rate').value = this.#rate = recipe.optimiser.learning_rate;
      byId('live-steps').value = event.steps;
      this.#kept(
        event.kept
          ? event.saved >= 0
            ? `Kept in this browser at step ${event.saved}.`
            : 'Will be kept in this browser while it trains.'
          : null,
      );
    },
    steps: ({ points }) => {
      for (const point of points) this.#losses.merge(point);
      this.#chart.changed();
    },
    frame: ({ frame }) => this.#film.add(frame),
    'frame-failed': ({ step, error }) =>
      tell(
        'The filmstrip lacks a frame.',
        `After step ${step.toLocaleString('en')} there were no samples: ${error.message}. Training goes on`,
      ),
    'held-out': ({ step, loss, bound }) => {
      this.#bound(bound);
      this.#losses.addHeldOut(step, loss);
      this.#chart.changed();
    },
    saved: ({ step, kept, problem, bytes: size }) => {
      if (kept)
        return this.#kept(
          `Kept in this browser at step ${step.toLocaleString('en')} (${bytes(size)}). You can close the tab; training continues from here next time.`,
        );
      if (problem) this.#notKept(problem);
    },
    'not-kept': ({ problem }) => this.#notKept(problem),
    recovering: ({ error }) =>
      tell(
        error.type === 'out-of-memory' ? 'Memory ran out.' : 'The device was lost.',
        `${error.message}. The run continues by itself from its last state`,
      ),
    split: ({ accumulate }) => tell('The batch is split to fit in memory.', partsSentence(accumulate)),
    failed: ({ error, wentBack, losses, step, bound }) => {
      if (losses) {
        this.#bound(bound);
        this.#losses = new Losses(losses);
        this.#chart.show(this.#losses);
      }
      showProblem(
        wentBack
          ? { ...error, message: `${error.message}. The run went back to step ${step} and waits: lower the learning rate and resume` }
          : error,
      );
      if (error.fatal) this.#dead();
    },
  };

  #bound(bound) {
    byId('train-bound').hidden = !bound;
    if (bound) byId('train-bound').textContent = boundSentence(bound, this.#known);
  }

  /** The worker has gone; the page and what was kept remain. */
  #dead() {
    byId('train-status').textContent = 'The training engine stopped.';
    for (const id of ['train-pause', 'train-stop', 'train-fork', 'train-export']) setEnabled(byId(id), false);
    this.#onChange();
  }

  #notKept(problem) {
    this.#kept(`Not kept: ${problem}. Training continues; export it before you close this tab.`);
    if (this.#told.kept === problem) return;
    this.#told.kept = problem;
    tell(
      'This browser does not keep the run.',
      `${problem}. Training continues, but closing this tab loses it: use “Export ZIP” to take it with you`,
    );
  }

  #kept(text) {
    byId('train-kept').textContent = text ?? 'Not kept in this browser.';
  }

  #show(event) {
    const { state, step, steps } = event;
    byId('train-progress').value = step / steps;
    byId('train-status').textContent = runSentence(event);
    byId('train-pause').textContent = state === 'paused' ? 'Resume' : 'Pause';
    setEnabled(byId('train-pause'), state !== 'ended');
    setEnabled(byId('train-stop'), state !== 'ended');
    byId('live-rate').disabled = state === 'ended';
    setEnabled(byId('train-fork'), byId('train-fork-why').hidden);
    setEnabled(byId('train-export'), true);
    if (state !== this.#told.state) announceTraining(runSentence(event));
    this.#told.state = state;
  }

  #click(id, act) {
    byId(id).addEventListener('click', async () => {
      if (!this.#run || byId(id).getAttribute('aria-disabled') === 'true') return;
      try {
        await act();
      } catch (error) {
        showProblem(error);
      }
    });
  }

  async #download(promised, name) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await promised);
    link.download = name.replace(/[^\w.-]+/g, '-');
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    flash(byId('train-export'), 'Exported');
  }
}
