// The steps of the story, each the formula of its paper: noise comes (`diffuse`), noise goes (`ddim`, `ddpm`), and a walk along the
// slope (`langevin`). The samplers are those of src/sampler/, held to the same numbers by tests/fixtures/plane.json.

import { scheduleOf, STEPS } from '../forward.js';

/** @typedef {import('./mixture.js').Level} Level */
/** @typedef {import('./mixture.js').Denoiser} Denoiser */

const SCHEDULE = scheduleOf('linear');

/** How much of the start and of noise there is after a timestep, counted from 0 as diffusers does; before it, no noise. @returns {Level} */
export function levelAt(timestep) {
  const alphaBar = SCHEDULE.alphaBar[timestep + 1];
  return { alpha: Math.sqrt(alphaBar), sigma: Math.sqrt(1 - alphaBar) };
}

/**
 * The forward process from after step `from` to after step `to`, in place: x ← √(ᾱ_to / ᾱ_from) x + √(1 − ᾱ_to / ᾱ_from) ε. Without the
 * nudge only noise of the steps' variance is added: x ← x + √(Σ β) ε.
 */
export function diffuse(values, from, to, nudge, normal) {
  const kept = nudge ? SCHEDULE.alphaBar[to] / SCHEDULE.alphaBar[from] : 1;
  const [signal, noise] = [Math.sqrt(kept), Math.sqrt(nudge ? 1 - kept : SCHEDULE.added[to] - SCHEDULE.added[from])];
  for (let i = 0; i < values.length; i++) values[i] = signal * values[i] + noise * normal();
}

/** What the variance of values of variance 1 is after a step, by the formula: ᾱ + (1 − ᾱ) = 1, or 1 + Σ β. */
export function varianceAfter(step, nudge) {
  return nudge ? 1 : 1 + SCHEDULE.added[step];
}

/** The timesteps of a run in so many steps, from the noisiest: evenly spread from 0, as diffusers' samplers have it. */
export function timesteps(steps) {
  const stride = Math.floor(STEPS / steps);
  return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * stride);
}

/**
 * DDIM without fresh noise (Song, Meng and Ermon 2021, equation 12): takes `points` from noise to a sample, in place, and yields after
 * each step.
 * @param {Float32Array} points
 * @param {Denoiser} denoiser
 * @param {number} steps
 */
export function* ddim(points, denoiser, steps) {
  const x0 = new Float32Array(points.length);
  for (const [now, next, index] of pairs(steps)) {
    denoiser(points, now, x0);
    for (let i = 0; i < points.length; i++) {
      const epsilon = (points[i] - now.alpha * x0[i]) / now.sigma;
      points[i] = next.alpha * x0[i] + next.sigma * epsilon;
    }
    yield { index, total: steps, level: next };
  }
}

/**
 * DDPM's ancestral sampling (Ho, Jain and Abbeel 2020, algorithm 2) with the smaller of its two variances.
 * @param {Float32Array} points
 * @param {Denoiser} denoiser
 * @param {number} steps
 * @param {() => number} normal
 */
export function* ddpm(points, denoiser, steps, normal) {
  const x0 = new Float32Array(points.length);
  for (const [now, next, index] of pairs(steps)) {
    denoiser(points, now, x0);
    // Equation 7: mean and variance of the step before, where x₀ is known.
    const alpha = (now.alpha / next.alpha) ** 2;
    const ofX0 = (next.alpha * (1 - alpha)) / now.sigma ** 2;
    const ofX = (Math.sqrt(alpha) * next.sigma ** 2) / now.sigma ** 2;
    const deviation = Math.sqrt((next.sigma / now.sigma) ** 2 * (1 - alpha));
    for (let i = 0; i < points.length; i++) {
      points[i] = ofX0 * x0[i] + ofX * points[i] + (index < steps ? deviation * normal() : 0);
    }
    yield { index, total: steps, level: next };
  }
}

/** @returns {Generator<[Level, Level, number]>} the levels that each step goes between, and its number from 1 */
function* pairs(steps) {
  const list = timesteps(steps);
  for (const [i, timestep] of list.entries()) yield [levelAt(timestep), levelAt(list[i + 1] ?? -1), i + 1];
}

/**
 * One step of Langevin dynamics, in place: x ← x + step/2 · ∇ ln p(x) + √step ε. Small steps, many times, and the points are spread as p
 * is, wherever they began.
 * @param {Float32Array} points
 * @param {Float32Array} score of the points
 */
export function langevin(points, score, step, normal) {
  const noise = Math.sqrt(step);
  for (let i = 0; i < points.length; i++) points[i] += (step / 2) * score[i] + noise * normal();
}

/** Noise levels from the largest to the smallest, each by the same ratio below the one before (Song and Ermon 2019). */
export function ladder(largest, smallest, count) {
  return Array.from({ length: count }, (_, i) => largest * (smallest / largest) ** (i / (count - 1)));
}

/** Song and Ermon's step size at a level of their ladder, α = ε σ² / σ_L²: a fifth of σ² with the numbers of their paper. */
export const stepAt = (sigma) => 0.2 * sigma ** 2;
