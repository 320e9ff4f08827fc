// Where the words of a prompt acted: under the pictures the words, and over them the map of the one that is pointed at, focused or
// pressed.

import { places } from '../grid.js';
import { name as shown } from '../text.js';
import { h, percent } from './element.js';

const SIDE = 768; // of the map's canvas, at least

export const ATTENTION_STYLE = `
.acts { display: grid; gap: .25rem; margin-top: .375rem; }
.acts .list { display: flex; flex-wrap: wrap; gap: .25rem .375rem; align-items: center; }
.acts .list button { min-width: 2.25rem; min-height: 2.25rem; padding: .125rem .625rem; overflow-wrap: anywhere; }
.acts .list [aria-pressed=true] { border-color: var(--accent); background: var(--accent); color: var(--on-accent); }
.acts select { flex: none; min-height: 2.25rem; padding-block: .125rem; }
.acts .said { min-height: 2lh; }
.map { position: relative; pointer-events: none; width: 100%; height: 100%; }
.pictures:has(> .map:not([hidden])) > [part=canvas] { filter: grayscale(1); }
@media print { .acts { display: none; } }
`;

/** What is shown of a run: `changed()` is called when it is another word, or another choice of steps. */
export class WordsActed {
  #list = h('div', { class: 'list', role: 'toolbar', 'aria-label': 'Words of the prompt: where each acted in the pictures' });
  #which = h(
    'select',
    { 'aria-label': 'Where the words acted' },
    new Option('in all steps so far', 'mean'),
    new Option('in this step', 'now'),
  );
  #said = h('p', { class: 'hint said', 'aria-live': 'polite' });
  /** Under the pictures. */
  box = h('div', { class: 'acts', part: 'words', hidden: true }, h('div', { class: 'list' }, this.#list, this.#which), this.#said);
  /** Over them. */
  canvas = h('canvas', { class: 'map', part: 'map', 'aria-hidden': 'true', hidden: true });
  #changed;
  /** @type {string[]} */
  #words = [];
  /** @type {number | null} the word whose button is pressed */
  #pressed = null;
  /** @type {number | null} the word that is pointed at or focused */
  #near = null;

  constructor(changed) {
    this.#changed = changed;
    this.#which.addEventListener('change', changed);
    this.#list.addEventListener('keydown', (event) => this.#move(event));
  }

  /** Whether there is place for words, before they are known. */
  wait(wanted) {
    this.box.hidden = !wanted;
    if (!wanted) this.canvas.hidden = true;
  }

  /**
   * The maps of a state of a run.
   * @param {{attention?: import('../noiseball.js').WordMaps[], batch: number, width: number, height: number}} state
   * @param {number} below rows that are empty below each picture
   */
  show({ attention = [], batch, width, height }, below) {
    const [first] = attention;
    this.#list.parentElement.hidden = !first;
    if (!first) {
      this.canvas.hidden = true;
      this.#said.textContent = '';
      return;
    }
    this.#name(first.words);
    const word = this.#near ?? this.#pressed;
    this.canvas.hidden = word === null;
    if (word === null) {
      this.#said.textContent = 'Point at a word, or press it, to see where it acted.';
      return;
    }
    const maps = attention.map((of) => mapOf(of, this.#which.value, word));
    draw(this.canvas, maps, { batch, width, height, below });
    this.#said.textContent = sentence(first.words[word], maps, this.#which.value);
  }

  /** A button for each word. */
  #name(words) {
    if (words.length === this.#words.length && words.every((word, i) => word === this.#words[i])) return;
    this.#words = words;
    this.#pressed = this.#near = null;
    const buttons = words.map((word, i) => {
      const button = h('button', { type: 'button', 'aria-pressed': 'false', tabindex: i === 0 ? 0 : -1 }, shown(word));
      const near = (word) => () => {
        this.#near = word;
        this.#changed();
      };
      button.addEventListener('pointerenter', ({ pointerType }) => pointerType === 'mouse' && near(i)());
      button.addEventListener('pointerleave', near(null));
      button.addEventListener('focus', () => button.matches(':focus-visible') && near(i)());
      button.addEventListener('blur', near(null));
      button.addEventListener('click', () => this.#press(i));
      return button;
    });
    this.#list.replaceChildren(...buttons);
  }

  #press(i) {
    this.#pressed = this.#pressed === i ? null : i;
    for (const [j, button] of [...this.#list.children].entries()) {
      button.setAttribute('aria-pressed', String(j === this.#pressed));
      button.tabIndex = j === i ? 0 : -1;
    }
    // A pressed word that is let go is not shown because the pointer is still there.
    this.#near = null;
    this.#changed();
  }

  /** One word is in the page's order; arrows lead to the others. */
  #move(event) {
    const buttons = [...this.#list.children];
    const at = buttons.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = buttons[(to + buttons.length) % buttons.length];
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  }
}

/** One word's map of one picture. */
function mapOf({ now, mean, width, height }, which, word) {
  const values = (which === 'now' ? now : mean).subarray(word * width * height, (word + 1) * width * height);
  return { values, width, height };
}

/** Draws maps over a grid of pictures, each from its least value, which is clear, to its greatest. */
function draw(canvas, maps, { batch, width, height, below }) {
  const {
    size: [wide, high],
    at,
  } = places({ batch, width, height }, undefined, below);
  const scale = Math.max(1, Math.ceil(SIDE / Math.max(wide, high)));
  Object.assign(canvas, { width: wide * scale, height: high * scale });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.imageSmoothingQuality = 'high';
  maps.forEach((map, i) => {
    const [left, top] = at(i);
    const small = new OffscreenCanvas(map.width, map.height);
    small.getContext('2d')?.putImageData(coloured(map), 0, 0);
    context.drawImage(small, left * scale, top * scale, width * scale, height * scale);
  });
}

/** From clear over violet and orange to yellow. */
const COLOURS = [
  [20, 11, 53, 0.62],
  [120, 28, 109, 0.62],
  [222, 73, 52, 0.66],
  [249, 149, 16, 0.72],
  [252, 240, 120, 0.8],
];

function coloured({ values, width, height }) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const pixels = new ImageData(width, height);
  values.forEach((value, i) => {
    const share = most > least ? (value - least) / (most - least) : 0;
    const at = Math.min(COLOURS.length - 2, Math.floor(share * (COLOURS.length - 1)));
    const within = share * (COLOURS.length - 1) - at;
    const [from, to] = [COLOURS[at], COLOURS[at + 1]];
    const mixed = from.map((one, c) => one + within * (to[c] - one));
    pixels.data.set([mixed[0], mixed[1], mixed[2], 255 * mixed[3]], 4 * i);
  });
  return pixels;
}

const PLACES = [
  'in the upper left',
  'at the top',
  'in the upper right',
  'on the left',
  'in the middle',
  'on the right',
  'in the lower left',
  'at the bottom',
  'in the lower right',
];
const ALIKE = 1.15; // a ninth that has no more than so many times the mean is not said to have most

/** The same in words, on the average of the pictures. */
function sentence(word, maps, which) {
  const [sums, counts] = [new Float64Array(9), new Float64Array(9)];
  let most = 0;
  for (const { values, width, height } of maps) {
    values.forEach((value, i) => {
      const [row, column] = [Math.floor((3 * Math.floor(i / width)) / height), Math.floor((3 * (i % width)) / width)];
      sums[3 * row + column] += value;
      counts[3 * row + column]++;
      most = Math.max(most, value);
    });
  }
  const means = [...sums].map((sum, i) => (counts[i] > 0 ? sum / counts[i] : 0));
  const mean = sums.reduce((a, b) => a + b, 0) / counts.reduce((a, b) => a + b, 0);
  const best = Math.max(...means);
  const where = best > ALIKE * mean ? `most ${PLACES[means.indexOf(best)]} of` : 'nearly evenly all over';
  const when = which === 'now' ? 'In this step' : 'So far';
  return `${when} “${shown(word)}” acted ${where} the picture${maps.length > 1 ? 's' : ''}, with up to ${percent(most)} of the attention.`;
}
