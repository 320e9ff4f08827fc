// The package's entry `noiseball/elements`: <diffusion-sampler> and <diffusion-process>, registered by importing it. Types are in
// elements.d.ts, which is made of elements/api.js. On a server it can be imported too, and registers nothing.

import { define } from './elements/element.js';
import { DiffusionProcess } from './elements/process.js';
import { DiffusionSampler } from './elements/sampler.js';

define('diffusion-sampler', DiffusionSampler);
define('diffusion-process', DiffusionProcess);

export { DiffusionProcess, DiffusionSampler };
