// The package's entry `noiseball/painting`: a reader's picture at a model's size, and a mask that is painted over it. Types are in
// painting.d.ts.

const SIDE = 512; // of the canvas, at least

/**
 * A picture's pixels, cropped to the middle or whole on a ground, and scaled.
 * @param {ImageBitmap} bitmap
 * @param {{width: number, height: number}} size
 * @param {boolean} [whole]
 * @param {string} [ground] its colour, also behind what is transparent
 */
export function fitted(bitmap, { width, height }, whole = false, ground = '#fff') {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  context.fillStyle = ground;
  context.fillRect(0, 0, width, height);
  const scale = (whole ? Math.min : Math.max)(width / bitmap.width, height / bitmap.height);
  // Browsers blur too little where they shrink a picture at once: half by half it is.
  let [from, w, h] = [/** @type {CanvasImageSource} */ (bitmap), bitmap.width, bitmap.height];
  while (scale * bitmap.width < w / 2 && w > 2 && h > 2) {
    const [smallerW, smallerH] = [Math.ceil(w / 2), Math.ceil(h / 2)];
    const smaller = new OffscreenCanvas(smallerW, smallerH);
    smaller.getContext('2d')?.drawImage(from, 0, 0, w, h, 0, 0, smallerW, smallerH);
    [from, w, h] = [smaller, smallerW, smallerH];
  }
  const [shownW, shownH] = [scale * bitmap.width, scale * bitmap.height];
  // What is drawn pixel by pixel stays so.
  context.imageSmoothingEnabled = scale < 1;
  context.drawImage(from, 0, 0, w, h, (width - shownW) / 2, (height - shownH) / 2, shownW, shownH);
  return context.getImageData(0, 0, width, height);
}

/** A mask over a picture, painted with the pointer or the keyboard: 1 where the model is to paint anew, 0 where the picture is kept. */
export class Mask {
  #canvas;
  #changed;
  #pixels = new ImageData(1, 1);
  /** @type {[number, number]} where the keyboard’s brush is */
  #cursor = [0, 0];
  /** @type {[number, number] | null} where the pointer was */
  #last = null;
  /** @type {Float32Array} */
  values = new Float32Array(1);
  /** The brush's width in the picture's pixels. */
  brush = 3;
  /** Whether the brush takes paint away. */
  erases = false;
  /** Whether there is a mask at all. */
  on = true;

  /** `changed(text)` is told how much is painted, and by `text` what screen readers should hear. */
  constructor(canvas, changed) {
    [this.#canvas, this.#changed] = [canvas, changed];
    /** @returns {[number, number]} */
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [
        Math.floor(((event.clientX - box.left) / box.width) * this.#pixels.width),
        Math.floor(((event.clientY - box.top) / box.height) * this.#pixels.height),
      ];
    };
    canvas.addEventListener('pointerdown', (event) => {
      if (!this.on || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.#last = at(event);
      this.#line(this.#last, this.#last);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!this.#last) return;
      const here = at(event);
      this.#line(this.#last, here);
      this.#last = here;
    });
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => (this.#last = null));
    canvas.addEventListener('keydown', (event) => this.#key(event));
    for (const type of ['focus', 'blur']) canvas.addEventListener(type, () => this.draw());
  }

  /** The picture under it; of another size, nothing is painted any more. */
  show(pixels) {
    const { width, height } = pixels;
    const other = width !== this.#pixels.width || height !== this.#pixels.height;
    this.#pixels = pixels;
    if (other) {
      this.values = new Float32Array(width * height);
      this.#cursor = [width >> 1, height >> 1];
    }
    this.draw();
  }

  get painted() {
    return this.values.reduce((sum, value) => sum + value, 0);
  }

  clear() {
    this.values.fill(0);
    this.#done('Nothing is painted');
  }

  invert() {
    this.values.forEach((value, i) => {
      this.values[i] = 1 - value;
    });
    this.#done('What was painted is kept, and the rest is painted');
  }

  rectangle(left, top, width, height) {
    this.#fill(left, top, width, height, this.erases ? 0 : 1);
    this.#done('The rectangle is there');
  }

  #fill(left, top, width, height, value) {
    const { width: wide, height: high } = this.#pixels;
    for (let y = Math.max(0, top); y < Math.min(high, top + height); y++) {
      for (let x = Math.max(0, left); x < Math.min(wide, left + width); x++) this.values[y * wide + x] = value;
    }
  }

  #line([x0, y0], [x1, y1], value = this.erases ? 0 : 1) {
    const pieces = Math.max(1, Math.abs(x1 - x0), Math.abs(y1 - y0));
    for (let i = 0; i <= pieces; i++) {
      const [x, y] = [x0 + ((x1 - x0) * i) / pieces, y0 + ((y1 - y0) * i) / pieces].map(Math.round);
      this.#fill(x - (this.brush >> 1), y - (this.brush >> 1), this.brush, this.brush, value);
    }
    this.#done('');
  }

  #key(event) {
    if (!this.on || event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? this.brush : 1;
    const moves = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    const [dx, dy] = moves[event.key] ?? [0, 0];
    const [x, y] = this.#cursor;
    if (moves[event.key]) {
      const [wide, high] = [this.#pixels.width - 1, this.#pixels.height - 1];
      this.#cursor = [Math.max(0, Math.min(wide, x + dx)), Math.max(0, Math.min(high, y + dy))];
      this.#done(`Column ${this.#cursor[0] + 1}, row ${this.#cursor[1] + 1}`);
    } else if (event.key === ' ' || event.key === 'Enter') {
      this.#line(this.#cursor, this.#cursor);
      this.#done(this.erases ? 'Erased' : 'Painted');
    } else if (event.key === 'Backspace' || event.key === 'Delete') {
      this.#line(this.#cursor, this.#cursor, 0);
      this.#done('Erased');
    } else {
      return;
    }
    event.preventDefault();
  }

  #done(text) {
    this.draw();
    this.#changed(text);
  }

  /** The picture, hatched where it is painted, with the keyboard's brush while the canvas has the focus. */
  draw() {
    const { width, height } = this.#pixels;
    const scale = Math.max(1, Math.ceil(SIDE / Math.max(width, height)));
    const canvas = this.#canvas;
    if (canvas.width !== width * scale || canvas.height !== height * scale) [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const small = new OffscreenCanvas(width, height);
    small.getContext('2d')?.putImageData(this.#pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, width * scale, height * scale);
    if (!this.on) return;
    context.save();
    context.beginPath();
    this.values.forEach((value, i) => {
      if (value > 0) context.rect((i % width) * scale, Math.floor(i / width) * scale, scale, scale);
    });
    context.clip();
    context.fillStyle = 'rgb(255 255 255 / 0.55)';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.beginPath();
    for (let x = -canvas.height; x < canvas.width; x += 14) {
      context.moveTo(x, canvas.height);
      context.lineTo(x + canvas.height, 0);
    }
    context.strokeStyle = '#0b3f3c';
    context.lineWidth = 3;
    context.stroke();
    context.restore();
    if (!canvas.matches(':focus-visible')) return;
    const [x, y] = this.#cursor.map((place) => (place - (this.brush >> 1)) * scale);
    for (const [colour, wide] of /** @type {[string, number][]} */ ([
      ['#fff', 6],
      ['#000', 2],
    ])) {
      context.strokeStyle = colour;
      context.lineWidth = wide;
      context.strokeRect(x, y, this.brush * scale, this.brush * scale);
    }
  }
}
