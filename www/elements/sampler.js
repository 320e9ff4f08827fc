// <diffusion-sampler> in a page, before anybody asks it for anything: its poster and the button on it. What loads and runs a model
// comes with sampling.js when it is first wanted, and goes again with the element.

import { addStyle, blobOf, emit, h, NOT_LOADED, option, s, whileSeen } from './element.js';
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
    this.#parts = this.#build(root, error);
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
    return (await this.#open())?.run() ?? false;
  }

  again() {
    this.run();
  }

  stop() {
    this.#sampling?.stop();
  }

  toBlob(options) {
    return blobOf(this.shown, options);
  }

  connect() {
    const element = this.#element;
    this.#leave = whileSeen(element, (seen) => {
      this.#seen = seen;
      this.#sampling?.sees(seen);
      if (seen && option(element, 'reveal') === 'auto' && !this.#sampling?.begun) this.run();
    });
    this.#showIdle();
    if (option(element, 'loading') === 'eager') this.#open().then((sampling) => sampling?.load());
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
    this.#sampling?.changed(name);
  }

  /** The part that loads and runs; null where it cannot be had, which is shown, or where the element is gone meanwhile. */
  async #open() {
    try {
      const { Sampling } = await import('./sampling.js');
      if (!this.#element.isConnected) return null;
      this.#sampling ??= new Sampling(this.#element, this.#parts, this.#seen);
      return this.#sampling;
    } catch (sourceError) {
      this.#parts.error.show({ sentence: NOT_LOADED, message: sourceError.message });
      emit(this.#element, 'error', { type: 'fetch', message: sourceError.message, sourceError });
      return null;
    }
  }

  #build(root, error) {
    addStyle(root, SAMPLER_STYLE);
    const poster = h('slot', { name: 'poster' });
    const triangle = s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d: 'M3 1.5v13l11-6.5z' }));
    const start = h('button', { type: 'button', part: 'run-button', class: 'primary start' }, triangle, 'Run');
    const progress = h('progress', { part: 'progress-bar', max: 1, value: 0, 'aria-label': 'Loading the model', hidden: true });
    const bar = h('div', { class: 'bar' }, h('slot', { name: 'progress-bar' }, progress));
    const frame = h('div', { part: 'frame' }, h('div', { class: 'poster' }, poster), start, bar);
    const hint = h('p', { class: 'hint idle' });
    const live = h('p', { class: 'live', role: 'status' });
    start.addEventListener('click', () => this.run());
    root.append(frame, error.box, hint, live, h('div', { class: 'fallback' }, h('slot')));
    return { root, frame, poster, start, progress, bar, error, hint, live };
  }

  /** What there is to see before the first run. */
  #showIdle() {
    const { poster, start, hint } = this.#parts;
    const element = this.#element;
    const [address, alt] = [option(element, 'poster'), option(element, 'alt')];
    if (poster.dataset.shows !== address || !poster.firstChild) {
      poster.dataset.shows = address;
      poster.replaceChildren(address ? h('img', { part: 'poster', src: address, decoding: 'async' }) : noise());
    }
    if (address) poster.firstChild.setAttribute('alt', alt);
    if (this.#sampling?.begun) return;
    start.hidden = option(element, 'reveal') === 'manual';
    start.setAttribute('aria-label', alt ? `Run: ${alt}` : 'Run the model');
    const host = hostOf(element);
    hint.textContent = `A diffusion model. It runs in this tab when you press Run${host ? `, and is downloaded from ${host}` : ''}.`;
    hint.hidden = start.hidden;
  }
}

/** Another site that the model comes from; nothing where it is the page's own. */
function hostOf(element) {
  const src = option(element, 'src');
  if (src.startsWith('hf:')) return 'huggingface.co';
  try {
    const url = new URL(src, element.baseURI);
    return url.origin === location.origin ? '' : url.host;
  } catch {
    return ''; // no address: the run will say so
  }
}

/** A poster where the author gave none: what every run begins with. */
function noise() {
  const side = 40;
  const canvas = h('canvas', { part: 'poster', role: 'img', 'aria-label': 'Noise', width: side, height: side });
  const picture = new ImageData(side, side);
  let state = 1;
  for (let i = 0; i < picture.data.length; i++) {
    // The sum of four uniform numbers is near enough to normal for a poster.
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    picture.data[i] = i % 4 === 3 ? 255 : 128 + (sum - 2) * 110;
  }
  canvas.getContext('2d').putImageData(picture, 0, 0);
  return canvas;
}
