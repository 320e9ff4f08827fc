// A network small enough to be trained while one looks on: three layers, 64 wide, that say which part of a noisy point is noise. Its
// gradient is written out by hand, its optimiser is Adam (Kingma and Ba 2015).

import { STEPS } from '../forward.js';
import { levelAt } from './steps.js';

const WAVES = [1.5, 3, 6];
const FEATURES = 4 + 4 * WAVES.length; // the point, two numbers for the level, and the point's waves
const WIDE = 64;
const RATE = 3e-3;

export class Network {
  #layers;
  #steps = 0;
  #normal;
  #uniform;

  /**
   * @param {() => number} uniform in [0, 1)
   * @param {() => number} normal
   */
  constructor(uniform, normal) {
    this.#uniform = uniform;
    this.#normal = normal;
    const sizes = [FEATURES, WIDE, WIDE, 2];
    this.#layers = sizes.slice(1).map((rows, i) => layer(sizes[i], rows, normal));
  }

  /** How often its parameters were changed. */
  get steps() {
    return this.#steps;
  }

  /** How many numbers it learns. */
  get size() {
    return this.#layers.reduce((sum, { weights }) => sum + weights.length, 0);
  }

  /** @type {import('./mixture.js').Denoiser} */
  denoise = (points, { alpha, sigma }, out) => {
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = this.#forward(points[i], points[i + 1], alpha, sigma);
      out[i] = (points[i] - sigma * x) / alpha;
      out[i + 1] = (points[i + 1] - sigma * y) / alpha;
    }
    return out;
  };

  /**
   * One step of training on these clean points: noise of a random level is put on each, the network says what the noise was, and every
   * parameter moves a little to where the mistake is smaller.
   * @param {Float32Array} clean
   * @param {import('./mixture.js').Denoiser} best the exact answer, to compare with
   * @returns {{mistake: number, least: number}} the mean square of the mistakes: the network's, and the least that is possible
   */
  train(clean, best) {
    for (const { gradient } of this.#layers) gradient.fill(0);
    const noisy = new Float32Array(2);
    const exact = new Float32Array(2);
    const slope = new Float32Array(2);
    let [mistake, least] = [0, 0];
    for (let i = 0; i < clean.length; i += 2) {
      const level = levelAt(Math.floor(this.#uniform() * STEPS));
      const noise = [this.#normal(), this.#normal()];
      for (const axis of [0, 1]) noisy[axis] = level.alpha * clean[i + axis] + level.sigma * noise[axis];
      const said = this.#forward(noisy[0], noisy[1], level.alpha, level.sigma);
      best(noisy, level, exact);
      for (const axis of [0, 1]) {
        slope[axis] = said[axis] - noise[axis];
        mistake += slope[axis] ** 2;
        least += ((noisy[axis] - level.alpha * exact[axis]) / level.sigma - noise[axis]) ** 2;
      }
      this.#backward(slope);
    }
    this.#steps++;
    for (const each of this.#layers) adam(each, this.#steps, 2 / clean.length);
    return { mistake: mistake / clean.length, least: least / clean.length };
  }

  #forward(x, y, alpha, sigma) {
    const [first] = this.#layers;
    // What there is to see, at one size whatever the level; waves, as straight lines alone bend badly.
    first.input.set([x, y, alpha, Math.log(sigma) / 2]);
    for (const [i, wave] of WAVES.entries()) {
      first.input.set([Math.sin(wave * x), Math.cos(wave * x), Math.sin(wave * y), Math.cos(wave * y)], 4 + 4 * i);
    }
    for (const [i, each] of this.#layers.entries()) {
      const { input, output, weights, rows } = each;
      const columns = input.length;
      const next = this.#layers[i + 1];
      for (let row = 0; row < rows; row++) {
        let sum = weights[rows * columns + row];
        const start = row * columns;
        for (let k = 0; k < columns; k++) sum += weights[start + k] * input[k];
        output[row] = sum;
        if (next) next.input[row] = sum / (1 + Math.exp(-sum)); // SiLU
      }
    }
    return this.#layers[2].output;
  }

  #backward(slope) {
    let after = slope;
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const { input, weights, gradient, rows, back } = this.#layers[i];
      const columns = input.length;
      back.fill(0);
      for (let row = 0; row < rows; row++) {
        const change = after[row];
        const start = row * columns;
        gradient[rows * columns + row] += change;
        for (let k = 0; k < columns; k++) {
          gradient[start + k] += change * input[k];
          back[k] += change * weights[start + k];
        }
      }
      if (i === 0) break;
      const { output } = this.#layers[i - 1];
      for (let k = 0; k < columns; k++) {
        const gate = 1 / (1 + Math.exp(-output[k]));
        back[k] *= gate * (1 + output[k] * (1 - gate));
      }
      after = back;
    }
  }
}

function layer(columns, rows, normal) {
  const size = rows * columns + rows; // the weights row by row, then the biases
  const weights = new Float32Array(size);
  for (let i = 0; i < rows * columns; i++) weights[i] = normal() * Math.sqrt((rows === 2 ? 0.1 : 1.5) / columns);
  const [gradient, mean, square] = [0, 0, 0].map(() => new Float32Array(size));
  return {
    rows,
    input: new Float32Array(columns),
    output: new Float32Array(rows),
    back: new Float32Array(columns),
    weights,
    gradient,
    mean,
    square,
  };
}

/** Adam with a rate that falls, so that what was learned settles. */
function adam({ weights, gradient, mean, square }, step, scale) {
  const rate = (RATE * Math.min(1, step / 20)) / Math.sqrt(1 + step / 400);
  const [mean0, square0] = [1 - 0.9 ** step, 1 - 0.99 ** step];
  for (let i = 0; i < weights.length; i++) {
    const slope = gradient[i] * scale;
    mean[i] += 0.1 * (slope - mean[i]);
    square[i] += 0.01 * (slope * slope - square[i]);
    weights[i] -= (rate * (mean[i] / mean0)) / (Math.sqrt(square[i] / square0) + 1e-8);
  }
}
