// Learning to step back: a network that is trained here, and what it makes of the same static as it learns.

import { Figure, picture } from '../figure.js';
import { drawFrom, exactDenoiser, spiral } from '../mixture.js';
import { Network } from '../network.js';
import { Plane } from '../plot.js';
import { randomOf, staticNoise } from '../random.js';
import { ddim } from '../steps.js';

const STEPS = 1500;
const BATCH = 64;
const SAMPLES = 300;
const WALK = 20;
const EVERY = 50; // steps of training between two looks

export function learn(place) {
  const samples = picture('What the network makes of static');
  const plane = new Plane(samples);
  const mixture = spiral();
  let data = new Float32Array();
  let made = new Float32Array();
  let steps = 0;
  let size = 0;
  let seen = { mistake: Number.NaN, least: Number.NaN };
  return new Figure(place, [samples], [], {
    rate: 400,
    stride: EVERY,
    waits: true,
    words: ['Train it', 'Train anew'],
    run() {
      const { uniform, normal } = randomOf(5);
      const network = new Network(uniform, normal);
      const best = exactDenoiser(mixture);
      data = drawFrom(mixture, 500, uniform, normal);
      [steps, size] = [0, network.size];
      made = staticNoise(SAMPLES, randomOf(9).normal);
      seen = { mistake: Number.NaN, least: Number.NaN };
      return (function* () {
        let sums = { mistake: 0, least: 0 };
        while (network.steps < STEPS) {
          const { mistake, least } = network.train(drawFrom(mixture, BATCH, uniform, normal), best);
          sums = { mistake: sums.mistake + mistake, least: sums.least + least };
          if (network.steps % EVERY === 0) {
            // The same static every time, so that one sees what the network has learned since.
            const points = staticNoise(SAMPLES, randomOf(9).normal);
            for (const _ of ddim(points, network.denoise, WALK)) yield; // in parts, so that the page stays quick
            made = points;
            steps = network.steps;
            seen = { mistake: sums.mistake / EVERY, least: sums.least / EVERY };
            sums = { mistake: 0, least: 0 };
          }
          yield;
        }
      })();
    },
    draw() {
      plane.clear();
      plane.points(data, { colour: plane.colours.second, radius: 0.03, opacity: 0.3 });
      plane.points(made, { radius: 0.032, opacity: 0.8 });
    },
    say() {
      if (steps === 0) return `Step 0: its ${size.toLocaleString('en')} numbers are random, and static is what it gives.`;
      const mistake = `mean square of its mistakes ${seen.mistake.toFixed(3)}, of which nobody can avoid ${seen.least.toFixed(3)}`;
      return `After ${steps} of ${STEPS} steps of training: ${mistake}.`;
    },
  });
}
