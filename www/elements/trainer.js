// <diffusion-trainer> in a page, before anybody asks it for anything. What trains comes with training.js when it is first wanted.

import { notLoaded, option, whileSeen } from './element.js';
import { buildIdle, opening, showPoster } from './idle.js';

export class Face {
  #element;
  /** @type {any} */
  #parts;
  /** @type {any} what trains, once it was wanted */
  #training = null;
  #leave = () => {};

  constructor(element, { root, error }) {
    this.#element = element;
    this.#parts = buildIdle(root, error, 'Train');
    this.#parts.frame.classList.add('wide');
    this.#parts.start.addEventListener('click', () => this.run());
  }

  get running() {
    return this.#training?.running ?? false;
  }

  get info() {
    return this.#training?.info ?? null;
  }

  get training() {
    return this.#training?.progress ?? null;
  }

  get shown() {
    return this.#training?.shown ?? null;
  }

  async run() {
    const training = await (this.#training ? this.#open() : opening(this.#parts, this.#open()));
    return training?.run() ?? false;
  }

  again() {
    this.run();
  }

  async pause() {
    await this.#training?.pause();
  }

  async resume() {
    await this.#training?.resume();
  }

  async stop() {
    await this.#training?.stop();
  }

  async export() {
    return this.#training?.export() ?? null;
  }

  toBlob(options) {
    return this.#training?.toBlob(options) ?? null;
  }

  connect() {
    this.#leave = whileSeen(this.#element, (seen) => seen && this.#training?.seen());
    this.#showIdle();
  }

  disconnect() {
    this.#leave();
  }

  free() {
    this.#training?.free();
    this.#training = null;
    this.#parts.error.show();
    this.#showIdle();
  }

  changed(name) {
    this.#showIdle();
    this.#training?.changed(name);
  }

  async #open() {
    try {
      const { Training } = await import('./training.js');
      if (!this.#element.isConnected) return null;
      this.#training ??= new Training(this.#element, this.#parts);
      return this.#training;
    } catch (sourceError) {
      return notLoaded(this.#element, this.#parts.error, sourceError);
    }
  }

  /** What there is to see before the first run. */
  #showIdle() {
    const element = this.#element;
    showPoster(element, this.#parts);
    if (this.#training?.begun) return;
    const { start, hint } = this.#parts;
    const alt = option(element, 'alt');
    start.hidden = option(element, 'reveal') === 'manual';
    start.setAttribute('aria-label', alt ? `Train: ${alt}` : 'Train a model');
    hint.textContent =
      'Trains a small diffusion model in this tab when you press Train, which downloads the training program, 5 MB. Nothing leaves your device.';
    hint.hidden = start.hidden;
  }
}
