// A document for panels of the page: elements that keep what is set on them and call their listeners. No layout, no tree.

class FakeElement {
  value = '';
  textContent = '';
  checked = false;
  hidden = false;
  disabled = false;
  dataset = {};
  #attributes = new Map();
  #listeners = new Map();

  constructor(id) {
    this.id = id;
  }

  get parentElement() {
    return (this.parent ??= new FakeElement(`${this.id}'s parent`));
  }

  addEventListener(type, listener) {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  /** What a reader does: {type: 'change'} and the like. */
  dispatch(type) {
    for (const listener of this.#listeners.get(type) ?? []) listener({ type, target: this, preventDefault() {} });
  }

  setAttribute(name, value) {
    this.#attributes.set(name, String(value));
  }

  getAttribute(name) {
    return this.#attributes.get(name) ?? null;
  }

  removeAttribute(name) {
    this.#attributes.delete(name);
  }

  replaceChildren(...children) {
    this.children = children;
  }

  append(...children) {
    this.children = [...(this.children ?? []), ...children];
  }

  /** `valid`, where a test sets it, is what a browser says of the field. */
  checkValidity() {
    return this.valid ?? true;
  }

  reportValidity() {
    return this.checkValidity();
  }

  focus() {}
}

const elements = new Map();

/** Puts an empty document in place, before what uses it is imported. Elements are made when they are asked for. */
export function installDocument() {
  elements.clear();
  const byId = (id) => {
    if (!elements.has(id)) elements.set(id, new FakeElement(id));
    return elements.get(id);
  };
  globalThis.document = { getElementById: byId, createElement: (name) => new FakeElement(name) };
  globalThis.Option = class {
    constructor(text, value) {
      Object.assign(this, { text, value });
    }
  };
  return byId;
}
