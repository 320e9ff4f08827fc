// The page's settings as rows; the address's hash is read and written by walking them, and the controls take
// their limits from them. A new setting is one row here and one control in index.html.

import { samplers } from '../noiseball.js';
import { withoutSecrets } from '../words.js';

const MENU = [{ value: '', text: 'Usual' }, ...samplers().map(({ name }) => ({ value: name, text: name }))];

/**
 * One setting. `default` is what a hash without it means; `about` is the sentence beside its control; `of` names the part of the page
 * that alone has a use for it.
 * @type {{name: string, type: string, default: any, about?: string, of?: string, min?: number, max?: number, step?: number, choices?: {value: string, text: string}[]}[]}
 */
export const ROWS = [
  {
    name: 'view',
    type: 'choice',
    default: 'sample',
    choices: [
      { value: 'sample', text: 'Sample' },
      { value: 'compare', text: 'Compare' },
      { value: 'edit', text: 'Edit' },
      { value: 'train', text: 'Train' },
    ],
  },
  { name: 'solvers', type: 'text', default: 'ddim,euler,kdpm2,dpm-multistep,unipc,deis' },
  { name: 'model', type: 'text', default: '' },
  { name: 'prompt', type: 'text', default: '' },
  { name: 'negativePrompt', type: 'text', default: '' },
  { name: 'label', type: 'text', default: 'each' },
  { name: 'batch', type: 'whole', default: 9, min: 1, max: 64, about: 'How many are drawn at a time.' },
  // It stays until the dice is thrown, so that two runs differ by what was changed alone.
  { name: 'seed', type: 'whole', default: 7, min: 0, max: Number.MAX_SAFE_INTEGER },
  // Nothing for the one that the model's file stands for, as `usualRun` says.
  { name: 'sampler', type: 'choice', default: '', choices: MENU },
  {
    name: 'steps',
    type: 'whole',
    default: 20,
    min: 1,
    max: 1000,
    about: 'In how many steps the noise is taken away: few are quick, many are finer.',
  },
  {
    name: 'guidance',
    type: 'real',
    default: 1,
    min: 0,
    max: 20,
    about: 'How strongly pictures keep to their prompt or class: 1 as trained, more is clearer and less varied.',
  },
  // The sampler's own options, as `readSamplerOptions` reads them.
  { name: 'options', type: 'text', default: '' },
  {
    name: 'rng',
    type: 'choice',
    default: 'philox',
    about: 'Choose PyTorch’s to get the very picture that Python’s diffusers gives for this seed.',
    choices: [
      { value: 'philox', text: 'Same on every device' },
      { value: 'torch', text: 'As PyTorch' },
    ],
  },
  // Slow enough to see what happens.
  { name: 'speed', type: 'choice', default: 'slow', choices: ['slow', 'normal', 'fast'].map((value) => ({ value, text: value })) },
  { name: 'guess', type: 'choice', default: 'on', choices: ['on', 'off'].map((value) => ({ value, text: value })) },
  {
    name: 'device',
    type: 'choice',
    default: 'auto',
    about: 'Where the model runs: on the GPU, or on the CPU where there is none.',
    choices: [
      { value: 'auto', text: 'Best available' },
      { value: 'gpu', text: 'GPU (WebGPU)' },
      { value: 'cpu', text: 'CPU' },
    ],
  },
  {
    name: 'task',
    of: 'edit',
    type: 'choice',
    default: 'paint',
    choices: [
      { value: 'paint', text: 'Paint a part of it anew' },
      { value: 'begin', text: 'Begin with it' },
      { value: 'restore', text: 'Restore it' },
      { value: 'between', text: 'Go between two seeds' },
      { value: 'invert', text: 'Invert it and come back' },
    ],
  },
  {
    name: 'strength',
    of: 'edit',
    type: 'real',
    default: 0.5,
    min: 0.05,
    max: 1,
    step: 0.05,
    about: 'How much of the run is made: little keeps the picture, 1 forgets all but a trace of it.',
  },
  {
    name: 'resamplings',
    of: 'edit',
    type: 'whole',
    default: 1,
    min: 1,
    max: 100,
    about: 'How often steps are made again with noise in between (RePaint), so that new and kept fit; 1 is once.',
  },
  { name: 'jump', of: 'edit', type: 'whole', default: 5, min: 1, max: 1000, about: 'How many steps are gone back each time.' },
  {
    name: 'restoring',
    of: 'edit',
    type: 'choice',
    default: 'x2',
    choices: [
      { value: 'grey', text: 'Its colours' },
      { value: 'x2', text: 'Half of the size' },
      { value: 'x4', text: 'Three quarters of the size' },
      { value: 'blur', text: 'Its sharpness' },
    ],
  },
  {
    name: 'blur',
    of: 'edit',
    type: 'real',
    default: 1.5,
    min: 0.1,
    max: 32,
    about: 'The deviation of the Gaussian that blurs it, in pixels.',
  },
  {
    name: 'other',
    of: 'edit',
    type: 'whole',
    default: 8,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    about: 'Whose noise the way ends at; it begins at the seed’s.',
  },
];

/** The settings that are properties of the stage, and their attributes. */
export const OF_STAGE = [
  'prompt',
  'negativePrompt',
  'label',
  'batch',
  'seed',
  'sampler',
  'steps',
  'guidance',
  'options',
  'rng',
  'speed',
  'guess',
];
export const ATTRIBUTES = OF_STAGE.map((name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`));

// How each type reads a text (undefined: not valid) and writes a value.
const TYPES = {
  text: { read: (text) => text, write: (value) => value },
  choice: { read: (text, row) => row.choices.find(({ value }) => value === text)?.value, write: (value) => value },
  real: { read: (text, row) => (/^\d*\.?\d+$/.test(text) ? within(Number(text), row) : undefined), write: String },
  whole: { read: (text, row) => (/^\d+$/.test(text) ? within(Number(text), row) : undefined), write: String },
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
  const read = (row) => (given.has(row.name) ? readValue(row, given.get(row.name) ?? '') : undefined) ?? row.default;
  return Object.fromEntries(ROWS.map((row) => [row.name, read(row)]));
}

/** The hash that restores these settings: all that this part of the page has, so that it outlives a change of the defaults. */
export function writeHash(state) {
  const given = new URLSearchParams();
  for (const row of ROWS) {
    if (row.of && row.of !== state.view) continue;
    const text = TYPES[row.type].write(state[row.name]);
    if (text !== '') given.set(row.name, text);
  }
  return `#${given}`;
}

/** An address as links may hold it: without what may be a secret. */
export function linkable(address) {
  return withoutSecrets(address.split(/[?#]/, 1)[0]);
}
