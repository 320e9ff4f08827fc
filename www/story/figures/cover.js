// Covering the whole distribution: samples fall into the modes, and are counted.

import { percent } from '../../words.js';
import { choose, Figure, picture } from '../figure.js';
import { countModes, exactDenoiser, grid, modesOf, ring } from '../mixture.js';
import { drawing, pad } from '../pad.js';
import { Plane } from '../plot.js';
import { randomOf, staticNoise } from '../random.js';
import { ddpm } from '../steps.js';
import { brush, drawingControls } from './draw.js';

const COUNT = 1000;
const WALK = 100;

export function cover(place) {
  const canvas = picture('Samples of a distribution');
  const plane = new Plane(canvas);
  let which = 'ring';
  let seed = 1;
  let mixture = ring();
  let modes = modesOf(mixture);
  let points = new Float32Array();
  let index = 0;
  const own = drawingControls(canvas, () => which === 'own');
  const choice = choose('Distribution', { ring: 'Ring of 8', grid: '5 × 5 grid', own: 'Your own' }, (value) => {
    which = value;
    own.show(value === 'own');
    figure.restart();
  });
  const hand = pad(canvas, { on: () => which === 'own', moved: () => figure.redraw() });
  drawing.addEventListener('change', () => {
    if (which === 'own') figure.restart();
  });
  const figure = new Figure(place, [canvas], [choice, own.box], {
    rate: WALK / 4,
    stride: 10,
    words: ['Sample', 'Sample anew'],
    run() {
      mixture = which === 'ring' ? ring() : which === 'grid' ? grid() : drawing.mixture;
      modes = modesOf(mixture);
      const { normal } = randomOf(seed++);
      const none = mixture.means.length === 0;
      points = none ? new Float32Array() : staticNoise(COUNT, normal);
      index = 0;
      const walk = ddpm(points, exactDenoiser(mixture), WALK, normal);
      return (function* () {
        if (none) return;
        for (const state of walk) {
          index = state.index;
          if (index < WALK) yield;
        }
      })();
    },
    draw() {
      plane.clear();
      const { counts } = countModes(mixture, points, modes);
      for (let k = 0; k < modes.of.length; k++) {
        const found = counts[modes.of[k]] > 0;
        const look = found ? { colour: plane.colours.accent, width: 1.6 } : { dashes: [0.04, 0.04] };
        plane.circle(mixture.means[2 * k], mixture.means[2 * k + 1], 3 * mixture.deviation, look);
      }
      plane.points(points, { opacity: 0.55 });
      brush(plane, hand);
    },
    say() {
      if (modes.count === 0) return 'Nothing is drawn yet.';
      const { found, outside, counts } = countModes(mixture, points, modes);
      if (index === 0) return `${COUNT} points of static; ${modes.count} ${modes.count === 1 ? 'mode' : 'modes'} to find.`;
      if (index < WALK) return `Step ${index} of ${WALK}: points are in ${found} of ${modes.count} modes.`;
      const spread = fewest(counts, modes);
      return `${found} of ${modes.count} modes found by ${COUNT} samples; ${spread}. Outside of all: ${percent(outside / COUNT)}.`;
    },
  });
  return figure;
}

/** How fairly: the mode that has least of what is due to it. */
function fewest(counts, modes) {
  let least = Infinity;
  for (let mode = 0; mode < modes.count; mode++) {
    const due = modes.of.filter((of) => of === mode).length / modes.of.length;
    least = Math.min(least, counts[mode] / (due * COUNT));
  }
  return `the mode with the fewest has ${percent(least)} of what is due to it`;
}
