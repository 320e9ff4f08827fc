// The package's entry `noiseball/forward`, whose formulas and types are in forward.d.ts.

export const STEPS = 1000;

const BETAS = {
  linear: (i) => 1e-4 + ((0.02 - 1e-4) * i) / (STEPS - 1),
  squaredcos_cap_v2: (i) => Math.min(0.999, 1 - cosine((i + 1) / STEPS) / cosine(i / STEPS)),
};

const cosine = (share) => Math.cos((((share + 0.008) / 1.008) * Math.PI) / 2) ** 2;

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

export function noiseVariance({ alphaBar, added }, t, nudge) {
  return nudge ? 1 - alphaBar[t] : added[t];
}

export function factors(schedule, t, nudge) {
  return { signal: nudge ? Math.sqrt(schedule.alphaBar[t]) : 1, noise: Math.sqrt(noiseVariance(schedule, t, nudge)) };
}

export function timestepAt(schedule, share, nudge) {
  const wanted = share * noiseVariance(schedule, STEPS, nudge);
  let t = 0;
  while (t < STEPS && noiseVariance(schedule, t, nudge) < wanted) t++;
  return t;
}

export function shareAt(schedule, t, nudge) {
  return noiseVariance(schedule, t, nudge) / noiseVariance(schedule, STEPS, nudge);
}

export function noised(start, epsilon, { signal, noise }, out) {
  for (let i = 0; i < out.length; i++) out[i] = signal * start[i] + noise * epsilon[i];
  return out;
}

export function moments(values) {
  let [sum, squares] = [0, 0];
  for (const value of values) sum += value;
  const mean = sum / values.length;
  for (const value of values) squares += (value - mean) ** 2;
  return { mean, variance: squares / values.length };
}

export function histogram(values, bins, limit) {
  const density = new Float64Array(bins);
  const width = (2 * limit) / bins;
  for (const value of values) {
    const bin = Math.floor((value + limit) / width);
    if (bin >= 0 && bin < bins) density[bin] += 1 / (values.length * width);
  }
  return density;
}

/** Uniform numbers in (0, 1] (Mulberry32 over the seed's two halves). */
export function uniforms(seed) {
  let state = (seed ^ Math.imul(Math.floor(seed / 2 ** 32) + 1, 0x9e3779b1)) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 1) / 2 ** 32;
  };
}

/** A standard normal number of two uniform ones, by Box and Muller; the first is never 0. */
const normal = (next) => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());

export function normals(seed, count) {
  const next = uniforms(seed);
  return Float32Array.from({ length: count }, () => normal(next));
}

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

export function cloud(name, count) {
  const next = uniforms(1);
  const uniform = () => 1 - next(); // below 1
  const axes = [new Float32Array(count), new Float32Array(count)];
  for (let i = 0; i < count; i++) [axes[0][i], axes[1][i]] = CLOUDS[name](uniform, () => normal(next));
  const points = new Float32Array(2 * count);
  axes.forEach((values, axis) => {
    const { mean, variance } = moments(values);
    for (let i = 0; i < count; i++) points[2 * i + axis] = (values[i] - mean) / Math.sqrt(variance);
  });
  return points;
}
