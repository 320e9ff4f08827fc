// The data of known distributions that src/train/dataset/toy.rs makes: what the page and the model card say of them.

const MADE = 'Made by this program from a seed';
const SOHL_DICKSTEIN = 'As in Sohl-Dickstein, Weiss, Maheswaranathan and Ganguli 2015 (arXiv 1503.03585)';

/**
 * `objectives` are those that a recipe may have, the first by default. `bound` says what K is in the 2015 paper, and what it can be
 * at most: the data's own mean log density.
 */
export const TOYS = {
  'swiss-roll': {
    name: 'Swiss roll',
    about: 'Points of a spiral on the plane, 0.002 thick',
    source: SOHL_DICKSTEIN,
    objectives: ['bound', 'rbf', 'score', 'ddpm', 'edm', 'flow'],
    bound: { paper: 2.35, most: 3.295, note: ', for a roll of a thickness that it does not give' },
  },
  moons: plane('Moons', 'Points of two half circles on the plane, with noise of 0.05'),
  'two-gaussians': plane('Two Gaussians', 'Points of two Gaussians of deviation 0.3 on the plane'),
  ring: plane('Ring of 8', 'Points of eight Gaussians of deviation 0.05 on a circle'),
  // DDPM's linear schedule leaves one sample in seven between these modes (docs/training.md).
  grid: plane('5 × 5 grid', 'Points of twenty-five Gaussians of deviation 0.05 on a grid', ['edm', 'ddpm', 'bound', 'score', 'flow']),
  heartbeat: {
    name: 'Binary heartbeat',
    about: 'Sequences of 20 bits with a pulse every fifth: five different ones',
    source: SOHL_DICKSTEIN,
    objectives: ['binomial'],
    bound: { paper: -2.414, most: -Math.log2(5), note: '' },
  },
};

function plane(name, about, objectives = ['ddpm', 'bound', 'score', 'edm', 'flow']) {
  return { name, about, source: MADE, objectives, bound: null };
}

const COUNT = 2 ** 14;

/** A data set of a known distribution, and what is told of it. */
export function readToy(engine, toy) {
  const { name, about, source, bound } = TOYS[toy];
  return {
    data: engine.Data.toy(toy, COUNT),
    skipped: [],
    skippedCount: 0,
    notes: [],
    about: { toy, name, about, source, licence: 'No rights are claimed', ...(bound && { bound }) },
  };
}

/** Whether a data set is no pictures but lists of numbers: points or bits. */
export function isList({ kind }) {
  return kind === 'points' || kind === 'bits';
}

/** Samples as a table, one a row; bits as 0 and 1. */
export function table(values, { kind, channels }) {
  /** @type {[(i: number) => string, (value: number) => string | number]} */
  const [names, text] = kind === 'bits' ? [(i) => `bit ${i + 1}`, (value) => (value > 0 ? 1 : 0)] : [(i) => 'xy'[i] ?? `x${i + 1}`, String];
  const rows = Array.from({ length: values.length / channels }, (_, i) =>
    Array.from(values.subarray(i * channels, (i + 1) * channels), text),
  );
  return [Array.from({ length: channels }, (_, i) => names(i)), ...rows].map((row) => row.join(',')).join('\n');
}
