// The noise slider moves evenly in noise. A schedule does not: a swiss roll is half of its way below one percent.

const LEVELS = 64; // timesteps whose noise is looked up; between them it is interpolated

/** How much of a thing is noise, 0 to 1: the noise's share of the variance, or of bits the share that is flipped. */
export function noiseShare({ kind, alpha, sigma }) {
  // A bit's mean is alpha of what it was.
  return kind === 'bits' ? (1 - alpha) / 2 : sigma ** 2 / (alpha ** 2 + sigma ** 2);
}

/** The timesteps of `total` to look up, the first and the last among them. */
export function lookedUp(total) {
  const count = Math.min(LEVELS, total);
  return Array.from({ length: count }, (_, i) => Math.round((i * (total - 1)) / Math.max(1, count - 1)));
}

/**
 * The timestep at which the slider stands.
 *
 * @param {{timestep: number, share: number}[]} levels in the order of their timesteps, noise growing
 * @param {number} position from 0, no noise, to 1, the last timestep
 */
export function timestepAt(levels, position) {
  const last = levels.at(-1);
  const wanted = position * last.share;
  const after = levels.findIndex(({ share }) => share >= wanted);
  if (position >= 1 || after < 0) return last.timestep;
  if (after === 0) return levels[0].timestep;
  const [below, above] = [levels[after - 1], levels[after]];
  const way = (wanted - below.share) / (above.share - below.share);
  return Math.round(below.timestep + way * (above.timestep - below.timestep));
}
