/**
 * Types of the package's entry `noiseball/forward`, the forward process that <diffusion-process> shows:
 * x_t = √(1 − β_t) x_(t−1) + √β_t ε, so x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε with ᾱ_t = ∏ (1 − β_s). Without the nudge to the origin,
 * x_t = x_(t−1) + √β_t ε, so x_t = x_0 + √(Σ β_s) ε.
 */

/** How many steps it has. Here t counts them: 0 is before the first. */
export const STEPS: 1000;

/** diffusers' names, with its defaults. */
export type ScheduleName = 'linear' | 'squaredcos_cap_v2';

/** ᾱ and Σ β before the first step and after each: `STEPS + 1` numbers. */
export interface Schedule {
  readonly alphaBar: Float64Array;
  readonly added: Float64Array;
}

export function scheduleOf(name: ScheduleName): Schedule;

/** The variance of the noise in x_t: 1 − ᾱ_t, or Σ β without the nudge. */
export function noiseVariance(schedule: Schedule, t: number, nudge: boolean): number;

/** x_t = signal · x_0 + noise · ε. */
export function factors(schedule: Schedule, t: number, nudge: boolean): { signal: number; noise: number };

/** The first step after which the noise has this share, 0 to 1, of its last variance. */
export function timestepAt(schedule: Schedule, share: number, nudge: boolean): number;

/** The share of its last variance that the noise has after step t. */
export function shareAt(schedule: Schedule, t: number, nudge: boolean): number;

/** x_t of `start` and `epsilon`, written into `out`, which it returns. */
export function noised<T extends Float32Array>(
  start: ArrayLike<number>,
  epsilon: ArrayLike<number>,
  factors: { signal: number; noise: number },
  out: T,
): T;

export function moments(values: ArrayLike<number> & Iterable<number>): { mean: number; variance: number };

/** The density of the values in each of `bins` equal parts of −limit to limit. */
export function histogram(values: ArrayLike<number> & Iterable<number>, bins: number, limit: number): Float64Array;

/** A generator of uniform numbers in (0, 1] for a seed from 0 to 2^53 − 1. */
export function uniforms(seed: number): () => number;

/** So many standard normal numbers of a seed. */
export function normals(seed: number, count: number): Float32Array<ArrayBuffer>;

/** `count` points of the plane, x and y in turn, along each axis of mean 0 and variance 1: always the same ones. */
export function cloud(name: 'swiss-roll' | 'moons' | 'ring' | 'grid', count: number): Float32Array<ArrayBuffer>;
