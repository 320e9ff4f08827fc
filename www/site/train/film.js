// The filmstrip: one column a moment of training, the same noise in every column.

import { shown } from '../../words.js';
import { nearness, Plot } from './plot.js';
import { sampledSentence } from './words.js';

const COLUMN = 36; // pixels, as in train.css
const REACH = 0.8; // of a plot that has room for noise: samples are where the data are

export class Film {
  #strip;
  #names = []; // of the classes, where there are some
  #data = null; // {kind, sample} of points and bits
  #plots = [];

  constructor(strip) {
    this.#strip = strip;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      for (const plot of this.#plots) plot.draw();
    });
  }

  /** Begins anew with a run's data. Of points and bits `sample` is some of them. */
  set(frames, { kind, names = [] }, sample) {
    this.#names = names;
    this.#data = sample ? { kind, sample } : null;
    this.#plots = [];
    for (const plotted of ['points', 'bits']) this.#strip.classList.toggle(plotted, plotted === kind);
    this.#strip.replaceChildren();
    for (const frame of frames) this.add(frame);
  }

  /** @param {import('../../training.js').TrainingFrame} frame */
  add(frame) {
    const canvas = document.createElement('canvas');
    canvas.setAttribute('role', 'img');
    const caption = document.createElement('span');
    caption.textContent = frame.step.toLocaleString('en');
    const column = document.createElement('div');
    column.append(canvas, caption);
    const atEnd = this.#strip.scrollLeft + this.#strip.clientWidth >= this.#strip.scrollWidth - 8;
    this.#strip.append(column);
    if ('pictures' in frame) {
      if (this.#strip.children.length === 1) this.#nameRows(frame);
      drawPictures(canvas, frame);
    } else this.#plot(canvas, frame);
    if (atEnd) this.#strip.scrollLeft = this.#strip.scrollWidth;
  }

  /** The class of each row, before the first column: run.js samples the classes in turn. */
  #nameRows({ batch, width, height }) {
    if (this.#names.length === 0) return;
    const names = document.createElement('div');
    names.className = 'names';
    names.style.height = `${(COLUMN * (batch * (height + 1) - 1)) / width}px`;
    for (let i = 0; i < batch; i++) {
      const row = document.createElement('span');
      row.textContent = row.title = shown(this.#names[i % this.#names.length] || '(no folder)');
      names.append(row);
    }
    this.#strip.prepend(names);
  }

  #plot(canvas, { step, batch, channels, values }) {
    const { kind, sample } = this.#data;
    const near = nearness({ kind, channels, values }, sample);
    const plot = new Plot(canvas);
    this.#plots.push(plot);
    plot.show({ kind, channels, values, behind: sample, reach: REACH }, sampledSentence({ kind, step, batch, near }));
  }
}

function drawPictures(canvas, { step, batch, width, height, pictures }) {
  Object.assign(canvas, { width, height: batch * (height + 1) - 1 });
  canvas.setAttribute('aria-label', `${batch} pictures after ${step} steps`);
  const context = canvas.getContext('2d');
  const bytes = width * height * 4;
  for (let i = 0; i < batch; i++)
    context.putImageData(new ImageData(pictures.slice(i * bytes, (i + 1) * bytes), width, height), 0, i * (height + 1));
}
