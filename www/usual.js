// What a run begins with where nobody chose: as the model's own scheduler_config.json says.

import { SAMPLERS } from './samplers.js';

const STEPS = 20; // at most, so that a first run is over soon

/** The sampler of that name, if there is one. */
export const samplerOf = (name) => SAMPLERS.find((sampler) => sampler.name === name);

/**
 * The sampler's name and its steps. One that goes through all timesteps, as DDPM's does, gives way to DDIM, which was made for few.
 * A pipeline's steps are those of Python's.
 * @param {{sampler: string, steps?: number} | null} info
 */
export function usualRun(info) {
  const own = samplerOf(info?.sampler);
  const { name, defaultSteps } = /** @type {any} a test says that there is one */ (own?.defaultSteps ? own : samplerOf('ddim'));
  return { sampler: name, steps: Math.min(info?.steps ?? defaultSteps, STEPS) };
}
