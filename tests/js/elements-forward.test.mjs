// The arithmetic of <diffusion-process>, held to Python's diffusers and to the paper's formulas.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import {
  cloud,
  factors,
  histogram,
  moments,
  noised,
  noiseVariance,
  normals,
  scheduleOf,
  shareAt,
  STEPS,
  timestepAt,
} from '../../www/forward.js';

const fixture = JSON.parse(readFileSync(new URL('../fixtures/schedulers.json', import.meta.url), 'utf8'));
const SCHEDULES = { linear: 'ddpm_defaults', squaredcos_cap_v2: 'ddpm_cosine' };

function near(value, wanted, error, what) {
  assert.ok(Math.abs(value - wanted) <= error * Math.max(Math.abs(wanted), 1e-12), `${what}: ${value}, not ${wanted}`);
}

for (const [name, named] of Object.entries(SCHEDULES)) {
  test(`${name}: what is left after each step is what diffusers says`, () => {
    const { indices, values } = fixture.cases.find((each) => each.name === named).alphas_cumprod;
    const { alphaBar } = scheduleOf(name);
    assert.equal(alphaBar[0], 1);
    // Python's are in 32 bits, whose sums and products of a thousand numbers are this exact. Its index 0 is after the first step.
    for (const [i, index] of indices.entries()) near(alphaBar[index + 1], values[i], 5e-4, `after step ${index + 1}`);
  });

  test(`${name}: a step at a time gives the closed form, with the nudge and without`, () => {
    const schedule = scheduleOf(name);
    let [kept, withNudge, without] = [1, 0, 0];
    for (let t = 1; t <= STEPS; t++) {
      const beta = 1 - schedule.alphaBar[t] / schedule.alphaBar[t - 1];
      // x ← √(1 − β) x + √β ε: variances of independent noise add.
      [kept, withNudge, without] = [kept * Math.sqrt(1 - beta), (1 - beta) * withNudge + beta, without + beta];
      near(factors(schedule, t, true).signal, kept, 1e-9, `signal after ${t}`);
      near(noiseVariance(schedule, t, true), withNudge, 1e-9, `noise after ${t}`);
      near(noiseVariance(schedule, t, false), without, 1e-9, `noise without the nudge after ${t}`);
      assert.equal(factors(schedule, t, false).signal, 1);
    }
    // What comes out of it: the variance of data of variance 1 stays 1, or grows.
    for (const t of [0, 1, 500, STEPS]) {
      const { signal, noise } = factors(schedule, t, true);
      near(signal ** 2 + noise ** 2, 1, 1e-12, `variance at ${t}`);
    }
  });
}

test('without the nudge DDPM’s schedule ends with eleven times the variance', () => {
  const { noise } = factors(scheduleOf('linear'), STEPS, false);
  near(1 + noise ** 2, 1 + (STEPS * (1e-4 + 0.02)) / 2, 1e-9, 'variance');
});

test('values have the variance that the formula says, measured', () => {
  const count = 200_000;
  const schedule = scheduleOf('linear');
  const start = Float32Array.from({ length: count }, (_, i) => (i % 2 ? 1 : -1)); // variance 1
  const epsilon = normals(3, count);
  for (const [t, nudge] of [
    [400, true],
    [1000, true],
    [400, false],
    [1000, false],
  ]) {
    const values = noised(start, epsilon, factors(schedule, t, nudge), new Float32Array(count));
    const wanted = nudge ? 1 : 1 + schedule.added[t];
    near(moments(values).variance, wanted, 0.01, `variance after ${t}, ${nudge ? 'with' : 'without'} the nudge`);
  }
});

test('x_t is √ᾱ x_0 + √(1 − ᾱ) ε, value by value', () => {
  const schedule = scheduleOf('linear');
  const [a, b] = [Math.sqrt(schedule.alphaBar[250]), Math.sqrt(1 - schedule.alphaBar[250])];
  const out = noised(new Float32Array([0.5, -1]), new Float32Array([2, 0.25]), factors(schedule, 250, true), new Float32Array(2));
  near(out[0], a * 0.5 + b * 2, 1e-6, 'first');
  near(out[1], b * 0.25 - a, 1e-6, 'second');
});

test('the slider moves in noise, and finds every step again', () => {
  for (const name of Object.keys(SCHEDULES)) {
    const schedule = scheduleOf(name);
    for (const nudge of [true, false]) {
      for (let t = 0; t <= STEPS; t++) {
        const found = timestepAt(schedule, shareAt(schedule, t, nudge), nudge);
        // At the end of the way steps add less than a number of 64 bits can tell apart.
        assert.ok(
          found === t || noiseVariance(schedule, t, nudge) - noiseVariance(schedule, found, nudge) < 1e-11,
          `${name} ${t}: ${found}`,
        );
      }
      const half = timestepAt(schedule, 0.5, nudge);
      near(noiseVariance(schedule, half, nudge), noiseVariance(schedule, STEPS, nudge) / 2, 0.01, 'half way');
      assert.deepEqual([timestepAt(schedule, 0, nudge), timestepAt(schedule, 1, nudge) > 990], [0, true]);
    }
  }
});

test('noise is normal, finite, and the seed’s own', () => {
  const values = normals(7, 100_000);
  const { mean, variance } = moments(values);
  assert.ok(Math.abs(mean) < 0.015 && Math.abs(variance - 1) < 0.02, `${mean} ${variance}`);
  const kurtosis = values.reduce((sum, value) => sum + value ** 4, 0) / values.length;
  assert.ok(Math.abs(kurtosis - 3) < 0.15, `${kurtosis}`);
  assert.ok(values.every(Number.isFinite));
  assert.deepEqual(normals(7, 10), values.slice(0, 10));
  for (const other of [8, 7 + 2 ** 32, 7 + 2 ** 52]) assert.notDeepEqual(normals(other, 10), values.slice(0, 10));
});

for (const name of ['swiss-roll', 'moons', 'ring', 'grid']) {
  test(`${name}: each axis has mean 0 and variance 1`, () => {
    const points = cloud(name, 1500);
    for (const axis of [0, 1]) {
      const { mean, variance } = moments(points.filter((_, i) => i % 2 === axis));
      assert.ok(Math.abs(mean) < 1e-5 && Math.abs(variance - 1) < 1e-4, `${mean} ${variance}`);
    }
    assert.ok(
      points.every((value) => Math.abs(value) < 3),
      'within the frame',
    );
  });
}

test('a histogram’s bars have the area of what they count', () => {
  const density = histogram([-0.9, -0.1, 0.1, 0.2, 5, -5, 1, -1], 4, 1);
  // Half a unit wide each, of eight values; 5, −5 and 1 are outside.
  assert.deepEqual([...density], [2 / 4, 1 / 4, 2 / 4, 0]);
});
