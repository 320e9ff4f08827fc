// What the elements share: attributes by the table, building a shadow tree, and being seen.

import { ATTRIBUTES } from './attributes.js';

/** HTMLElement; on a server, where there is none, something to extend, so that the module can be imported there. */
export const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/**
 * Makes an element's properties of its attributes and registers it. Where another copy of this script was first, that one stays.
 * @param {string} tag
 * @param {CustomElementConstructor} Class
 */
export function define(tag, Class) {
  for (const name of Object.keys(ATTRIBUTES[tag])) {
    Object.defineProperty(Class.prototype, name, {
      get() {
        return option(this, name);
      },
      set(value) {
        this.setAttribute(name, Array.isArray(value) ? value.join(' ') : String(value));
      },
      enumerable: true,
      configurable: true,
    });
  }
  const registry = globalThis.customElements;
  if (registry && !registry.get(tag)) registry.define(tag, Class);
}

/** The names that an element of this tag observes. */
export const observed = (tag) => Object.keys(ATTRIBUTES[tag]);

const rowOf = (element, name) => ATTRIBUTES[element.localName][name];

/** An attribute's value: the default where it is absent, or where it is wrong, which `check` has told. */
export function option(element, name) {
  const row = rowOf(element, name);
  const text = element.getAttribute(name);
  return (text === null ? undefined : read(row, text)) ?? row.default;
}

/** Warns of an attribute's value that it cannot have, and names those that it can. */
export function check(element, name) {
  const row = rowOf(element, name);
  const text = element.getAttribute(name);
  if (text === null) return;
  const wrong =
    row.type === 'list' ? tokens(text).filter((token) => !row.values?.includes(token)) : read(row, text) === undefined ? [text] : [];
  if (wrong.length === 0) return;
  const instead = row.type === 'list' ? 'it is left out' : `“${row.default}” is used instead`;
  warn(
    element,
    name,
    wrong.join(' '),
    instead,
    row.values?.join(', ') ?? `a ${row.type === 'whole' ? 'whole ' : ''}number from ${row.min} to ${row.max}`,
  );
}

/** Says on the console which value was not understood, what is used instead, and what is allowed. */
export function warn(element, name, value, instead, allowed) {
  console.warn(`<${element.localName}>: ${name}="${value}" is not possible; ${instead}. Allowed: ${allowed}.`);
}

/**
 * @param {import('./attributes.js').Attribute} row
 * @param {string} text
 * @returns {any} the value that the text stands for, or undefined where it stands for none
 */
function read({ type, values = [], min = 0, max = 0 }, text) {
  text = text.trim();
  if (type === 'text') return text;
  if (type === 'choice') return values.includes(text) ? text : undefined;
  if (type === 'list') return tokens(text).filter((token) => values.includes(token));
  const number = (type === 'whole' ? /^\d+$/ : /^\d*\.?\d+(e-?\d+)?$/).test(text) ? Number(text) : Number.NaN;
  return number >= min && number <= max ? number : undefined;
}

const tokens = (text) => text.split(/\s+/).filter(Boolean);

/** Properties that were set before the element's script came hide the real ones: they are set once more. */
export function adoptProperties(element) {
  for (const name of [...Object.keys(ATTRIBUTES[element.localName]), 'model']) {
    if (!Object.hasOwn(element, name)) continue;
    const value = element[name];
    delete element[name];
    element[name] = value;
  }
}

/**
 * Fires one of the table's events. Like model-viewer's they do not bubble.
 * @param {any} [detail]
 */
export function emit(element, type, detail = null) {
  element.dispatchEvent(new CustomEvent(type, { detail }));
}

/** @returns {any} an HTML element with attributes (true: present, false or null: absent) and children */
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

/** A shadow root with these styles. Sheets made by script need no permission of a Content-Security-Policy. */
export function shadow(element, ...styles) {
  const root = element.attachShadow({ mode: 'open' });
  root.adoptedStyleSheets = styles.map(sheet);
  return root;
}

const sheets = new Map();

function sheet(css) {
  if (!sheets.has(css)) {
    const made = new CSSStyleSheet();
    made.replaceSync(css);
    sheets.set(css, made);
  }
  return sheets.get(css);
}

/**
 * Calls `change(seen)` whenever the element comes on the screen, or leaves it.
 * @returns {() => void} ends it
 */
export function whileSeen(element, change) {
  const observer = new IntersectionObserver((entries) => change(entries[entries.length - 1].isIntersecting));
  observer.observe(element);
  return () => observer.disconnect();
}

/**
 * The place where a failure is told, with a way to try again.
 * @param {() => void} again
 */
export function errorBox(again) {
  const sentence = h('p');
  const message = h('p');
  const details = h('details', {}, h('summary', {}, 'Details'), message);
  const button = h('button', { type: 'button' }, 'Try again');
  const box = h('div', { part: 'error', role: 'alert', hidden: true }, sentence, details, button);
  button.addEventListener('click', again);
  return {
    box,
    /** @param {{sentence: string, message: string}} [problem] nothing: all is well again */
    show(problem) {
      box.hidden = !problem;
      sentence.textContent = problem?.sentence ?? '';
      message.textContent = problem?.message ?? '';
      details.open = false;
    },
  };
}

/** Said where a module of ours does not come. */
export const NOT_LOADED = 'A part of this page could not be loaded. Check the network, and reload the page.';

/**
 * What `toBlob` of an element gives, of a canvas or of nothing.
 * @param {HTMLCanvasElement | null | undefined} canvas
 * @param {{mimeType?: string, qualityArgument?: number}} [options]
 * @returns {Promise<Blob | null>}
 */
export function blobOf(canvas, { mimeType = 'image/png', qualityArgument } = {}) {
  return canvas ? new Promise((resolve) => canvas.toBlob(resolve, mimeType, qualityArgument)) : Promise.resolve(null);
}
