// The bar of an element that loads, and its `progress` events.

import { emit } from './element.js';

/** Goes once from 0 to 1, and never back. */
export class Loading {
  #element;
  #bar;
  #reached = 0;

  constructor(element, bar) {
    this.#element = element;
    this.#bar = bar;
  }

  begin() {
    this.#reached = 0;
    this.take(0);
  }

  take(fraction) {
    this.#reached = Math.max(this.#reached, fraction);
    Object.assign(this.#bar, { hidden: false, value: this.#reached });
    emit(this.#element, 'progress', { totalProgress: this.#reached });
  }

  end() {
    this.#bar.hidden = true;
  }
}
