// An app that samples the model that the package brings, whose files the bundler carries along.

import { Noiseball } from 'noiseball';
import faces from 'noiseball/models/pixel-faces-16';

globalThis.sample = async () => {
  const model = await Noiseball.load(faces, { device: 'cpu' });
  let last;
  for await (const step of model.sample({ sampler: 'ddim', steps: 2, seed: 7, labels: [3] })) last = step;
  model.dispose();
  return last.pictures.reduce((sum, value) => sum + value, 0);
};
