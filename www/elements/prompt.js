// The words that a model draws: fields for what is wanted and what is not, and below how its text encoder reads them.

import { name as shown } from '../text.js';
import { h, option } from './element.js';

export const PROMPT_STYLE = `
.prompt { display: grid; gap: .25rem; min-width: 0; }
.words { display: flex; flex-wrap: wrap; gap: .125rem .375rem; min-height: 1lh; overflow-wrap: anywhere; }
.words span { min-width: 0; border-bottom: 1px solid var(--line); }
.words .unknown { border-bottom: 2px dotted currentColor; }
`;

const PAUSE = 200; // milliseconds without a key before words are read

/** Takes 'prompt' and 'negative-prompt' of an element; `run()` begins a run, and `read(text)` gives a prompt's tokens. */
export class PromptFields {
  box;
  #element;
  #field = h('input', { type: 'text', enterkeyhint: 'go', autocapitalize: 'off', spellcheck: 'false', 'aria-describedby': 'words' });
  #negative = h('input', { type: 'text', enterkeyhint: 'go', autocapitalize: 'off', spellcheck: 'false' });
  #words = h('p', { class: 'hint words', id: 'words' });
  #labels = {
    prompt: h('label', { class: 'field' }, 'Prompt', this.#field),
    'negative-prompt': h('label', { class: 'field' }, 'Negative prompt', this.#negative),
  };
  #read;
  #info = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #waiting;
  #shown = '';

  /**
   * @param {any} element
   * @param {{run: () => void, read: (text: string) => Promise<any>}} actions
   */
  constructor(element, { run, read }) {
    this.#element = element;
    this.#read = read;
    const { prompt, 'negative-prompt': negative } = this.#labels;
    this.box = h('div', { class: 'prompt' }, prompt, this.#words, negative);
    for (const [name, field] of Object.entries({ prompt: this.#field, 'negative-prompt': this.#negative })) {
      const set = () => element.setAttribute(name, field.value.trim());
      field.addEventListener('change', set);
      field.addEventListener('keydown', (event) => {
        if (event.key !== 'Enter' || event.isComposing) return;
        event.preventDefault();
        if (field.value.trim() === option(element, name)) run();
        else set();
      });
    }
    this.#field.addEventListener('input', () => this.#wait(PAUSE));
  }

  /** Shows what is wanted of the fields that this model has. */
  show(info, wanted) {
    const has = { prompt: info?.pipeline?.prompt, 'negative-prompt': info?.pipeline?.negativePrompt };
    for (const [name, label] of Object.entries(this.#labels)) label.hidden = !has[name] || !wanted.includes(name);
    this.#words.hidden = this.#labels.prompt.hidden;
    this.box.hidden = Object.values(this.#labels).every(({ hidden }) => hidden);
    // What somebody is typing is not taken from them.
    const root = this.box.getRootNode();
    for (const [name, field] of Object.entries({ prompt: this.#field, 'negative-prompt': this.#negative })) {
      if (root.activeElement !== field || field.value.trim() === '') field.value = option(this.#element, name);
    }
    if (this.#words.hidden || (info === this.#info && this.#field.value === this.#shown)) return;
    this.#info = info;
    this.#wait(0);
  }

  #wait(milliseconds) {
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => this.#show(), milliseconds);
  }

  async #show() {
    const text = this.#field.value;
    this.#shown = text;
    const found = await this.#read(text).catch(() => null);
    if (!found || this.#field.value !== text) return;
    this.#words.replaceChildren(...wordsOf(found));
  }
}

/** A piece may be a part of a character. */
const isPartial = (piece) => piece.includes('\ufffd');

/** A prompt as it is read: its words, each by its pieces, and what is to be said of them. */
export function wordsOf({ words, tokens, most, cut }) {
  const unknown = words.filter((word) => word.unknown).map(({ text }) => shown(text));
  const each = words.map(({ text, pieces, unknown }) =>
    h('span', { class: unknown ? 'unknown' : null }, shown(unknown || pieces.some(isPartial) ? text : pieces.join('·'))),
  );
  const said = [
    tokens > 0 && `${tokens} of ${most} tokens.`,
    unknown.length > 0 && `Not in its vocabulary: ${unknown.join(', ')}.`,
    cut && `Too long: “${shown(cut)}” is left out.`,
  ].filter(Boolean);
  return [...each, ...(said.length > 0 ? [said.join(' ')] : [])];
}
