// What the elements share.

import { ATTRIBUTES } from './attributes.js';

/** The look that they share, mixed from the page's own text colour. */
export const STYLE = `
:host {
  --accent: var(--noiseball-accent, light-dark(#0b6e69, #5cc4bb));
  --on-accent: var(--noiseball-on-accent, light-dark(#fff, #0d1f1e));
  --line: color-mix(in srgb, currentColor 28%, transparent);
  --well: var(--noiseball-poster-color, color-mix(in srgb, currentColor 8%, transparent));
  --radius: var(--noiseball-radius, 6px);
  display: block;
  max-width: 32rem;
  font: 1rem/1.4 system-ui, sans-serif;
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
button, input, select {
  min-height: 2.5rem;
  max-width: 100%;
  margin: 0;
  border: 1px solid var(--line);
  border-radius: 6px;
  padding: .25rem .7rem;
  background: transparent;
  color: inherit;
  font: inherit;
}
button { cursor: pointer; }
button:enabled:hover { border-color: currentColor; }
:disabled { opacity: .5; cursor: default; }
.primary { border-color: var(--accent); background: var(--accent); color: var(--on-accent); font-weight: 600; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
input[type=range] { width: 100%; min-width: 0; min-height: 2rem; padding: 0; border: 0; accent-color: var(--accent); }
input[type=checkbox] { min-height: 0; width: 1.15rem; height: 1.15rem; accent-color: var(--accent); }
svg { display: block; }
p { margin: 0; }
.hint { font-size: .875rem; opacity: .8; }
.moment { font-size: .875rem; font-variant-numeric: tabular-nums; }
[part=controls] { display: grid; gap: .5rem; margin-top: .625rem; }
[part=error] { margin-top: .625rem; border: 1px solid; border-inline-start-width: 4px; border-radius: 4px; padding: .625rem .875rem; overflow-wrap: anywhere; }
[part=error] button { margin-top: .5rem; }
[part=error] details { margin-top: .25rem; font-size: .875rem; }
.space { aspect-ratio: 1; }
.fallback { display: none; }
@media print {
  button, input, select, .row, .switch, .hint, [part=error], [part=progress-bar] { display: none !important; }
}
`;

// On a server there is something else to extend.
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/** @type {(element: any) => any} what an element shows and does; null until its module is there */
export let face;

/** @type {(element: any) => Promise<any>} the same when it is there; null where it cannot be had, or the element is in no page */
export let opened;

/** An element, whose module's `Face` is made when it is in a page: `free` says that it stays out, `again` tries what failed once more. */
export class Shell extends Base {
  #load;
  /** @type {any} */
  #parts = null;
  /** @type {any} */
  #face = null;

  constructor(load) {
    super();
    this.#load = load;
  }

  static {
    face = (element) => element.#face;
    opened = (element) => element.#open();
  }

