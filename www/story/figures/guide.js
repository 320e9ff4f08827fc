// Guidance: two classes, the two answers, and the arrow from one to the other, drawn out.

import { choose, Figure, picture, slider } from '../figure.js';
import { exactDenoiser, guided } from '../mixture.js';
import { Plane } from '../plot.js';
import { randomOf, staticNoise } from '../random.js';
import { ddim, levelAt, timesteps } from '../steps.js';

const COUNT = 400;
const WALK = 50;
const SHOWN = 8; // points whose arrows are drawn
const LEVELS = [...timesteps(WALK), -1].map(levelAt);

/** Two half circles, one a class. */
const MOONS = [0, 1].map((second) => {
  const means = Array.from({ length: 24 }, (_, k) => {
    const angle = (k * Math.PI) / 23;
    const [x, y] = [1.25 * Math.cos(angle), 1.25 * Math.sin(angle)];
    return second ? [0.62 - x, 0.3 - y] : [x - 0.62, y - 0.3];
  });
  return { means: Float64Array.from(means.flat()), deviation: 0.12 };
});
const BOTH = { means: Float64Array.from([...MOONS[0].means, ...MOONS[1].means]), deviation: 0.12 };

export function guide(place) {
  const canvas = picture('Samples with guidance');
  const plane = new Plane(canvas);
  let chosen = 0;
  let scale = 2;
  let points = new Float32Array();
  let index = 0;
  const denoiser = () => guided(exactDenoiser(BOTH), exactDenoiser(MOONS[chosen]), scale);
  const choice = choose('Class', { upper: 'Upper', lower: 'Lower' }, (value) => {
    chosen = value === 'upper' ? 0 : 1;
    figure.restart();
  });
  const text = (value) => value.toFixed(1);
  const strength = slider('Guidance', { min: 0, max: 6, step: 0.5, value: scale, text }, (value) => {
    scale = value;
    figure.restart();
  });
  const figure = new Figure(place, [canvas], [choice, strength], {
    rate: WALK / 3,
    stride: 5,
    words: ['Sample', 'Sample anew'],
    run() {
      points = staticNoise(COUNT, randomOf(6).normal);
      index = 0;
      const walk = ddim(points, denoiser(), WALK);
      return (function* () {
        for (const state of walk) {
          index = state.index;
          if (index < WALK) yield;
        }
      })();
    },
    draw() {
      plane.clear();
      plane.points(MOONS[1 - chosen].means, { colour: plane.colours.line, radius: 0.12, opacity: 0.5 });
      plane.points(MOONS[chosen].means, { colour: plane.colours.second, radius: 0.12, opacity: 0.28 });
      plane.points(points, { radius: 0.028, opacity: 0.75 });
      if (index < WALK) arrows(plane, points, LEVELS[index], chosen, scale);
    },
    say() {
      const name = chosen === 0 ? 'upper' : 'lower';
      if (index < WALK) return `Step ${index} of ${WALK}, guidance ${text(scale)} towards the ${name} class.`;
      const { obeyed, apart } = look(points, chosen);
      return `Guidance ${text(scale)}: ${obeyed} of ${COUNT} samples are nearer to the ${name} class; its points are, at the median, ${apart.toFixed(2)} from the middle of the class’s line.`;
    },
  });
  return figure;
}

/** Of some points: where they would go without a class, and from there the arrow of guidance. */
function arrows(plane, points, level, chosen, scale) {
  const some = points.slice(0, 2 * SHOWN);
  const without = exactDenoiser(BOTH)(some, level, new Float32Array(some.length));
  const aim = guided(exactDenoiser(BOTH), exactDenoiser(MOONS[chosen]), scale)(some, level, new Float32Array(some.length));
  const { soft, second } = plane.colours;
  for (let i = 0; i < some.length; i += 2) {
    plane.arrow(some[i], some[i + 1], without[i] - some[i], without[i + 1] - some[i + 1], { colour: soft });
    plane.arrow(without[i], without[i + 1], aim[i] - without[i], aim[i + 1] - without[i + 1], { colour: second, width: 2.2 });
  }
}

/** How many points are nearer to the class's line than to the other's, and how far from it the one in the middle of all is. */
function look(points, chosen) {
  const distances = MOONS.map(({ means }) =>
    Array.from({ length: points.length / 2 }, (_, i) => {
      let least = Infinity;
      for (let k = 0; k < means.length; k += 2)
        least = Math.min(least, Math.hypot(points[2 * i] - means[k], points[2 * i + 1] - means[k + 1]));
      return least;
    }),
  );
  const own = distances[chosen];
  const obeyed = own.filter((distance, i) => distance < distances[1 - chosen][i]).length;
  return { obeyed, apart: own.toSorted((a, b) => a - b)[own.length >> 1] };
}
