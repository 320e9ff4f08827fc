// An element in a component of React's: properties of its state, and an event.

import '../files.js';
import 'noiseball/elements';
import { createElement as h, useState } from 'react';
import { createRoot } from 'react-dom/client';

function Faces() {
  const [seed, setSeed] = useState(7);
  const [drawn, setDrawn] = useState(null);
  const given = { src: './model/', device: 'cpu', steps: 2, batch: 1, label: '3', alt: 'A face', controls: ['run', 'seed'] };
  return h(
    'main',
    null,
    h('diffusion-sampler', { ...given, seed, onfinish: ({ detail }) => setDrawn(detail.seed) }),
    h('button', { type: 'button', onClick: () => setSeed(seed + 1) }, 'Next seed'),
    h('output', null, drawn === null ? 'Nothing yet' : `Drawn with seed ${drawn}`),
  );
}

createRoot(document.body.appendChild(document.createElement('div'))).render(h(Faces));
