// A batch of pictures on a canvas, in a near-square grid, each pixel a crisp square.

import { drawGrid, enlarge } from '../noiseball.js';

const FILLED = 0.9; // of a frame's side, at least

export class Grid {
  #canvas;
  #native = document.createElement('canvas');
  #shown = false;

  /** Keeps to the width of the canvas's parent. */
  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#fit()).observe(canvas.parentElement);
  }

  /**
   * @param {Uint8ClampedArray} pixels RGBA, [batch, height, width, 4]
   * @param {{batch: number, width: number, height: number}} shape
   * @param {number} [wide] columns
   */
  show(pixels, shape, wide) {
    drawGrid(this.#native, pixels, shape, wide);
    this.#shown = true;
    this.#fit();
  }

  /** What screen readers say of it. */
  describe(text) {
    this.#canvas.setAttribute('aria-label', text);
  }

  /** The grid as a PNG, enlarged by a whole number to some 512 pixels. */
  toBlob() {
    const scale = Math.max(1, Math.ceil(512 / Math.max(this.#native.width, this.#native.height)));
    const canvas = document.createElement('canvas');
    enlarge(this.#native, canvas, scale);
    return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  }

  #fit() {
    if (!this.#shown) return;
    const density = window.devicePixelRatio || 1;
    const available = this.#canvas.parentElement.clientWidth * density;
    const tall = this.#canvas.parentElement.clientHeight * density || available;
    const fit = Math.min(available / this.#native.width, tall / this.#native.height);
    // Whole pixels are crisp. Where they would leave much of the frame empty, the next size is shrunk to it.
    const crisp = Math.floor(fit) >= FILLED * fit;
    this.#canvas.classList.toggle('shrunk', !crisp);
    enlarge(this.#native, this.#canvas, crisp ? Math.floor(fit) : Math.ceil(fit));
    this.#canvas.style.width = `${(crisp ? this.#canvas.width : fit * this.#native.width) / density}px`;
  }
}
