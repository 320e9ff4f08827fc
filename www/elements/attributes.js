// What the elements' attributes may be, and what holds where one is absent or wrong. The rest of the table is api.js.

const LAST_SEED = Number.MAX_SAFE_INTEGER;

/**
 * `taken`: every element has a property of that name, which can here be set, but reads as everywhere.
 * @typedef {{type: 'text' | 'choice' | 'whole' | 'real' | 'list', default: any, values?: string[], min?: number, max?: number,
 *            taken?: boolean}} Attribute
 */

/** @type {Record<string, Record<string, Attribute>>} */
export const ATTRIBUTES = {
  'diffusion-sampler': {
    src: { type: 'text', default: '' },
    alt: { type: 'text', default: '' },
    poster: { type: 'text', default: '' },
    loading: { type: 'choice', values: ['auto', 'lazy', 'eager'], default: 'lazy' },
    reveal: { type: 'choice', values: ['auto', 'interaction', 'manual'], default: 'interaction' },
    controls: {
      type: 'list',
      values: [
        'run',
        'play',
        'speed',
        'prompt',
        'negative-prompt',
        'init',
        'mask',
        'class',
        'seed',
        'sampler',
        'steps',
        'guidance',
        'scrub',
        'guess',
        'files',
        'save',
        'embed',
        'device',
      ],
      default: ['run', 'prompt', 'class', 'seed', 'scrub', 'device'],
    },
    batch: { type: 'whole', min: 1, max: 64, default: 4 },
    seed: { type: 'whole', min: 0, max: LAST_SEED, default: 0 },
    prompt: { type: 'text', default: '' },
    'negative-prompt': { type: 'text', default: '' },
    init: { type: 'text', default: '' },
    strength: { type: 'real', min: 0.001, max: 1, default: null },
    mask: { type: 'text', default: '' },
    label: { type: 'text', default: '' },
    sampler: { type: 'text', default: '' },
    steps: { type: 'whole', min: 1, max: 1000, default: 20 },
    guidance: { type: 'real', min: 0, max: 20, default: 1 },
    options: { type: 'text', default: '' },
    rng: { type: 'choice', values: ['philox', 'torch'], default: 'philox' },
    speed: { type: 'choice', values: ['slow', 'normal', 'fast'], default: 'normal' },
    guess: { type: 'choice', values: ['on', 'off'], default: 'off' },
    attention: { type: 'choice', values: ['on', 'off'], default: 'off' },
    device: { type: 'choice', values: ['auto', 'gpu', 'cpu'], default: 'auto' },
    variant: { type: 'text', default: '' },
    integrity: { type: 'text', default: '' },
  },
  'diffusion-trainer': {
    dataset: { type: 'text', default: 'digits', taken: true },
    alt: { type: 'text', default: '' },
    poster: { type: 'text', default: '' },
    reveal: { type: 'choice', values: ['interaction', 'manual'], default: 'interaction' },
    controls: {
      type: 'list',
      values: ['run', 'dataset', 'files', 'scrub', 'chart', 'nearest', 'save', 'embed', 'device'],
      default: ['run', 'dataset', 'files', 'scrub', 'chart', 'nearest', 'save', 'device'],
    },
    preset: { type: 'text', default: '' },
    steps: { type: 'whole', min: 1, max: 1_000_000, default: null },
    batch: { type: 'whole', min: 1, max: 4096, default: null },
    seed: { type: 'whole', min: 0, max: LAST_SEED, default: 0 },
    size: { type: 'whole', min: 4, max: 256, default: null },
    device: { type: 'choice', values: ['auto', 'gpu', 'cpu'], default: 'auto' },
  },
  'diffusion-process': {
    src: { type: 'text', default: '' },
    alt: { type: 'text', default: '' },
    data: { type: 'choice', values: ['swiss-roll', 'moons', 'ring', 'grid'], default: 'swiss-roll' },
    schedule: { type: 'choice', values: ['linear', 'squaredcos_cap_v2'], default: 'linear' },
    nudge: { type: 'choice', values: ['on', 'off'], default: 'on' },
    noise: { type: 'real', min: 0, max: 1, default: 0 },
    seed: { type: 'whole', min: 0, max: LAST_SEED, default: 0 },
    controls: {
      type: 'list',
      values: ['play', 'noise', 'nudge', 'histogram', 'save', 'embed'],
      default: ['play', 'noise', 'nudge', 'histogram'],
    },
  },
};
