// Where the reader draws a distribution: dabs of ink, each a Gaussian, with the pointer or with the keyboard. Two figures show the same
// drawing.

import { LIMIT } from './plot.js';

export const DAB = 0.09; // deviation of a dab
const MOST = 120;
const STEP = 0.15; // of the arrow keys
const EDGE = 2.2;

/** What was drawn, x and y in turn: a face, until the reader draws another thing. */
class Drawing extends EventTarget {
  dabs = face();

  /** @returns {import('./mixture.js').Mixture} */
  get mixture() {
    return { means: Float64Array.from(this.dabs), deviation: DAB };
  }

  /** Adds a dab, where there is none as near as half of its deviation. */
  add(x, y) {
    if (this.dabs.length >= 2 * MOST) return false;
    [x, y] = [x, y].map((value) => Math.max(-EDGE, Math.min(EDGE, value)));
    for (let i = 0; i < this.dabs.length; i += 2) {
      if (Math.hypot(this.dabs[i] - x, this.dabs[i + 1] - y) < DAB / 2) return false;
    }
    this.dabs.push(x, y);
    this.#changed();
    return true;
  }

  undo() {
    this.dabs.splice(-2);
    this.#changed();
  }

  clear() {
    this.dabs = [];
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

export const drawing = new Drawing();

function face() {
  const smile = Array.from({ length: 15 }, (_, k) => {
    const angle = Math.PI * (1.15 + (0.7 * k) / 14);
    return [1.45 * Math.cos(angle), 0.35 + 1.45 * Math.sin(angle)];
  });
  const eyes = [-0.65, 0.65].flatMap((x) => [0.75, 0.9, 1.05].map((y) => [x, y]));
  return [...eyes, ...smile].flat();
}

/**
 * Makes a canvas one to draw on while `on()`.
 * @param {HTMLCanvasElement} canvas
 * @param {{on: () => boolean, moved: () => void}} use
 * @returns {{cursor: [number, number], focused: () => boolean}} where the keyboard's brush is
 */
export function pad(canvas, { on, moved }) {
  /** @type {[number, number]} */
  const cursor = [0, 0];
  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width - 0.5) * 2 * LIMIT, (0.5 - (event.clientY - box.top) / box.height) * 2 * LIMIT];
  };
  canvas.addEventListener('pointerdown', (event) => {
    if (!on() || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    drawing.add(last[0], last[1]);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!last || !on()) return;
    const [x, y] = at(event);
    // Along the way, dabs as near as make one line.
    const far = Math.hypot(x - last[0], y - last[1]);
    const pieces = Math.floor(far / (1.2 * DAB));
    for (let i = 1; i <= pieces; i++) drawing.add(last[0] + ((x - last[0]) * i) / pieces, last[1] + ((y - last[1]) * i) / pieces);
    if (pieces > 0) last = [x, y];
  });
  for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => (last = null));
  const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
  canvas.addEventListener('keydown', (event) => {
    if (!on() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) {
      for (const axis of [0, 1]) cursor[axis] = Math.max(-EDGE, Math.min(EDGE, cursor[axis] + moves[event.key][axis]));
      moved();
    } else if (event.key === ' ' || event.key === 'Enter') {
      drawing.add(cursor[0], cursor[1]);
    } else if (event.key === 'Backspace' || event.key === 'Delete') {
      drawing.undo();
    } else {
      return;
    }
    event.preventDefault();
  });
  for (const type of ['focus', 'blur']) canvas.addEventListener(type, moved);
  return { cursor, focused: () => canvas.matches(':focus-visible') };
}
