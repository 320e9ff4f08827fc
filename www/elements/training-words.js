// What the trainer, and the site, say of a run of training.

import { roughly } from '../units.js';

/** 0.25 → '4.0 s a step', 12 → '12 steps a second' */
export function speed(rate) {
  if (rate >= 1) return `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} steps a second`;
  return `${(1 / rate).toFixed(1)} s a step`;
}

/** Where a run is. */
export function runSentence({ state, step, steps, rate, left }) {
  const where = `Step ${step.toLocaleString('en')} of ${steps.toLocaleString('en')}`;
  if (state === 'ended')
    return step >= steps
      ? `Done: ${steps.toLocaleString('en')} ${steps === 1 ? 'step' : 'steps'}.`
      : `Stopped after ${where.toLowerCase()}.`;
  if (state === 'paused') return `Paused at ${where.toLowerCase()}.`;
  return rate ? `${where} · ${speed(rate)} · ${roughly(left)} left` : `${where}…`;
}

/** The data sets that come with the package, as a menu names them. */
export const DATASETS = {
  digits: 'Handwritten digits',
  faces: 'Pixel faces',
  kanji: 'Tiny kanji',
  'swiss-roll': 'Points: swiss roll',
  moons: 'Points: moons',
  'two-gaussians': 'Points: two Gaussians',
  ring: 'Points: ring of 8',
  grid: 'Points: 5 × 5 grid',
  heartbeat: 'Bits: heartbeat',
};

/** In how many parts a batch is taken where there is little memory. */
export function partsSentence(parts) {
  return `To fit in the memory of this device, each step takes its batch in ${parts} parts. The result is the same.`;
}

/** What a frame of the film shows. */
export function frameSentence({ step, batch }, kind = 'pictures') {
  const what = { pictures: ['picture', 'pictures'], points: ['point', 'points'], bits: ['sequence', 'sequences'] }[kind];
  return `${batch} ${what[batch === 1 ? 0 : 1]} drawn after ${step.toLocaleString('en')} ${step === 1 ? 'step' : 'steps'}`;
}
