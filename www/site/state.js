// The page's settings as rows; the address's hash is read and written by walking them, and the controls take
// their limits from them. A new setting is one row here and one control in index.html.

import { SAMPLERS } from '../samplers.js';
import { withoutSecrets } from '../text.js';

const MENU = [{ value: '', text: 'Usual' }, ...SAMPLERS.map(({ name }) => ({ value: name, text: name }))];

/**
 * One setting. `default` is what a hash without it means.
 * @type {{name: string, type: string, default: any, min?: number, max?: number, choices?: {value: string, text: string}[]}[]}
 */
export const ROWS = [
  {
    name: 'view',
    type: 'choice',
    default: 'sample',
    choices: [
      { value: 'sample', text: 'Sample' },
      { value: 'train', text: 'Train' },
    ],
  },
  { name: 'model', type: 'text', default: '' },
  { name: 'label', type: 'text', default: '' },
  { name: 'batch', type: 'whole', default: 16, min: 1, max: 64 },
  { name: 'seed', type: 'whole', default: 7, min: 0, max: Number.MAX_SAFE_INTEGER },
  // Locked, so that two runs differ by what was changed alone.
  { name: 'lock', type: 'flag', default: true },
  // Nothing for the one that the model's file stands for: ../elements/usual.js.
  { name: 'sampler', type: 'choice', default: '', choices: MENU },
  { name: 'steps', type: 'whole', default: 20, min: 1, max: 1000 },
  { name: 'eta', type: 'real', default: 0, min: 0, max: 1 },
  // The sampler's other options, as sampler-options.js writes them.
  { name: 'options', type: 'text', default: '' },
  {
    name: 'rng',
    type: 'choice',
    default: 'philox',
    choices: [
      { value: 'philox', text: 'Same on every device' },
      { value: 'torch', text: 'As PyTorch' },
    ],
  },
  {
    name: 'device',
    type: 'choice',
    default: 'auto',
    choices: [
      { value: 'auto', text: 'Best available' },
      { value: 'gpu', text: 'GPU (WebGPU)' },
      { value: 'cpu', text: 'CPU' },
    ],
  },
];

// How each type reads a text (undefined: not valid) and writes a value.
const TYPES = {
  text: { read: (text) => text, write: (value) => value },
  flag: { read: (text) => ({ 1: true, 0: false })[text], write: (value) => (value ? '1' : '0') },
  choice: { read: (text, row) => row.choices.find(({ value }) => value === text)?.value, write: (value) => value },
  whole: { read: (text, row) => (/^\d+$/.test(text) ? within(Number(text), row) : undefined), write: String },
  real: { read: (text, row) => (/^\d*\.?\d+$/.test(text) ? within(Number(text), row) : undefined), write: String },
};

function within(number, { min, max }) {
  return number >= min && number <= max ? number : undefined;
}

/** The row of that name. */
export function rowOf(name) {
  return ROWS.find((row) => row.name === name);
}

/** A text's value for a row, or undefined where the row cannot have it. */
export function readValue(row, text) {
  return TYPES[row.type].read(text.trim(), row);
}

/** All settings: what the hash says, and the default where it says nothing or nonsense. */
export function readHash(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  return Object.fromEntries(ROWS.map((row) => [row.name, readValue(row, given.get(row.name) ?? '') ?? row.default]));
}

/** The hash that restores these settings: all of them, so that it outlives a change of the defaults. */
export function writeHash(state) {
  const given = new URLSearchParams();
  for (const row of ROWS) {
    const text = TYPES[row.type].write(state[row.name]);
    if (text !== '') given.set(row.name, text);
  }
  return `#${given}`;
}

/** An address as links may hold it: without what may be a secret. */
export function linkable(address) {
  return withoutSecrets(address.split(/[?#]/, 1)[0]);
}

/** Whether the sampler of that name has an option. */
export function hasOption(sampler, option) {
  return SAMPLERS.find(({ name }) => name === sampler).options.some(({ name }) => name === option);
}
