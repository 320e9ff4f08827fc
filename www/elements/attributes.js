// The elements' attributes: what each may be, and what holds where it is absent or wrong. Pages load this part of the elements' table before
// anything is asked of an element; the rest, with what everything means, is api.js.

const LAST_SEED = Number.MAX_SAFE_INTEGER;

/**
 * An attribute, which is also a property of the same name that reflects it.
 * @typedef {{type: 'text' | 'choice' | 'whole' | 'real' | 'list', default: any, values?: string[], min?: number, max?: number}} Attribute
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
      values: ['run', 'play', 'speed', 'class', 'seed', 'sampler', 'steps', 'scrub', 'guess', 'device'],
      default: ['run', 'class', 'seed', 'scrub', 'device'],
    },
    batch: { type: 'whole', min: 1, max: 64, default: 4 },
    seed: { type: 'whole', min: 0, max: LAST_SEED, default: 0 },
    label: { type: 'text', default: '' },
    sampler: { type: 'text', default: 'ddim' },
    steps: { type: 'whole', min: 1, max: 1000, default: 20 },
    options: { type: 'text', default: '' },
    rng: { type: 'choice', values: ['philox', 'torch'], default: 'philox' },
    speed: { type: 'choice', values: ['slow', 'normal', 'fast'], default: 'normal' },
    guess: { type: 'choice', values: ['on', 'off'], default: 'off' },
    device: { type: 'choice', values: ['auto', 'gpu', 'cpu'], default: 'auto' },
    variant: { type: 'text', default: '' },
  },
  'diffusion-process': {
    src: { type: 'text', default: '' },
    alt: { type: 'text', default: '' },
    data: { type: 'choice', values: ['swiss-roll', 'moons', 'ring', 'grid'], default: 'swiss-roll' },
    schedule: { type: 'choice', values: ['linear', 'squaredcos_cap_v2'], default: 'linear' },
    nudge: { type: 'choice', values: ['on', 'off'], default: 'on' },
    noise: { type: 'real', min: 0, max: 1, default: 0 },
    seed: { type: 'whole', min: 0, max: LAST_SEED, default: 0 },
    controls: { type: 'list', values: ['play', 'noise', 'nudge', 'histogram'], default: ['play', 'noise', 'nudge', 'histogram'] },
  },
};
