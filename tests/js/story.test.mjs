// What the story's figures compute: each sentence that is mathematics, held to its formula, and the samplers to those of the crate.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { moments, scheduleOf, STEPS } from '../../www/forward.js';
import { nudged } from '../../www/story/figures/nudge.js';
import { annealed, corner } from '../../www/story/figures/slope.js';
import { countModes, drawFrom, exactDenoiser, grid, guided, modesOf, ring, scoreOf, spiral } from '../../www/story/mixture.js';
import { Network } from '../../www/story/network.js';
import { drawing } from '../../www/story/pad.js';
import { randomOf, staticNoise } from '../../www/story/random.js';
import { ddim, ddpm, diffuse, ladder, langevin, levelAt, timesteps, varianceAfter } from '../../www/story/steps.js';

const fixture = JSON.parse(readFileSync(new URL('../fixtures/plane.json', import.meta.url), 'utf8'));

/** Runs to the end. */
function finish(steps) {
  let count = 0;
  for (const _ of steps) count++;
  return count;
}

test('the samplers give what the crate’s give, from the same noise', () => {
  for (const name of ['ddim', 'ddpm']) {
    const points = Float32Array.from(fixture.noise.slice(0, 8));
    let draw = 8;
    const normal = () => fixture.noise[draw++];
    const denoiser = exactDenoiser(ring());
    assert.equal(finish(name === 'ddim' ? ddim(points, denoiser, 10) : ddpm(points, denoiser, 10, normal)), 10);
    for (const [i, value] of points.entries()) {
      assert.ok(Math.abs(value - fixture[name][i]) < 1e-4, `${name}, ${i}: ${value}, not ${fixture[name][i]}`);
    }
  }
  assert.deepEqual(timesteps(4), [750, 500, 250, 0]);
});

test('with the nudge the variance stays 1 within 2 %; without it it grows as the formula says', () => {
  for (const on of [true, false]) {
    let count = 0;
    for (const { step, variance } of nudged(on)) {
      const formula = varianceAfter(step, on);
      assert.ok(Math.abs(variance / formula - 1) < 0.02, `step ${step}, nudge ${on}: ${variance}, not ${formula}`);
      count++;
    }
    assert.equal(count, 101);
  }
  assert.equal(varianceAfter(STEPS, true), 1);
  assert.ok(Math.abs(varianceAfter(STEPS, false) - 11.05) < 1e-9);
});

test('many steps of noise at once are as many steps one by one', () => {
  const { alphaBar } = scheduleOf('linear');
  for (const nudge of [true, false]) {
    const signal = [1, 0];
    diffuse(signal, 100, 140, nudge, () => 0);
    const noise = [0];
    diffuse(noise, 100, 140, nudge, () => 1);
    let [kept, variance] = [1, 0];
    for (let step = 100; step < 140; step++) {
      const beta = 1 - alphaBar[step + 1] / alphaBar[step];
      [kept, variance] = nudge ? [kept * Math.sqrt(1 - beta), variance * (1 - beta) + beta] : [1, variance + beta];
    }
    assert.ok(Math.abs(signal[0] - kept) < 1e-9 && signal[1] === 0);
    assert.ok(Math.abs(noise[0] ** 2 - variance) < 1e-9);
  }
});

test('the score is the slope of the logarithm of the density, and no answer is better than the exact one', () => {
  const mixture = { means: Float64Array.from([-1, 0.2, 0.8, -0.5, 0.1, 1.3]), deviation: 0.3 };
  const level = levelAt(400);
  const variance = (level.alpha * mixture.deviation) ** 2 + level.sigma ** 2;
  const log = (x, y) => {
    let sum = 0;
    for (let k = 0; k < 6; k += 2) {
      sum += Math.exp(-((x - level.alpha * mixture.means[k]) ** 2 + (y - level.alpha * mixture.means[k + 1]) ** 2) / (2 * variance));
    }
    return Math.log(sum);
  };
  const at = Float32Array.from([0.25, -0.5]);
  const score = scoreOf(exactDenoiser(mixture))(at, level, new Float32Array(2));
  const d = 1e-5;
  assert.ok(Math.abs(score[0] - (log(0.25 + d, -0.5) - log(0.25 - d, -0.5)) / (2 * d)) < 1e-4);
  assert.ok(Math.abs(score[1] - (log(0.25, -0.5 + d) - log(0.25, -0.5 - d)) / (2 * d)) < 1e-4);

  const { uniform, normal } = randomOf(2);
  const clean = drawFrom(mixture, 4000, uniform, normal);
  const noisy = clean.map((value) => level.alpha * value + level.sigma * normal());
  const best = exactDenoiser(mixture)(noisy, level, new Float32Array(noisy.length));
  const error = (scale, move) => clean.reduce((sum, value, i) => sum + (scale * best[i] + move - value) ** 2, 0);
  for (const other of [error(0.95, 0), error(1.05, 0), error(1, 0.05), error(1, -0.05)]) assert.ok(error(1, 0) < other);
});

