// A run on the stage: the two grids, the progress with the time left, and the scrubber over its states.

import { Grid } from './grid.js';
import { History } from './history.js';
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

  /** The step on the stage, or null. */
  get shown() {
    return this.#shown;
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
    try {
      for await (const step of run) {
        this.#history.add(step);
        if (this.#wants(step)) this.#show(step);
        this.#report(step, performance.now() - began);
      }
    } finally {
      this.#finish();
    }
    return performance.now() - began;
  }

  /** With reduced motion the pictures change some four times a run instead of at every step. */
  #wants({ index, total }) {
    return !this.#calm.matches || index === total - 1 || index % Math.max(1, Math.ceil(total / 4)) === 0;
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

  #show(step) {
    if (!step) return;
    this.#shown = step;
    this.#noisy.show(step.pictures, step);
    this.#predicted.show(step.predicted, step);
    byId('moment').textContent = moment(step);
    this.#scrub.setAttribute('aria-valuetext', `step ${moment(step)}`);
    this.#noisy.describe(`${pictures(step.batch)} after step ${moment(step)}`);
    this.#predicted.describe(`Prediction of the finished pictures in step ${moment(step)}`);
    if (!this.#scrub.disabled) return;
    // While the run goes on, the thumb follows it.
    Object.assign(this.#scrub, { max: step.total - 1, value: step.index });
  }
}

/** Sets the bar (null: something goes on, nobody knows how long) and the line beside it. */
export function progress(fraction, text) {
  const bar = byId('progress');
  if (fraction === null) bar.removeAttribute('value');
  else bar.value = fraction;
  byId('status').textContent = text;
}
