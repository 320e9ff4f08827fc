// The filmstrip: one column a moment of training, the same noise in every column.

export class Film {
  #strip;

  constructor(strip) {
    this.#strip = strip;
  }

  set(frames) {
    this.#strip.replaceChildren();
    for (const frame of frames) this.add(frame);
  }

  /** @param {{step: number, batch: number, width: number, height: number, pictures: Uint8ClampedArray}} frame */
  add({ step, batch, width, height, pictures }) {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height: batch * (height + 1) - 1 });
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `${batch} pictures after ${step} steps`);
    const context = canvas.getContext('2d');
    const bytes = width * height * 4;
    for (let i = 0; i < batch; i++) context.putImageData(new ImageData(pictures.slice(i * bytes, (i + 1) * bytes), width, height), 0, i * (height + 1));
    const caption = document.createElement('span');
    caption.textContent = step.toLocaleString('en');
    const column = document.createElement('div');
    column.append(canvas, caption);
    const atEnd = this.#strip.scrollLeft + this.#strip.clientWidth >= this.#strip.scrollWidth - 8;
    this.#strip.append(column);
    if (atEnd) this.#strip.scrollLeft = this.#strip.scrollWidth;
  }
}
