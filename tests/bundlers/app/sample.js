// An app that samples: the README's example, as a function for a test to call.

import { Noiseball } from 'noiseball';

globalThis.sample = async () => {
  const model = await Noiseball.load('./model/', { device: 'cpu' });
  let last;
  for await (const step of model.sample({ sampler: 'ddim', steps: 2, seed: 7, labels: [3] })) last = step;
  model.dispose();
  return last.pictures.reduce((sum, value) => sum + value, 0);
};
