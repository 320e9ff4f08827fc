// The forward process, exactly. A step adds noise, and nudges what is there to the origin:
//
//   x_t = √(1 − β_t) x_(t−1) + √β_t ε       so that   x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε,   ᾱ_t = ∏ (1 − β_s)
//
// and without the nudge
//
//   x_t = x_(t−1) + √β_t ε                  so that   x_t = x_0 + √(Σ β_s) ε

/** How many steps the schedules have, as in DDPM. */
export const STEPS = 1000;

/** β of the steps 1 to STEPS, by diffusers' names and with its defaults. */
const BETAS = {
  linear: (i) => 1e-4 + ((0.02 - 1e-4) * i) / (STEPS - 1),
  squaredcos_cap_v2: (i) => Math.min(0.999, 1 - cosine((i + 1) / STEPS) / cosine(i / STEPS)),
};

const cosine = (share) => Math.cos((((share + 0.008) / 1.008) * Math.PI) / 2) ** 2;

/**
 * What is left of x_0 and how much noise there is, before the first step (0) and after each.
 * @param {string} name
 * @returns {{alphaBar: Float64Array, added: Float64Array}} ᾱ, and the sum of β
 */
export function scheduleOf(name) {
  const alphaBar = new Float64Array(STEPS + 1);
  const added = new Float64Array(STEPS + 1);
  alphaBar[0] = 1;
  for (let i = 0; i < STEPS; i++) {
    const beta = BETAS[name](i);
    alphaBar[i + 1] = alphaBar[i] * (1 - beta);
    added[i + 1] = added[i] + beta;
  }
  return { alphaBar, added };
}

/** The variance of the noise in x_t. */
export function noiseVariance({ alphaBar, added }, t, nudge) {
  return nudge ? 1 - alphaBar[t] : added[t];
}

/** The two factors of x_t = signal · x_0 + noise · ε. */
export function factors(schedule, t, nudge) {
  return { signal: nudge ? Math.sqrt(schedule.alphaBar[t]) : 1, noise: Math.sqrt(noiseVariance(schedule, t, nudge)) };
}

/** The first step after which the noise has this share, 0 to 1, of the variance that it has at the end. */
export function timestepAt(schedule, share, nudge) {
  const wanted = share * noiseVariance(schedule, STEPS, nudge);
  let t = 0;
  while (t < STEPS && noiseVariance(schedule, t, nudge) < wanted) t++;
  return t;
}

/** The other way round: which share of its last variance the noise has after step t. */
export function shareAt(schedule, t, nudge) {
  return noiseVariance(schedule, t, nudge) / noiseVariance(schedule, STEPS, nudge);
}

/** x_t of every value, into `out`. The same ε for every t, so that one can go back and forth. */
export function noised(start, epsilon, { signal, noise }, out) {
  for (let i = 0; i < out.length; i++) out[i] = signal * start[i] + noise * epsilon[i];
  return out;
}

/** Mean and variance of values. */
export function moments(values) {
  let [sum, squares] = [0, 0];
  for (const value of values) sum += value;
  const mean = sum / values.length;
  for (const value of values) squares += (value - mean) ** 2;
  return { mean, variance: squares / values.length };
}

/** How many of the values are in each of `bins` equal parts of −limit to limit, as a density; what is outside counts, but is in none. */
export function histogram(values, bins, limit) {
  const density = new Float64Array(bins);
  const width = (2 * limit) / bins;
  for (const value of values) {
    const bin = Math.floor((value + limit) / width);
    if (bin >= 0 && bin < bins) density[bin] += 1 / (values.length * width);
  }
  return density;
}

/** Uniform numbers in (0, 1] from a seed (Mulberry32 over the seed's two halves). */
export function uniforms(seed) {
  let state = (seed ^ Math.imul(Math.floor(seed / 2 ** 32) + 1, 0x9e3779b1)) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 1) / 2 ** 32;
  };
}

/** Standard normal numbers from a seed, by Box and Muller. The uniform one is never 0, so that its logarithm is finite. */
export function normals(seed, count) {
  const next = uniforms(seed);
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}

/** A point of each cloud, from uniform numbers and from normal ones. */
const CLOUDS = {
  'swiss-roll': (uniform, normal) => {
    const angle = 1.5 * Math.PI * (1 + 2 * uniform());
    return [angle * Math.cos(angle) + 0.3 * normal(), angle * Math.sin(angle) + 0.3 * normal()];
  },
  moons: (uniform, normal) => {
    const [angle, upper] = [Math.PI * uniform(), uniform() < 0.5];
    const [x, y] = upper ? [Math.cos(angle), Math.sin(angle)] : [1 - Math.cos(angle), 0.5 - Math.sin(angle)];
    return [x + 0.05 * normal(), y + 0.05 * normal()];
  },
  ring: (uniform, normal) => {
    const angle = (Math.floor(8 * uniform()) * Math.PI) / 4;
    return [Math.cos(angle) + 0.05 * normal(), Math.sin(angle) + 0.05 * normal()];
  },
  grid: (uniform, normal) => [Math.floor(5 * uniform()) + 0.05 * normal(), Math.floor(5 * uniform()) + 0.05 * normal()],
};

/** `count` points of a cloud, x and y in turn, moved and scaled along each axis to mean 0 and variance 1: what the noise tends to. */
export function cloud(name, count) {
  const next = uniforms(1);
  // uniforms gives (0, 1]; a floor of it must stay below the number of places.
  const uniform = () => 1 - next();
  const normal = () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
  const axes = [new Float32Array(count), new Float32Array(count)];
  for (let i = 0; i < count; i++) [axes[0][i], axes[1][i]] = CLOUDS[name](uniform, normal);
  const points = new Float32Array(2 * count);
  axes.forEach((values, axis) => {
    const { mean, variance } = moments(values);
    for (let i = 0; i < count; i++) points[2 * i + axis] = (values[i] - mean) / Math.sqrt(variance);
  });
  return points;
}
