// What the page says of training.

import { amount, bytes, duration } from '../words.js';

/** What a data set is. */
export function dataSentence({ count, width, height, channels, names, counts }) {
  const pictures = `${count.toLocaleString('en')} ${count === 1 ? 'picture' : 'pictures'} of ${width} × ${height} ${channels === 1 ? 'in grey' : 'in colour'}`;
  if (names.length === 0) return `${pictures}${count < 2 ? '. One picture is all that a network could learn here: give more' : ''}.`;
  const classes = names.slice(0, 12).map((name, i) => `${name || '(no folder)'} (${counts[i].toLocaleString('en')})`);
  return `${pictures}, ${names.length} classes: ${classes.join(', ')}${names.length > 12 ? ' …' : ''}.`;
}

/** What a plan takes; `measured` is null until it is there. */
export function planSentence({ parameters, memory }, steps, measured) {
  const size = `${amount(parameters)} weights, about ${bytes(memory)} of memory`;
  if (!measured) return `${size}. Measuring the speed…`;
  const { secondsPerStep, device } = measured;
  return `${size}. Measured on ${device.kind === 'gpu' ? device.name : 'the CPU'}: ${speed(1 / secondsPerStep)}, so ${steps.toLocaleString('en')} steps take about ${duration(1000 * steps * secondsPerStep)}.`;
}

/** 0.25 → '4.0 s a step', 12 → '12 steps a second' */
export function speed(rate) {
  if (rate >= 1) return `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} steps a second`;
  return `${(1 / rate).toFixed(1)} s a step`;
}

/** Where a run is. */
export function runSentence({ state, step, steps, rate, left }) {
  const where = `Step ${step.toLocaleString('en')} of ${steps.toLocaleString('en')}`;
  if (state === 'ended') return step >= steps ? `Done: ${steps.toLocaleString('en')} steps.` : `Stopped after ${where.toLowerCase()}.`;
  if (state === 'paused') return `Paused at ${where.toLowerCase()}.`;
  return rate ? `${where} · ${speed(rate)} · ${duration(left)} left` : `${where}…`;
}

/** A kept run in a list. */
export function keptSentence({ name, step, steps, when, data }, now = Date.now()) {
  const ago = Math.max(0, now - when);
  const days = Math.floor(ago / 86_400_000);
  const time = days >= 1 ? `${days} ${days === 1 ? 'day' : 'days'} ago` : ago < 60_000 ? 'just now' : `${duration(ago).replace(/ \d+ s$/, '')} ago`;
  const where = step >= steps ? `all ${steps.toLocaleString('en')} steps done` : `step ${step.toLocaleString('en')} of ${steps.toLocaleString('en')}`;
  return `${name}: ${where}, ${data.count.toLocaleString('en')} pictures of ${data.width} × ${data.height}, saved ${time}`;
}
