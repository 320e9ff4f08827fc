// What the page says of training.

import { amount, bytes, percent, roughly, shown, speed } from '../../words.js';
import { noiseShare } from './noise.js';

/** What a data set is. */
export function dataSentence(info) {
  const { count, channels, names, counts } = info;
  if (info.kind !== 'pictures') return `${size(info)}.`;
  const pictures = `${size(info)} ${channels === 1 ? 'in grey' : 'in colour'}`;
  if (names.length === 0) return `${pictures}${count < 2 ? '. With one picture the network can only memorise it. Add more' : ''}.`;
  const classes = names.slice(0, 12).map((name, i) => `${shown(name)} (${counts[i].toLocaleString('en')})`);
  return `${pictures}, ${names.length} classes: ${classes.join(', ')}${names.length > 12 ? ' …' : ''}.`;
}

function size({ kind, count, channels, width, height }) {
  const number = count.toLocaleString('en');
  if (kind === 'points') return `${number} points of the plane`;
  if (kind === 'bits') return `${number} sequences of ${channels} bits`;
  return `${number} ${count === 1 ? 'picture' : 'pictures'} of ${width} × ${height}`;
}

/** What the objectives of points and bits are, by their names in Rust. */
export const OBJECTIVES = {
  bound: 'Bound, 2015',
  rbf: 'Bound, 2015, with its RBF network',
  binomial: 'Bound for bits, 2015',
  score: 'Score matching, 2019',
  ddpm: 'DDPM, 2020',
  edm: 'EDM, 2022',
  flow: 'Flow matching, 2023',
};

/** How far the forward process has taken data; without a timestep, nowhere. */
export function noiseSentence({ kind, alpha, sigma }, timestep) {
  if (timestep === null) return 'none';
  const share = percent(noiseShare({ kind, alpha, sigma }));
  return `t = ${timestep}, ${share} ${kind === 'bits' ? 'of the bits flipped' : 'noise'}`;
}

/** A frame of points or bits; `near` is plot.js's nearness to the data. */
export function sampledSentence({ kind, step, batch, near }) {
  const after = `after ${step.toLocaleString('en')} steps`;
  if (kind === 'bits') return `${batch} sequences ${after}, ${near} of them among the data`;
  return `${batch} points ${after}, median distance to the data: ${near.toPrecision(2)}`;
}

/** The bound of 2015 on data kept out of training, beside what is known of it. */
export function boundSentence({ step, bits, error }, known) {
  const found = `Bound on data kept out of training after ${step.toLocaleString('en')} steps: K = ${signed(bits, 2)} ± ${error.toFixed(2)} bits.`;
  if (!known) return found;
  return `${found} The 2015 paper has ${signed(known.paper)}${known.note}. It can be ${signed(known.most, 3)} at most, the data’s own log density.`;
}

function signed(number, digits) {
  return (digits === undefined ? String(number) : number.toFixed(digits)).replace('-', '−');
}

/** What a plan takes; `measured` is null until it is there. */
export function planSentence({ parameters, memory, budget }, steps, measured) {
  const parts = memory > budget ? `, where a tab may take ${bytes(budget)}: batches are taken in parts` : '';
  const size = `${amount(parameters)} weights, about ${bytes(memory)} of memory${parts}`;
  if (!measured) return `${size}. Measuring the speed…`;
  const { secondsPerStep, device } = measured;
  return `${size}. Measured on ${device.kind === 'gpu' ? device.name : 'the CPU'}: ${speed(1 / secondsPerStep)}, so ${steps.toLocaleString('en')} steps take about ${roughly(1000 * steps * secondsPerStep)}.`;
}

/** A kept run in a list. */
export function keptSentence({ name, step, steps, when, data }, now = Date.now()) {
  const ago = Math.max(0, now - when);
  const days = Math.floor(ago / 86_400_000);
  const time = days >= 1 ? `${days} ${days === 1 ? 'day' : 'days'} ago` : ago < 60_000 ? 'just now' : `${roughly(ago)} ago`;
  const where =
    step >= steps ? `all ${steps.toLocaleString('en')} steps done` : `step ${step.toLocaleString('en')} of ${steps.toLocaleString('en')}`;
  return `${shown(name)}: ${where}, ${size(data)}, saved ${time}`;
}

/** What a loss says of a run, and when to stop it, for a recipe's objective. */
export function lossSentence({ objective, scheduler }) {
  const stop =
    'Stop when the smoothed line and the newest samples below no longer change. If “held out” rises while “smoothed” falls, the network is memorising its data: stop, or add more data.';
  if (objective === 'bound' || objective === 'binomial') return `The loss is −K in bits: the lower, the better, also below 0. ${stop}`;
  const prediction = scheduler.prediction_type ?? 'epsilon';
  if ((objective ?? 'simple') === 'simple' && prediction !== 'sample') {
    const example = prediction === 'v_prediction' ? ': the handwritten digits end near 0.24' : '';
    return `About 1 means that nothing is learned yet. A good value depends on the data${example}. ${stop}`;
  }
  return `The lower, the better; where it ends depends on the data and the objective. ${stop}`;
}
