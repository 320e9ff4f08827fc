// A page with an element, as an author's framework makes one.

import 'noiseball/elements';

const element = Object.assign(document.createElement('diffusion-sampler'), {
  src: './model/',
  device: 'cpu',
  steps: 2,
  seed: 7,
  batch: 1,
  label: '3',
  alt: 'A face',
});
document.body.append(element);
