// A mixture of equal Gaussians on the plane, for which everything that a network has to learn is known exactly. Noise makes of it
// another such mixture: x = α x₀ + σ ε has the means α μ and the variance α² s² + σ².

/**
 * @typedef {{alpha: number, sigma: number}} Level x = alpha · x₀ + sigma · ε
 * @typedef {{means: Float64Array, deviation: number}} Mixture means: x and y in turn
 * @typedef {(points: Float32Array, level: Level, out: Float32Array) => Float32Array} Denoiser fills out with x̂₀ of each point
 */

const TOO_SMALL = 40; // e^−40 is nothing beside 1

/**
 * What is expected of x₀ where x is known, E[x₀ | x]: the best that any network can say.
 * @param {Mixture} mixture
 * @returns {Denoiser}
 */
export function exactDenoiser({ means, deviation }) {
  const logs = new Float64Array(means.length / 2);
  return (points, { alpha, sigma }, out) => {
    const variance = (alpha * deviation) ** 2 + sigma ** 2;
    const gain = (alpha * deviation ** 2) / variance;
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = [points[i], points[i + 1]];
      let nearest = -Infinity;
      for (let k = 0; k < logs.length; k++) {
        logs[k] = -((x - alpha * means[2 * k]) ** 2 + (y - alpha * means[2 * k + 1]) ** 2) / (2 * variance);
        if (logs[k] > nearest) nearest = logs[k];
      }
      let [total, meanX, meanY] = [0, 0, 0];
      for (let k = 0; k < logs.length; k++) {
        if (nearest - logs[k] > TOO_SMALL) continue;
        const weight = Math.exp(logs[k] - nearest);
        total += weight;
        meanX += weight * means[2 * k];
        meanY += weight * means[2 * k + 1];
      }
      // Each Gaussian says μ + gain (x − α μ); by their weights together:
      out[i] = (meanX / total) * (1 - gain * alpha) + gain * x;
      out[i + 1] = (meanY / total) * (1 - gain * alpha) + gain * y;
    }
    return out;
  };
}

/**
 * The score ∇ ln p(x) of the noisy points, from any denoiser: (α x̂₀ − x) / σ² (Tweedie's formula).
 * @param {Denoiser} denoiser
 * @returns {Denoiser} fills out with the score
 */
export function scoreOf(denoiser) {
  return (points, level, out) => {
    denoiser(points, level, out);
    for (let i = 0; i < out.length; i++) out[i] = (level.alpha * out[i] - points[i]) / level.sigma ** 2;
    return out;
  };
}

/**
 * Guidance (Ho and Salimans 2022): from what is said without a class, `scale` times the way to what is said with it. 0 ignores the
 * class, 1 is the class itself, more goes beyond it.
 * @param {Denoiser} without
 * @param {Denoiser} withClass
 * @param {number} scale
 * @returns {Denoiser}
 */
export function guided(without, withClass, scale) {
  let other = new Float32Array();
  return (points, level, out) => {
    if (other.length !== points.length) other = new Float32Array(points.length);
    without(points, level, out);
    withClass(points, level, other);
    for (let i = 0; i < out.length; i++) out[i] += scale * (other[i] - out[i]);
    return out;
  };
}

/**
 * Points of a mixture.
 * @param {Mixture} mixture
 * @param {number} count
 * @param {() => number} uniform in [0, 1)
 * @param {() => number} normal
 */
export function drawFrom({ means, deviation }, count, uniform, normal) {
  const points = new Float32Array(2 * count);
  for (let i = 0; i < points.length; i += 2) {
    const k = Math.floor((uniform() * means.length) / 2);
    points[i] = means[2 * k] + deviation * normal();
    points[i + 1] = means[2 * k + 1] + deviation * normal();
  }
  return points;
}

/** Eight on a circle. @returns {Mixture} */
export function ring() {
  const means = Array.from({ length: 8 }, (_, k) => [1.4 * Math.cos((k * Math.PI) / 4), 1.4 * Math.sin((k * Math.PI) / 4)]);
  return { means: Float64Array.from(means.flat()), deviation: 0.05 };
}

/** Twenty-five on a grid. @returns {Mixture} */
export function grid() {
  const means = Array.from({ length: 25 }, (_, k) => [0.7 * ((k % 5) - 2), 0.7 * (Math.floor(k / 5) - 2)]);
  return { means: Float64Array.from(means.flat()), deviation: 0.05 };
}

/** A spiral of one and a half turns, as in the paper of 2015: so many Gaussians along it that they make a line. @returns {Mixture} */
export function spiral() {
  const means = Array.from({ length: 90 }, (_, k) => {
    const angle = 1.5 * Math.PI * (1 + (2 * k) / 89);
    return [0.142 * angle * Math.cos(angle), 0.142 * angle * Math.sin(angle)];
  });
  return { means: Float64Array.from(means.flat()), deviation: 0.05 };
}

/** How far apart two means of one mode may be, and a point from its mode, in deviations. */
export const REACH = 3;

/**
 * Which means belong together: those within reach of each other, directly or by way of others.
 * @param {Mixture} mixture
 * @returns {{of: Int32Array, count: number}} the mode of each mean, and how many modes there are
 */
export function modesOf({ means, deviation }) {
  const of = new Int32Array(means.length / 2).fill(-1);
  let count = 0;
  for (let first = 0; first < of.length; first++) {
    if (of[first] >= 0) continue;
    of[first] = count;
    const open = [first];
    for (let k = open.pop(); k !== undefined; k = open.pop()) {
      for (let other = 0; other < of.length; other++) {
        if (of[other] >= 0 || distance(means, k, means, other) > REACH * deviation) continue;
        of[other] = count;
        open.push(other);
      }
    }
    count++;
  }
  return { of, count };
}

/**
 * How many points are in each mode: within reach of one of its means, the nearest one's.
 * @param {Mixture} mixture
 * @param {Float32Array} points
 */
export function countModes(mixture, points, modes = modesOf(mixture)) {
  const counts = new Int32Array(modes.count);
  let outside = 0;
  for (let i = 0; i < points.length / 2; i++) {
    let [nearest, least] = [-1, REACH * mixture.deviation];
    for (let k = 0; k < modes.of.length; k++) {
      const far = distance(points, i, mixture.means, k);
      if (far <= least) [nearest, least] = [k, far];
    }
    if (nearest < 0) outside++;
    else counts[modes.of[nearest]]++;
  }
  return { counts, outside, found: counts.filter((count) => count > 0).length };
}

function distance(a, i, b, k) {
  return Math.hypot(a[2 * i] - b[2 * k], a[2 * i + 1] - b[2 * k + 1]);
}
