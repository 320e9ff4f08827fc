// A run on the stage: the two grids, the progress with the time left, and the scrubber over its states.

import { Grid } from './grid.js';
import { History } from '../elements/history.js';
import { announce, byId } from './page.js';
import { duration, moment, pictures } from './words.js';

export class Player {
  #noisy = new Grid(byId('noisy'));
  #predicted = new Grid(byId('predicted'));
  #scrub = byId('scrub');
  #history = new History();
  #shown = null;
  #calm = matchMedia('(prefers-reduced-motion: reduce)');

  constructor() {
    this.#scrub.addEventListener('input', () => this.#show(this.#history.steps[Number(this.#scrub.value)]));
  }

  /** The state on the stage, or null. */
  get shown() {
    return this.#shown;
  }

  /** The newest state of this run, or null before its first. */
  get reached() {
    return this.#history.steps.at(-1) ?? null;
  }

  /** The grid of x_t on the stage as a PNG. */
  toBlob() {
    return this.#noisy.toBlob();
  }

  /**
   * Plays the steps of a run until it ends. Throws what the run throws; the states up to then stay.
   * @returns {Promise<number>} how long it took, in milliseconds
   */
  async play(run, { batch, steps }) {
    const began = performance.now();
    this.#history = new History();
    this.#scrub.disabled = true;
    progress(0, `Sampling ${pictures(batch)}…`);
    announce(`Sampling ${pictures(batch)} in ${steps} steps.`);
    let last = null;
    try {
      for await (const step of run) {
        this.#add(stateBefore(step, last));
        this.#report(step, performance.now() - began);
        last = step;
      }
    } finally {
      if (last) this.#add(stateAfter(last));
      this.#finish();
    }
    return performance.now() - began;
  }

  #add(state) {
    this.#history.add(state);
    if (this.#wants(state)) this.#show(state);
  }

  /** With reduced motion the pictures change some four times a run instead of at every step. */
  #wants({ index, total }) {
    return !this.#calm.matches || index === total || index % Math.max(1, Math.ceil(total / 4)) === 0;
  }

  #report({ index, total }, elapsed) {
    const done = index + 1;
    const left = done < total && done > 1 ? `, ${duration((elapsed / done) * (total - done))} left` : '';
    progress(done / total, `Step ${done} of ${total}${left}`);
  }

  #finish() {
    const { steps } = this.#history;
    const last = Math.max(0, steps.length - 1);
    Object.assign(this.#scrub, { max: last, value: last, disabled: steps.length < 2 });
    if (steps.length > 0) this.#show(steps[last]);
  }

  #show(state) {
    if (!state) return;
    this.#shown = state;
    const finished = state.index === state.total;
    this.#noisy.show(state.pictures, state);
    // Finished pictures and the last guess of them are the same: what they were made from says more.
    this.#predicted.show(finished ? this.#history.steps[0].pictures : state.predicted, state);
    const text = moment(state);
    byId('moment').textContent = text;
    this.#scrub.setAttribute('aria-valuetext', text);
    byId('noisy-caption').textContent = finished ? 'Finished pictures' : 'What the model has now';
    for (const id of ['noisy-symbol', 'predicted-symbol']) byId(id).hidden = finished;
    byId('predicted-caption').textContent = finished
      ? 'The pure noise that they were made from'
      : 'Its guess, from that, of the finished pictures';
    this.#noisy.describe(`${pictures(state.batch)}. ${text}`);
    this.#predicted.describe(finished ? 'The pure noise that they were made from' : `Prediction of the finished pictures. ${text}`);
    if (!this.#scrub.disabled) return;
    // While the run goes on, the thumb follows it.
    Object.assign(this.#scrub, { max: state.total, value: state.index });
  }
}

/**
 * A state of a run is a moment between two steps: its pictures, the noise left in them, and what the network then made of them. A step
 * of the API is the way from one to the next: it says how noisy it began, and gives the pictures after it.
 */
function stateBefore(step, last) {
  return { ...step, start: undefined, latents: undefined, pictures: last?.pictures ?? step.start };
}

/** Where a run ended, or was stopped: how much noise is left then, only the next step would have said. */
function stateAfter(step) {
  return { ...step, start: undefined, latents: undefined, index: step.index + 1, noise: null };
}

/** Sets the bar (null: something goes on, nobody knows how long) and the line beside it. */
export function progress(fraction, text) {
  const bar = byId('progress');
  if (fraction === null) bar.removeAttribute('value');
  else bar.value = fraction;
  byId('status').textContent = text;
}