test('every mode is found, and has its due: ring, grid, and drawings', () => {
  const hand = { ring: ring(), grid: grid(), face: drawing.mixture };
  // One dab far from all, and a line of many.
  const line = Array.from({ length: 30 }, (_, k) => [-1.8 + 0.11 * k, 1.6]).flat();
  hand.line = { means: Float64Array.from([...line, 1.9, -1.9]), deviation: 0.09 };
  const wanted = { ring: 8, grid: 25, face: 3, line: 2 };
  for (const [name, mixture] of Object.entries(hand)) {
    const { normal } = randomOf(7);
    const points = staticNoise(1000, normal);
    assert.ok(countModes(mixture, points).outside > 500, `${name}: static is outside`);
    finish(ddpm(points, exactDenoiser(mixture), 100, normal));
    const modes = modesOf(mixture);
    const { counts, found, outside } = countModes(mixture, points, modes);
    assert.deepEqual([modes.count, found], [wanted[name], wanted[name]], `${name}: ${counts}`);
    assert.ok(outside < 50, `${name}: ${outside} outside`);
    for (const [mode, count] of counts.entries()) {
      const due = (1000 * modes.of.filter((of) => of === mode).length) / modes.of.length;
      assert.ok(Math.abs(count - due) < 5 * Math.sqrt(due) + 0.05 * due, `${name}, mode ${mode}: ${count}, due ${due}`);
    }
  }
});

test('the film’s moments are those that the page tells', () => {
  const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
  const { steps } = JSON.parse(read('www/story/film.json'));
  const told = read('story.html').match(/<ol aria-label="Steps of training">(.*?)<\/ol>/s)?.[1];
  assert.deepEqual(
    [...(told ?? '').matchAll(/<li>([\d,]+)/g)].map(([, number]) => Number(number.replace(',', ''))),
    steps,
  );
});

test('a mode without samples is said to be missing', () => {
  const { means } = ring();
  const half = Float32Array.from(means.slice(0, 8));
  const { found, outside, counts } = countModes(ring(), half);
  assert.deepEqual([found, outside, [...counts]], [4, 0, [1, 1, 1, 1, 0, 0, 0, 0]]);
});

test('walkers of Langevin’s end as the data are spread', () => {
  // Of one Gaussian of deviation s, x ← (1 − α/2s²) x + √α ε ends with the variance s² / (1 − α/4s²).
  const { normal } = randomOf(11);
  const [deviation, step] = [0.6, 0.09];
  const walkers = new Float32Array(40_000).fill(2);
  const score = new Float32Array(walkers.length);
  const exact = scoreOf(exactDenoiser({ means: Float64Array.from([0.3, 0.3]), deviation }));
  // The noise level is of no matter but that the network is asked there: as small as can be.
  for (let i = 0; i < 60; i++) langevin(walkers, exact(walkers, { alpha: 1, sigma: 1e-3 }, score), step, normal);
  const { mean, variance } = moments(walkers);
  assert.ok(Math.abs(mean - 0.3) < 0.01, `mean ${mean}`);
  const wanted = deviation ** 2 / (1 - step / (4 * deviation ** 2));
  assert.ok(Math.abs(variance / wanted - 1) < 0.02, `variance ${variance}, not ${wanted}`);
});

test('from much noise to little, walkers find every mode; with little alone they stop at the first', () => {
  const levels = ladder(2, 0.05, 10);
  assert.ok(Math.abs(levels[0] - 2) < 1e-12 && Math.abs(levels[9] - 0.05) < 1e-12);
  const walk = (ladder) => {
    const { normal } = randomOf(3);
    const walkers = corner(1000, normal);
    finish(annealed(walkers, exactDenoiser(ring()), ladder, 300 / ladder.length, normal));
    return countModes(ring(), walkers);
  };
  const all = walk(levels);
  assert.deepEqual([all.found, all.outside < 25, Math.min(...all.counts) > 70], [8, true, true], `${all.counts}, ${all.outside} outside`);
  const alone = walk(levels.slice(-1));
  assert.ok(alone.found < 3 && alone.outside < 100, `${alone.counts}, ${alone.outside} outside`);
});

test('guidance: 0 is without the class, 1 the class, and beyond it further along the same arrow', () => {
  const [both, one] = [ring(), { means: ring().means.slice(0, 2), deviation: 0.05 }].map(exactDenoiser);
  const at = Float32Array.from([0.2, -0.4, 1, 1]);
  const level = levelAt(600);
  const say = (denoiser) => denoiser(at, level, new Float32Array(4));
  const near = (a, b) =>
    assert.ok(
      a.every((value, i) => Math.abs(value - b[i]) < 1e-6),
      `${a}, not ${b}`,
    );
  near(say(guided(both, one, 0)), say(both));
  near(say(guided(both, one, 1)), say(one));
  const [without, withClass] = [say(both), say(one)];
  near(
    say(guided(both, one, 3)),
    without.map((value, i) => value + 3 * (withClass[i] - value)),
  );
});

test('the network learns, and its samples come to the spiral', () => {
  const { uniform, normal } = randomOf(5);
  const network = new Network(uniform, normal);
  assert.equal(network.size, 5378, 'story.html says this number');
  const mixture = spiral();
  const best = exactDenoiser(mixture);
  const near = () => {
    const points = staticNoise(150, randomOf(9).normal);
    finish(ddim(points, network.denoise, 20));
    const { outside } = countModes({ ...mixture, deviation: 0.07 }, points);
    return 1 - outside / 150;
  };
  const before = near();
  const rounds = [];
  for (let round = 0; round < 4; round++) {
    let sum = 0;
    for (let i = 0; i < 100; i++) {
      const { mistake, least } = network.train(drawFrom(mixture, 64, uniform, normal), best);
      sum += (mistake - least) / 100;
    }
    rounds.push(sum);
  }
  assert.ok(rounds[3] > 0 && rounds[3] < 0.06 && rounds[3] < rounds[0] / 3, `${rounds}`);
  assert.ok(near() > before + 0.2, `${before}, then ${near()}`);
});
