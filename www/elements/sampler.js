// <diffusion-sampler> in a page, before anybody asks it for anything: its poster and the button on it. What loads and runs a model
// comes with sampling.js when it is first wanted, and goes again with the element.

import { addStyle, h, notLoaded, option, whileSeen } from './element.js';
import { buildIdle, noise, opening, showPoster } from './idle.js';
import { SAMPLER_STYLE } from './sampler-style.js';

export class Face {
  #element;
  /** @type {any} where things are shown */
  #parts;
  /** @type {any} what loads and runs, once it was wanted */
  #sampling = null;
  #leave = () => {};
  #seen = false;

  constructor(element, { root, error }) {
    this.#element = element;
    this.#parts = arrange(buildIdle(root, error, 'Run'));
    const { start, frame } = this.#parts;
    start.addEventListener('click', () => this.run());
    // What takes the files is there by the time that they are dropped.
    const takes = (name) => option(element, 'controls').includes(name);
    frame.addEventListener('dragover', () => (takes('files') || takes('init')) && this.#open());
  }

  get running() {
    return this.#sampling?.running ?? false;
  }

  get info() {
    return this.#sampling?.info ?? null;
  }

  /** The canvas with the pictures on show, or null. */
  get shown() {
    return this.#sampling?.shown ?? null;
  }

  async run() {
    const sampling = await (this.#sampling ? this.#open() : opening(this.#parts, this.#open()));
    return sampling?.run() ?? false;
  }

  again() {
    this.run();
  }

  stop() {
    this.#sampling?.stop();
  }

  toBlob(options) {
    return this.#sampling?.toBlob(options) ?? null;
  }

  connect() {
    const element = this.#element;
    this.#leave = whileSeen(element, (seen) => {
      this.#seen = seen;
      this.#sampling?.sees(seen);
      if (seen && option(element, 'reveal') === 'auto' && !this.#sampling?.begun) this.run();
    });
    this.#showIdle();
    if (option(element, 'loading') === 'eager' || element.model) this.#load();
  }

  disconnect() {
    this.#leave();
  }

  free() {
    this.#sampling?.free();
    this.#sampling = null;
    this.#parts.error.show();
  }

  changed(name) {
    this.#showIdle();
    if (this.#sampling) this.#sampling.changed(name);
    else if (name === 'model' && this.#element.model) this.#load();
  }

  async #load() {
    (await this.#open())?.load();
  }

  /** The part that loads and runs; null where it cannot be had, which is shown, or where the element is gone meanwhile. */
  async #open() {
    try {
      const { Sampling } = await import('./sampling.js');
      if (!this.#element.isConnected) return null;
      this.#sampling ??= new Sampling(this.#element, this.#parts, this.#seen);
      return this.#sampling;
    } catch (sourceError) {
      return notLoaded(this.#element, this.#parts.error, sourceError);
    }
  }

  /** What there is to see before the first run. */
  #showIdle() {
    const { start, hint } = this.#parts;
    const element = this.#element;
    showPoster(element, this.#parts);
    if (this.#sampling?.begun) return;
    start.hidden = option(element, 'reveal') === 'manual';
    const alt = option(element, 'alt');
    start.setAttribute('aria-label', alt ? `Run: ${alt}` : 'Run the model');
    const host = hostOf(element);
    hint.textContent = `A diffusion model. It runs in this tab when you press Run${host ? `, and is downloaded from ${host}` : ''}.`;
    hint.hidden = start.hidden || this.#sampling?.attached;
  }
}

/** Makes room for the network's guess beside the pictures, and for controls and what the page puts below. */
function arrange(parts) {
  const { root, frame, error, hint, live } = parts;
  addStyle(root, SAMPLER_STYLE);
  const guessPoster = h('slot', { name: 'guess-poster' }, noise());
  const guess = h('figure', { class: 'guess' }, h('div', { part: 'frame' }, h('div', { class: 'poster' }, guessPoster)));
  const main = h('div', { class: 'main' }, h('div', { class: 'views' }, h('figure', {}, frame), guess), error.box);
  const layout = h('div', { class: 'layout' }, main, hint, h('div', { class: 'below' }, h('slot', { name: 'below' })));
  live.before(layout);
  return { ...parts, layout, main, guess };
}

/** Another site that the model comes from; nothing where it is the page's own. */
function hostOf(element) {
  if (element.model) return '';
  // Of a map of paths to addresses any will do; files are the reader's own.
  const addresses = Object.values(Object.getPrototypeOf(element.source ?? []) === Object.prototype ? element.source : {});
  const src = element.source ? String(element.source instanceof URL ? element.source : (addresses[0] ?? '')) : option(element, 'src');
  if (src.startsWith('hf:')) return 'huggingface.co';
  try {
    const url = new URL(src, element.baseURI);
    return url.origin === location.origin ? '' : url.host;
  } catch {
    return ''; // no address: the run will say so
  }
}
