// <diffusion-sampler> before anybody asks it for anything: its poster and the button on it. What loads and runs a model comes with
// sampling.js when it is first wanted, and goes again with the element.

import { adoptProperties, Base, blobOf, check, emit, errorBox, h, NOT_LOADED, observed, option, s, shadow, whileSeen } from './element.js';
import { SAMPLER_STYLE } from './sampler-style.js';
import { STYLE } from './style.js';

const TAG = 'diffusion-sampler';

export class DiffusionSampler extends Base {
  static observedAttributes = observed(TAG);

  /** @type {any} where things are shown */
  #parts = null;
  /** @type {any} what loads and runs, once it was wanted */
  #sampling = null;
  #life = new AbortController();
  #leave = () => {};
  #seen = false;
  /** @type {any} what the page loaded itself */
  #model = null;

  get model() {
    return this.#model;
  }

  set model(model) {
    this.#model = model;
    model?.catch?.(() => {}); // the run that wants it says so
    if (this.#sampling) this.#sampling.changed('model');
    else if (model && this.isConnected) this.#open().then((sampling) => sampling?.load());
  }

  get loaded() {
    return this.info !== null;
  }

  get running() {
    return this.#sampling?.running ?? false;
  }

  get info() {
    return this.#sampling?.info ?? null;
  }

  async run() {
    const sampling = await this.#open();
    return sampling ? sampling.run() : false;
  }

  stop() {
    this.#sampling?.stop();
  }

  dismissPoster() {
    this.run();
  }

  toBlob(options) {
    return blobOf(this.#sampling?.shown, options);
  }

  toDataURL(type, encoderOptions) {
    return this.#sampling?.shown?.toDataURL(type, encoderOptions) ?? null;
  }

  connectedCallback() {
    adoptProperties(this);
    this.#parts ??= this.#build();
    if (this.#life.signal.aborted) this.#life = new AbortController();
    this.#leave = whileSeen(this, (seen) => {
      this.#seen = seen;
      this.#sampling?.sees(seen);
      if (seen && option(this, 'reveal') === 'auto' && !this.#sampling?.begun) this.run();
    });
    this.#showIdle();
    if (option(this, 'loading') === 'eager' || this.#model) this.#open().then((sampling) => sampling?.load());
  }

  disconnectedCallback() {
    this.#leave();
    // Moving an element takes it out and puts it in again at once: that ends nothing.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#life.abort();
      this.#sampling?.free();
      this.#sampling = null;
      this.#parts.error.show();
    });
  }

  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    check(this, name);
    if (!this.#parts) return;
    this.#showIdle();
    this.#sampling?.changed(name);
  }

  /** The part that loads and runs; null where it cannot be had, which is shown, or where the element is gone meanwhile. */
  async #open() {
    const { signal } = this.#life;
    if (!this.#parts) return null; // never in a page yet
    try {
      const { Sampling } = await import('./sampling.js');
      if (signal.aborted) return null;
      this.#sampling ??= new Sampling(this, this.#parts, this.#seen);
      return this.#sampling;
    } catch (sourceError) {
      this.#parts.error.show({ sentence: NOT_LOADED, message: sourceError.message });
      emit(this, 'error', { type: 'fetch', message: sourceError.message, sourceError });
      return null;
    }
  }

  #build() {
    const root = shadow(this, STYLE, SAMPLER_STYLE);
    const error = errorBox(() => this.run());
    const poster = h('slot', { name: 'poster' });
    const guessPoster = h('slot', { name: 'guess-poster' }, noise());
    const triangle = s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d: 'M3 1.5v13l11-6.5z' }));
    const start = h('button', { type: 'button', part: 'run-button', class: 'primary start' }, triangle, 'Run');
    const progress = h('progress', { part: 'progress-bar', max: 1, value: 0, 'aria-label': 'Loading the model', hidden: true });
    const bar = h('div', { class: 'bar' }, h('slot', { name: 'progress-bar' }, progress));
    const frame = h('div', { part: 'frame' }, h('div', { class: 'poster' }, poster), start, bar);
    const guess = h('figure', { class: 'guess' }, h('div', { part: 'frame' }, h('div', { class: 'poster' }, guessPoster)));
    const views = h('div', { class: 'views' }, h('figure', {}, frame), guess);
    const hint = h('p', { class: 'hint idle' });
    const live = h('p', { class: 'live', role: 'status' });
    start.addEventListener('click', () => this.run());
    const main = h('div', { class: 'main' }, views, error.box);
    const layout = h('div', { class: 'layout' }, main, hint, h('div', { class: 'below' }, h('slot', { name: 'below' })));
    root.append(layout, live, h('div', { class: 'fallback' }, h('slot')));
    return { root, layout, main, views, frame, guess, poster, start, progress, bar, error, hint, live };
  }

  /** What there is to see before the first run. */
  #showIdle() {
    const { poster, start, hint } = this.#parts;
    const [address, alt] = [option(this, 'poster'), option(this, 'alt')];
    if (poster.dataset.shows !== address || !poster.firstChild) {
      poster.dataset.shows = address;
      poster.replaceChildren(address ? h('img', { part: 'poster', src: address, decoding: 'async' }) : noise());
    }
    if (address) poster.firstChild.setAttribute('alt', alt);
    if (this.#sampling?.begun) return;
    start.hidden = option(this, 'reveal') === 'manual';
    start.setAttribute('aria-label', alt ? `Run: ${alt}` : 'Run the model');
    const host = hostOf(this);
    hint.textContent = `A diffusion model. It runs in this tab when you press Run${host ? `, and is downloaded from ${host}` : ''}.`;
    hint.hidden = start.hidden || this.#sampling?.attached;
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
