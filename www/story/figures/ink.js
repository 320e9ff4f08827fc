// A drop of ink in water: points that each take a thousand little steps of noise.

import { cloud, moments, scheduleOf, STEPS } from '../../forward.js';
import { percent } from '../../words.js';
import { choose, Figure, picture } from '../figure.js';
import { Plane } from '../plot.js';
import { randomOf } from '../random.js';
import { diffuse } from '../steps.js';

const COUNT = 2000;
const AT_ONCE = 5; // steps of the process between two pictures

export function ink(place) {
  const canvas = picture('Ink in water', 'plane water');
  const plane = new Plane(canvas);
  const { alphaBar } = scheduleOf('linear');
  /** @type {any} */
  let start = 'drop';
  let points = new Float32Array();
  let step = 0;
  const choice = choose('What dissolves', { drop: 'A drop', 'swiss-roll': 'A spiral', grid: 'A grid' }, (value) => {
    start = value;
    figure.restart();
  });
  const figure = new Figure(place, [canvas], [choice], {
    rate: STEPS / AT_ONCE / 6,
    stride: STEPS / AT_ONCE / 10,
    run() {
      const { uniform, normal } = randomOf(1);
      points = start === 'drop' ? drop(uniform) : cloud(start, COUNT);
      step = 0;
      return (function* () {
        while (step < STEPS) {
          diffuse(points, step, step + AT_ONCE, true, normal);
          step += AT_ONCE;
          if (step < STEPS) yield;
        }
      })();
    },
    draw() {
      plane.clear();
      plane.ink(points, 0.055, 0.22);
      // Nine in ten of a normal distribution's points are within this circle, once it is one.
      if (step > 0) plane.circle(0, 0, Math.sqrt(2 * Math.log(10)), { dashes: [0.08, 0.08] });
    },
    say() {
      const within = share(points, Math.sqrt(2 * Math.log(10)));
      const kept = `${percent(Math.sqrt(alphaBar[step]))} of the way from where it began to the middle is left`;
      if (step === 0) return `Step 0 of ${STEPS}: no noise yet.`;
      if (step < STEPS) return `Step ${step} of ${STEPS}: ${kept}.`;
      const { variance } = moments(points);
      return `Step ${STEPS}: a noise ball. Variance ${variance.toFixed(2)}, of a normal distribution 1; within the circle ${percent(within)} of the points, of a normal distribution 90\u00a0%.`;
    },
  });
  return figure;
}

/** A drop that fell into water, and what it drags behind it. */
function drop(uniform) {
  const points = new Float32Array(2 * COUNT);
  for (let i = 0; i < points.length; i += 2) {
    const angle = 2 * Math.PI * uniform();
    const radius = 0.55 * Math.sqrt(uniform());
    const tail = uniform() < 0.25 ? uniform() : 0;
    const thin = 1 - 0.85 * tail;
    points[i] = -0.5 + radius * thin * Math.cos(angle);
    points[i + 1] = 0.6 + radius * thin * Math.sin(angle) + 1.3 * tail;
  }
  return points;
}

function share(points, radius) {
  let within = 0;
  for (let i = 0; i < points.length; i += 2) if (Math.hypot(points[i], points[i + 1]) <= radius) within++;
  return within / (points.length / 2);
}
