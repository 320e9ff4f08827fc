// embed.html, for pages that take an <iframe> but no script: an element whose attributes are all in the page's address, as
// `embed.html?src=hf:org/name&seed=7`. `element` says which: sampler, trainer or process.

import '../elements.js';
import { ATTRIBUTES } from './attributes.js';
import { EMBEDDED, UNASKED } from './embed-code.js';

const given = new URLSearchParams(location.search);
const wanted = given.get('element') ?? EMBEDDED[0];
const name = EMBEDDED.includes(wanted) ? wanted : EMBEDDED[0];
if (name !== wanted) console.warn(`element=${wanted} is not possible; “${name}” is used instead. Allowed: ${EMBEDDED.join(', ')}.`);
const tag = `diffusion-${name}`;
const element = document.createElement(tag);
// An address must not make a reader's browser load what nobody asked for.
for (const attribute of Object.keys(ATTRIBUTES[tag])) {
  const value = given.get(attribute);
  if (value !== null && !UNASKED.includes(attribute)) element.setAttribute(attribute, value);
}
if (tag === 'diffusion-sampler' && !element.hasAttribute('src')) element.setAttribute('src', './models/pixel-faces-16/');
document.querySelector('main')?.replaceChildren(element);

// The page around may fit its frame to this: see docs/embedding.md.
new ResizeObserver(() => {
  const height = Math.ceil(document.documentElement.getBoundingClientRect().height);
  if (parent !== window) parent.postMessage({ type: 'noiseball-height', height }, '*');
}).observe(document.documentElement);
