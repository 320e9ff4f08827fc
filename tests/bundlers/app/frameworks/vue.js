// An element in a component of Vue's: properties of its state, and an event.

import '../files.js';
import 'noiseball/elements';
import { createApp, h, ref } from 'vue';

const Faces = {
  setup() {
    const [seed, drawn] = [ref(7), ref(null)];
    const given = { src: './model/', device: 'cpu', steps: 2, batch: 1, label: '3', alt: 'A face', controls: ['run', 'seed'] };
    return () => [
      h('diffusion-sampler', { ...given, seed: seed.value, onFinish: ({ detail }) => (drawn.value = detail.seed) }),
      h('button', { type: 'button', onClick: () => seed.value++ }, 'Next seed'),
      h('output', drawn.value === null ? 'Nothing yet' : `Drawn with seed ${drawn.value}`),
    ];
  },
};

createApp(Faces).mount(document.body.appendChild(document.createElement('main')));
