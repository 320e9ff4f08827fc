// The story's page: each figure in its place. What they draw is made while one looks.

import '../elements.js';
import { cover } from './figures/cover.js';
import { guide } from './figures/guide.js';
import { ink } from './figures/ink.js';
import { learn } from './figures/learn.js';
import { nudge } from './figures/nudge.js';
import { slope } from './figures/slope.js';

const FIGURES = { ink, nudge, learn, cover, slope, guide };

for (const [name, begin] of Object.entries(FIGURES)) begin(document.getElementById(`figure-${name}`));

// A picture that one has to squint at.
const squint = document.getElementById('squint');
squint?.addEventListener('click', () => {
  const on = squint.getAttribute('aria-pressed') !== 'true';
  squint.setAttribute('aria-pressed', String(on));
  document.getElementById('film').classList.toggle('squinted', on);
});
