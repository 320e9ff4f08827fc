// Random numbers from a seed, one at a time.

import { uniforms } from '../forward.js';

/**
 * @param {number} seed
 * @returns {{uniform: () => number, normal: () => number}} in [0, 1), and standard normal by Box and Muller, in pairs
 */
export function randomOf(seed) {
  const next = uniforms(seed); // in (0, 1], so that its logarithm is finite
  let spare = Number.NaN;
  const normal = () => {
    if (!Number.isNaN(spare)) {
      const value = spare;
      spare = Number.NaN;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(next()));
    const angle = 2 * Math.PI * next();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  return { uniform: () => 1 - next(), normal };
}

/** Standard normal points, x and y in turn. */
export function staticNoise(count, normal) {
  return Float32Array.from({ length: 2 * count }, () => normal());
}
