// Written by `noiseball samplers --js`; a test compares.

/** Every sampler with its options, by the names that JavaScript uses. */
export const SAMPLERS = [
  {"classes":["DDPMScheduler","DDPMParallelScheduler"],"defaultSteps":null,"name":"ddpm","options":[{"choices":["leading","linspace","trailing"],"default":"leading","doc":"How the steps are spread over the training's timesteps","name":"timestepSpacing","type":"choice"}],"paper":"Ho, Jain and Abbeel 2020: random, and at its best with many steps"},
  {"classes":["DDIMScheduler","DDIMParallelScheduler"],"defaultSteps":50,"name":"ddim","options":[{"default":0.0,"doc":"Fresh noise in each step: 0 adds none, 1 as much as DDPM","max":1.0,"min":0.0,"name":"eta","type":"real"},{"default":false,"doc":"Derive the predicted noise from the clipped prediction","name":"useClippedModelOutput","type":"flag"},{"choices":["leading","linspace","trailing"],"default":"leading","doc":"How the steps are spread over the training's timesteps","name":"timestepSpacing","type":"choice"},{"default":true,"doc":"End at the clean image, not at the level of timestep 0","name":"setAlphaToOne","type":"flag"}],"paper":"Song, Meng and Ermon 2021: deterministic unless eta is above 0, good with some 50 steps"},
];
