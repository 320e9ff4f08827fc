// <diffusion-process>: its attributes, and when to draw. What is drawn comes with process-view.js, once the element is near the screen.

import { adoptProperties, Base, blobOf, check, emit, errorBox, h, NOT_LOADED, observed, shadow, whileSeen } from './element.js';
import { PROCESS_STYLE } from './process-style.js';
import { STYLE } from './style.js';

const TAG = 'diffusion-process';

export class DiffusionProcess extends Base {
  static observedAttributes = observed(TAG);

  /** @type {any} what process-view.js draws with */
  #view = null;
  /** @type {any} where it goes */
  #parts = null;
  #life = new AbortController();
  #seen = false;

  get loaded() {
    return this.#view?.loaded ?? false;
  }

  get timestep() {
    return this.#view?.timestep ?? 0;
  }

  get variance() {
    return this.#view?.variance ?? Number.NaN;
  }

  async play() {
    await this.#open();
    if (!this.loaded) await this.#view?.load();
    await this.#view?.play();
  }

  pause() {
    this.#view?.pause();
  }

  toBlob(options) {
    return blobOf(this.loaded ? this.#view.canvas : null, options);
  }

  connectedCallback() {
    adoptProperties(this);
    if (!this.#parts) {
      const root = shadow(this, STYLE, PROCESS_STYLE);
      const error = errorBox(() => this.#begin());
      this.#parts = { root, error };
      root.append(h('div', { class: 'space' }), error.box);
    }
    this.#life = new AbortController();
    const { signal } = this.#life;
    for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) {
      matchMedia(query).addEventListener('change', () => this.#view?.redraw(), { signal });
    }
    const leave = whileSeen(this, (seen) => {
      this.#seen = seen;
      if (seen) this.#begin();
      else this.pause();
    });
    signal.addEventListener('abort', leave);
  }

  disconnectedCallback() {
    this.#life.abort();
    this.pause();
  }

  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    check(this, name);
    this.#view?.changed(name);
  }

  /** Draws, where that has not been done. */
  async #begin() {
    this.#parts.error.show();
    await this.#open();
    if (this.#seen && !this.loaded) await this.#view?.load();
  }

  async #open() {
    try {
      const { ProcessView } = await import('./process-view.js');
      this.#view ??= new ProcessView(this, this.#parts);
    } catch (sourceError) {
      const message = sourceError.message;
      this.#parts.error.show({ sentence: NOT_LOADED, message });
      emit(this, 'error', { type: 'fetch', message, sourceError });
    }
  }
}
