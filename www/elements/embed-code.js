// What an author puts into a page to show an element there: as text.

import { withoutSecrets } from '../text.js';

/** The elements, as embed.html names them. */
export const EMBEDDED = ['sampler', 'trainer', 'process'];

/** Attributes that load or run something before a reader asks. */
export const UNASKED = ['loading', 'reveal'];

/** Stands for a model that has no address. */
const NO_ADDRESS = './my-model/';

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes without defaults; `src` as the page has it, or '' for a model in files
 * @param {string} base what a relative `src` is relative to
 * @param {string} folder address of the package's folder www/
 * @returns {{lines: string, frame: string, settings: string}} the script and the element; an iframe; the attributes as JSON
 */
export function embedCode(tag, attributes, base, folder) {
  const named = Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [name, name === 'src' ? addressOf(String(value), base) : String(value)]),
  );
  const text = Object.entries(named)
    .map(([name, value]) => ` ${name}="${escaped(value)}"`)
    .join('');
  const page = new URL('embed.html', folder);
  const element = tag.replace('diffusion-', '');
  if (element !== EMBEDDED[0]) page.searchParams.set('element', element);
  for (const [name, value] of Object.entries(named)) page.searchParams.set(name, value);
  const title = escaped(named.alt || 'A diffusion model that runs in this page');
  return {
    lines: `<script type="module" src="${escaped(new URL('elements.js', folder).href)}"></script>\n<${tag}${text}></${tag}>`,
    frame: `<iframe src="${escaped(page.href)}" title="${title}" width="100%" height="760" loading="lazy" style="border: 0"></iframe>`,
    settings: JSON.stringify(named, null, 2),
  };
}

function addressOf(src, base) {
  if (src.startsWith('hf:')) return src;
  if (src === '') return NO_ADDRESS;
  try {
    return withoutSecrets(new URL(src, base).href.split(/[?#]/, 1)[0]);
  } catch {
    return NO_ADDRESS;
  }
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