  connectedCallback() {
    adoptProperties(this);
    if (!this.#parts) {
      const root = shadow(this, STYLE);
      const error = errorBox(() => (this.#face ? this.#face.again() : this.#open()));
      this.#parts = { root, error };
      root.append(h('div', { class: 'space' }), error.box);
    }
    if (this.#face) this.#face.connect();
    else this.#open();
  }

  disconnectedCallback() {
    this.#face?.disconnect();
    // Moving an element takes it out and puts it in again at once: that ends nothing.
    queueMicrotask(() => this.isConnected || this.#face?.free());
  }

  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    if (!fits(this, name))
      import('./check.js').then(
        ({ check }) => check(this, name),
        () => {},
      );
    this.#face?.changed(name);
  }

  async toBlob(options) {
    return this.#face?.toBlob(options) ?? null;
  }

  async embed() {
    const found = await import('./embed.js').catch((error) => notLoaded(this, this.#parts?.error, error));
    await found?.openEmbed(this);
  }

  async #open() {
    if (!this.isConnected) return null;
    let Face;
    try {
      ({ Face } = await this.#load());
    } catch (sourceError) {
      return notLoaded(this, this.#parts.error, sourceError);
    }
    if (!this.isConnected) return null;
    if (!this.#face) {
      const { root, error } = this.#parts;
      root.firstChild.remove(); // the room that was kept
      error.show();
      this.#face = new Face(this, this.#parts);
      this.#face.connect();
    }
    return this.#face;
  }
}

/** Makes properties of attributes, and registers. Where another copy of this script was first, that one stays. */
export function define(tag, Class) {
  for (const [name, { taken }] of Object.entries(ATTRIBUTES[tag])) {
    Object.defineProperty(Class.prototype, propertyOf(name), {
      get() {
        return taken ? Reflect.get(Shell.prototype, name, this) : option(this, name);
      },
      set(value) {
        if (value === null) this.removeAttribute(name);
        else this.setAttribute(name, Array.isArray(value) ? value.join(' ') : String(value));
      },
      enumerable: true,
      configurable: true,
    });
  }
  const registry = globalThis.customElements;
  if (registry && !registry.get(tag)) registry.define(tag, Class);
}

/** `negative-prompt` is `negativePrompt` as a property. */
export const propertyOf = (name) => name.replace(/-(\w)/g, (_, letter) => letter.toUpperCase());

export const observed = (tag) => Object.keys(ATTRIBUTES[tag]);

/** An attribute's value, or the default. */
export function option(element, name) {
  const row = ATTRIBUTES[element.localName][name];
  const text = element.getAttribute(name);
  return (text === null ? undefined : read(row, text)) ?? row.default;
}

/** Whether an attribute is absent, or can be what it is. */
export function fits(element, name) {
  const row = ATTRIBUTES[element.localName][name];
  const value = read(row, element.getAttribute(name) ?? '');
  if (row.type === 'list') return value.length === tokens(element.getAttribute(name) ?? '').length;
  return value !== undefined || element.getAttribute(name) === null;
}

/**
 * @param {import('./attributes.js').Attribute} row
 * @returns {any} the value that a text stands for, or undefined
 */
function read({ type, values = [], min = 0, max = 0 }, text) {
  text = text.trim();
  if (type === 'text') return text;
  if (type === 'choice') return values.includes(text) ? text : undefined;
  if (type === 'list') return tokens(text).filter((token) => values.includes(token));
  const number = (type === 'whole' ? /^\d+$/ : /^\d*\.?\d+(e-?\d+)?$/).test(text) ? Number(text) : Number.NaN;
  return number >= min && number <= max ? number : undefined;
}

export const tokens = (text) => text.split(/\s+/).filter(Boolean);

/** Properties that were set before the script came hide the real ones: they are set once more. */
function adoptProperties(element) {
  for (const name of [...observed(element.localName).map(propertyOf), 'source', 'model', 'initPicture', 'maskPicture']) {
    if (!Object.hasOwn(element, name)) continue;
    const value = element[name];
    delete element[name];
    element[name] = value;
  }
}

/**
 * Fires one of the table's events, which do not bubble.
 * @param {any} [detail]
 */
export function emit(element, type, detail = null) {
  element.dispatchEvent(new CustomEvent(type, { detail }));
}

/** @returns {any} an HTML element; an attribute that is true is present, one that is false or null absent */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) made.setAttribute(name, value === true ? '' : String(value));
  }
  made.append(...children);
  return made;
}

function shadow(element, css) {
  const root = element.attachShadow({ mode: 'open' });
  addStyle(root, css);
  return root;
}

const sheets = new Map();

/** Adds styles to a shadow root. Sheets made by script need no permission of a Content-Security-Policy. */
export function addStyle(root, css) {
  if (!sheets.has(css)) {
    const made = new CSSStyleSheet();
    made.replaceSync(css);
    sheets.set(css, made);
  }
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheets.get(css)];
}

/** Calls `change(seen)` when the element comes on the screen, or leaves it. Gives what ends that. */
export function whileSeen(element, change) {
  const observer = new IntersectionObserver((entries) => change(entries[entries.length - 1].isIntersecting));
  observer.observe(element);
  return () => observer.disconnect();
}

function errorBox(again) {
  const sentence = h('p');
  const message = h('p');
  const details = h('details', {}, h('summary', {}, 'Details'), message);
  const button = h('button', { type: 'button' }, 'Try again');
  const box = h('div', { part: 'error', role: 'alert', hidden: true }, sentence, details, button);
  button.addEventListener('click', again);
  return {
    box,
    /** @param {{sentence: string, message: string}} [problem] */
    show(problem) {
      box.hidden = !problem;
      sentence.textContent = problem?.sentence ?? '';
      message.textContent = problem?.message ?? '';
      details.open = false;
    },
  };
}

/**
 * Says that something failed, in the element and by its event.
 * @returns {null} what there is in place of what failed
 */
export function fail(element, box, sentence, sourceError) {
  const { message } = sourceError;
  box?.show({ sentence, message });
  emit(element, 'error', { type: sourceError.type ?? 'fetch', message, sourceError });
  return null;
}

/** The same where a module of ours does not come. Firefox remembers that, and asks for it again only when the page is loaded anew. */
export function notLoaded(element, box, sourceError) {
  const offline = 'You are offline, so a part of this page cannot be loaded.';
  return fail(
    element,
    box,
    navigator.onLine ? 'A part of this page could not be loaded. Try again, or reload the page.' : offline,
    sourceError,
  );
}

/** 0.004 → '0.4 %', so that little is not none. */
export function percent(share) {
  const hundredths = share * 100;
  return `${hundredths > 0 && hundredths < 1 ? hundredths.toFixed(1) : Math.round(hundredths)} %`;
}
