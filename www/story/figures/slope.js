// The slope of the distribution, as arrows; and walkers that go up along it, with noise: Langevin dynamics.

import { choose, Figure, picture, toggle } from '../figure.js';
import { countModes, exactDenoiser, modesOf, ring, scoreOf, spiral } from '../mixture.js';
import { drawing, pad } from '../pad.js';
import { LIMIT, Plane } from '../plot.js';
import { randomOf } from '../random.js';
import { ladder, langevin, stepAt } from '../steps.js';
import { brush, drawingControls } from './draw.js';

const WALKERS = 500;
const LEVELS = ladder(2, 0.05, 10);
const EACH = 30; // steps at a level
const ARROWS = 15; // a side

/**
 * Annealed Langevin dynamics (Song and Ermon 2019, algorithm 1): many small steps at each level of noise, from the largest to the smallest.
 * @param {Float32Array} points
 * @param {import('../mixture.js').Denoiser} denoiser
 * @param {() => number} normal
 */
export function* annealed(points, denoiser, levels, each, normal) {
  const score = new Float32Array(points.length);
  const exact = scoreOf(denoiser);
  for (const sigma of levels) {
    for (let step = 0; step < each; step++) {
      exact(points, { alpha: 1, sigma }, score);
      langevin(points, score, stepAt(sigma), normal);
      yield sigma;
    }
  }
  // From the last, smallest noise straight to what is expected behind it (Song and Ermon 2020).
  denoiser(points.slice(), { alpha: 1, sigma: levels[levels.length - 1] }, points);
}

export function slope(place) {
  const canvas = picture('The slope of a distribution, and walkers on it');
  const plane = new Plane(canvas);
  let which = 'own';
  let anneal = true;
  let seed = 1;
  let walkers = new Float32Array();
  let mixture = drawing.mixture;
  let modes = modesOf(mixture);
  let sigma = LEVELS[0];
  let ended = false;
  const own = drawingControls(canvas, () => which === 'own');
  const choice = choose('Distribution to walk on', { own: 'Your own', ring: 'Ring of 8', spiral: 'Spiral' }, (value) => {
    which = value;
    own.show(value === 'own');
    figure.restart();
  });
  const less = toggle('From much noise to little', anneal, (value) => {
    anneal = value;
    figure.restart();
  });
  const hand = pad(canvas, { on: () => which === 'own', moved: () => figure.redraw() });
  drawing.addEventListener('change', () => {
    if (which === 'own') figure.restart();
  });
  const figure = new Figure(place, [canvas], [choice, less, own.box], {
    rate: (LEVELS.length * EACH) / 8,
    stride: EACH,
    words: ['Walk', 'Walk anew'],
    run() {
      mixture = which === 'own' ? drawing.mixture : which === 'ring' ? ring() : spiral();
      modes = modesOf(mixture);
      const { normal } = randomOf(seed++);
      const none = mixture.means.length === 0;
      walkers = none ? new Float32Array() : corner(WALKERS, normal);
      const levels = anneal ? LEVELS : LEVELS.slice(-1);
      sigma = levels[0];
      ended = false;
      const each = (LEVELS.length * EACH) / levels.length;
      const walk = annealed(walkers, exactDenoiser(mixture), levels, each, normal);
      return (function* () {
        if (none) return;
        for (const level of walk) {
          sigma = level;
          yield;
        }
        ended = true;
      })();
    },
    draw() {
      plane.clear();
      if (mixture.means.length > 0) arrows(plane, mixture, sigma);
      plane.points(mixture.means, { colour: plane.colours.second, radius: mixture.deviation, opacity: 0.22 });
      plane.points(walkers, { radius: 0.025, opacity: 0.8 });
      brush(plane, hand);
    },
    say() {
      if (mixture.means.length === 0) return 'Nothing is drawn yet.';
      const { found, outside } = countModes(mixture, walkers, modes);
      const where = `${WALKERS - outside} of ${WALKERS} walkers are where data are, in ${found} of ${modes.count} ${modes.count === 1 ? 'mode' : 'modes'}`;
      return ended ? `Arrived: ${where}.` : `Noise level σ = ${sigma.toFixed(2)}: ${where}.`;
    },
  });
  return figure;
}

/** The score at points of a grid. Its length is that of its logarithm, as it differs a hundredfold from place to place. */
function arrows(plane, mixture, sigma) {
  const gap = (2 * LIMIT) / ARROWS;
  const at = new Float32Array(2 * ARROWS * ARROWS);
  for (let i = 0; i < ARROWS * ARROWS; i++) {
    at[2 * i] = -LIMIT + gap * ((i % ARROWS) + 0.5);
    at[2 * i + 1] = -LIMIT + gap * (Math.floor(i / ARROWS) + 0.5);
  }
  const score = scoreOf(exactDenoiser(mixture))(at, { alpha: 1, sigma }, new Float32Array(at.length));
  for (let i = 0; i < at.length; i += 2) {
    const steep = Math.hypot(score[i], score[i + 1]);
    const length = (0.85 * gap * Math.log1p(steep * sigma * 2)) / Math.log1p(12);
    const scale = Math.min(length, 0.95 * gap) / Math.max(steep, 1e-9);
    plane.arrow(at[i], at[i + 1], score[i] * scale, score[i + 1] * scale);
  }
}

/** Where all walkers begin: together in a corner. */
export function corner(count, normal) {
  return Float32Array.from({ length: 2 * count }, () => -2 + 0.2 * normal());
}
