// A batch of pictures on a canvas, in a near-square grid, each pixel a crisp square.

const FILLED = 0.9; // of a frame's side, at least
const GAP = 1; // in the pictures' own pixels

/** Columns and rows of a batch's grid; near a square unless the columns are given. */
export function layout(batch, columns = Math.ceil(Math.sqrt(batch))) {
  return { columns, rows: Math.ceil(batch / columns) };
}

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
  show(pixels, { batch, width, height }, wide) {
    const { columns, rows } = layout(batch, wide);
    /** @type {[number, number]} */
    const size = [columns * (width + GAP) - GAP, rows * (height + GAP) - GAP];
    const native = this.#native;
    if (native.width !== size[0] || native.height !== size[1]) [native.width, native.height] = size;
    const context = native.getContext('2d');
    context.clearRect(0, 0, ...size);
    const bytes = width * height * 4;
    for (let i = 0; i < batch; i++) {
      const tile = new ImageData(pixels.slice(i * bytes, (i + 1) * bytes), width, height);
      context.putImageData(tile, (i % columns) * (width + GAP), Math.floor(i / columns) * (height + GAP));
    }
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

function enlarge(from, to, scale) {
  const [width, height] = [from.width * scale, from.height * scale];
  if (to.width !== width || to.height !== height) [to.width, to.height] = [width, height];
  const context = to.getContext('2d');
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  context.drawImage(from, 0, 0, width, height);
}
