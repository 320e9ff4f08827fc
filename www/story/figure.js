// What every figure of the story shares: nothing runs before it is seen, nothing runs off the screen, and whoever asked their system for
// less motion takes one step at a time.

import { h } from '../elements.js';
import { forPaper } from './plot.js';

const BUDGET = 12; // milliseconds of a frame
const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

/**
 * @typedef {object} Parts
 * @property {() => Iterator<unknown>} run makes a run: each `next()` is one of its steps
 * @property {() => void} draw
 * @property {() => string} say what is to be seen, in a sentence or two
 * @property {number} rate steps a second
 * @property {number} [stride] steps at a press of One step
 * @property {[string, string]} [words] on the button before a run and after it
 * @property {boolean} [waits] whether the first run waits for the reader
 */

export class Figure {
  #parts;
  #run = null;
  #ended = false;
  #playing = false;
  #seen = false;
  #frame = 0;
  #drawing = 0;
  #last = 0;
  #owed = 0;
  #telling = 0;

  /**
   * @param {HTMLElement} place the figure's element in the page; its text is there until the figure is
   * @param {HTMLElement[]} pictures canvases, the first of which is described
   * @param {HTMLElement[]} controls what is there beside the buttons
   * @param {Parts} parts
   */
  constructor(place, pictures, controls, parts) {
    this.#parts = { words: ['Play', 'Again'], stride: 1, waits: false, ...parts };
    this.place = place;
    this.play = h('button', { type: 'button', class: 'primary' }, this.#parts.words[0]);
    this.one = h('button', { type: 'button' }, 'One step');
    this.reading = h('p', { class: 'reading' });
    this.live = h('p', { class: 'visually-hidden', role: 'status' });
    this.picture = pictures[0];
    place.querySelector('.before')?.remove();
    place.prepend(
      h('div', { class: 'pictures' }, ...pictures),
      this.reading,
      h('div', { class: 'buttons' }, this.play, this.one, ...controls),
      this.live,
    );
    this.play.addEventListener('click', () => (this.#playing ? this.hold() : this.go()));
    this.one.addEventListener('click', () => this.#step());
    for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) {
      matchMedia(query).addEventListener('change', () => this.redraw());
    }
    addEventListener('resize', () => this.redraw());
    addEventListener('beforeprint', () => this.#print());
    addEventListener('afterprint', () => {
      forPaper(false);
      if (this.#run) this.#draw();
    });
    new IntersectionObserver((entries) => this.#see(entries[entries.length - 1].isIntersecting)).observe(place);
  }

  /** Begins anew, with what the reader has chosen now. */
  restart() {
    if (!this.#run) return; // it begins with that when it is seen
    this.hold(false);
    this.#run = this.#parts.run();
    this.#ended = false;
    this.redraw();
    if (this.#seen && !still()) this.go();
    else this.#tell();
  }

  /** Goes on, or begins anew where there is no more to come. */
  go() {
    if (this.#ended || !this.#run) {
      this.#run = this.#parts.run();
      this.#ended = false;
    }
    this.#playing = true;
    this.#last = performance.now();
    this.#owed = 1;
    this.#label();
    this.#frame ||= requestAnimationFrame((now) => this.#tick(now));
  }

  hold(tell = true) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#playing && tell) this.#tell();
    this.#playing = false;
    this.#label();
  }

  /** Draws with the next frame. */
  redraw() {
    if (!this.#run) return;
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      this.#draw();
    });
  }

  /** Says what is to be seen, once the reader has left off changing it. */
  tellSoon() {
    clearTimeout(this.#telling);
    this.#telling = window.setTimeout(() => this.#tell(), 600);
  }

  #begin() {
    this.#run = this.#parts.run();
    this.place.dataset.started = '';
  }

  #see(seen) {
    const before = this.#seen;
    this.#seen = seen;
    if (!seen) {
      cancelAnimationFrame(this.#frame);
      this.#frame = 0;
    } else if (!this.#run) {
      this.#begin();
      this.#draw();
      if (!this.#parts.waits && !still()) this.go();
      else this.#label();
    } else if (!before && this.#playing) {
      this.#last = performance.now();
      this.#frame ||= requestAnimationFrame((now) => this.#tick(now));
    }
  }

  #tick(now) {
    this.#frame = 0;
    // After a pause of the browser's no more than a tenth of a second is made good.
    this.#owed += (Math.min(100, Math.max(0, now - this.#last)) / 1000) * this.#parts.rate;
    this.#last = now;
    const until = performance.now() + BUDGET;
    // For those who asked for less motion the picture jumps to the end, which may take a while.
    const jump = still();
    let moved = false;
    while ((jump || this.#owed >= 1) && !this.#ended && performance.now() < until) {
      this.#owed--;
      moved = true;
      this.#ended = this.#run.next().done;
    }
    this.#owed = Math.max(0, Math.min(this.#owed, 2));
    if (moved && (!jump || this.#ended)) this.#draw();
    else if (jump) this.reading.textContent = this.#parts.say();
    if (this.#ended) this.hold();
    else this.#frame = requestAnimationFrame((then) => this.#tick(then));
  }

  #step() {
    this.hold(false);
    if (this.#ended || !this.#run) {
      this.#run = this.#parts.run();
      this.#ended = false;
    }
    for (let i = 0; i < this.#parts.stride && !this.#ended; i++) this.#ended = this.#run.next().done;
    this.#label();
    this.#draw();
    this.tellSoon();
  }

  #draw() {
    this.#parts.draw();
    const said = this.#parts.say();
    this.reading.textContent = said;
    this.picture.setAttribute('aria-label', `${this.picture.dataset.name}. ${said}`);
  }

  #tell() {
    this.live.textContent = this.#run ? this.#parts.say() : '';
  }

  #label() {
    const [first, again] = this.#parts.words;
    this.play.textContent = this.#playing ? 'Hold' : this.#ended ? again : first;
    if (this.#ended) this.place.dataset.ended = '';
    else delete this.place.dataset.ended;
  }

  /** On paper a figure that nobody has seen yet is what it is at its end, or, where that takes a reader's wish, at its start. */
  #print() {
    forPaper(true);
    if (!this.#run) {
      this.#begin();
      if (!this.#parts.waits) while (!this.#ended) this.#ended = this.#run.next().done;
      this.#label();
    }
    this.#draw();
  }
}

/** @returns {HTMLCanvasElement} a picture with a name for those who do not see it */
export function picture(name, look = 'plane') {
  const canvas = h('canvas', { role: 'img', 'aria-label': name, class: look, width: 400, height: 400 });
  canvas.dataset.name = name;
  return canvas;
}

/**
 * One of several, by radio buttons.
 * @param {string} legend
 * @param {Record<string, string>} choices the words for each value; the first is chosen
 * @param {(value: string) => void} change
 */
export function choose(legend, choices, change) {
  const group = `choice-${legend.toLowerCase().replace(/\W+/g, '-')}`;
  const labels = Object.entries(choices).map(([value, words], i) => {
    const input = h('input', { type: 'radio', name: group, value, checked: i === 0 });
    input.addEventListener('change', () => change(value));
    return h('label', {}, input, words);
  });
  return h('fieldset', { class: 'choice' }, h('legend', { class: 'visually-hidden' }, legend), ...labels);
}

/**
 * A switch.
 * @param {string} words
 * @param {boolean} on
 * @param {(on: boolean) => void} change
 */
export function toggle(words, on, change) {
  const input = h('input', { type: 'checkbox', role: 'switch', checked: on });
  input.addEventListener('change', () => change(input.checked));
  return h('label', { class: 'switch' }, input, words);
}

/**
 * A slider with its value in words.
 * @param {string} words
 * @param {{min: number, max: number, step: number | 'any', value: number, text: (value: number) => string}} range
 * @param {(value: number) => void} change
 */
export function slider(words, { text, ...range }, change) {
  const input = h('input', { type: 'range', ...range, 'aria-label': words, 'aria-valuetext': text(range.value) });
  const output = h('span', { class: 'value', 'aria-hidden': 'true' }, text(range.value));
  input.addEventListener('input', () => {
    const value = Number(input.value);
    output.textContent = text(value);
    input.setAttribute('aria-valuetext', text(value));
    change(value);
  });
  return h('label', { class: 'slider' }, h('span', { 'aria-hidden': 'true' }, words), input, output);
}
