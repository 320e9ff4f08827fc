// The dialog that hands out what an author needs to show an element in a page. The elements' own Embed button opens it, and so does
// the site's.

import { ATTRIBUTES } from './attributes.js';
import { addStyle, h, STYLE } from './element.js';
import { resolveSource } from '../source.js';
import { embedCode, UNASKED } from './embed-code.js';

const LOOK = `
:host { max-width: none; }
dialog { width: min(44rem, 100vw - 1.5rem); max-height: calc(100dvh - 1.5rem); overflow: auto; border: 1px solid var(--line); border-radius: 8px; padding: 1rem; background: Canvas; color: CanvasText; }
dialog::backdrop { background: rgb(0 0 0 / .5); }
h2 { margin: 0 0 .25rem; font-size: 1.25rem; }
.part { display: grid; gap: .25rem; margin-top: .75rem; }
.part label { font-weight: 600; }
textarea { width: 100%; border: 1px solid var(--line); border-radius: 6px; padding: .5rem; background: transparent; color: inherit; font: .8125rem/1.4 ui-monospace, monospace; resize: vertical; overflow-wrap: anywhere; }
.part button { justify-self: start; min-width: 6rem; }
.close { margin-top: 1rem; }
`;

/** Of a package that is not in a bundle, where its folder is. */
const FOLDER = import.meta.url.endsWith('/elements/embed.js') ? new URL('../', import.meta.url).href : 'https://cdn.example/noiseball/';

/** The attributes that an element has and that are worth handing on; `src` is '' where its model has no address of its own. */
async function attributesOf(element) {
  const names = Object.keys(ATTRIBUTES[element.localName]).filter((name) => element.hasAttribute(name) && !UNASKED.includes(name));
  const attributes = Object.fromEntries(names.map((name) => [name, element.getAttribute(name)]));
  const { model, source } = element;
  if (!model && !source) return attributes;
  const from = model
    ? (await Promise.resolve(model).catch(() => null))?.source
    : await resolveSource(source, document.baseURI).catch(() => null);
  return { ...attributes, src: from?.kind === 'url' ? from.url : '' };
}

/** Opens the dialog for an element; resolves when it is closed. */
export async function openEmbed(element) {
  const attributes = await attributesOf(element);
  const { lines, frame, settings } = embedCode(element.localName, attributes, document.baseURI, FOLDER);
  const host = document.createElement('div');
  const root = host.attachShadow({ mode: 'open' });
  addStyle(root, STYLE);
  addStyle(root, LOOK);
  const live = h('p', { class: 'hint', role: 'status' });
  const close = h('button', { type: 'button', class: 'close primary' }, 'Close');
  const heading = h('h2', { id: 'title', tabindex: -1, autofocus: true }, 'Put this in your page');
  const dialog = h(
    'dialog',
    { 'aria-labelledby': 'title' },
    heading,
    h('p', { class: 'hint' }, 'Nothing is downloaded until a reader presses the button.'),
    ...(attributes.src === ''
      ? [h('p', {}, 'This model is in files on your device. Put its folder beside your page, here as my-model, or anywhere on the web.')]
      : []),
    part('In HTML: two lines', lines, live),
    part('Where scripts are not allowed: an iframe', frame, live),
    part('The settings', settings, live),
    live,
    close,
  );
  root.append(dialog);
  document.body.append(host);
  dialog.showModal();
  await new Promise((resolve) => {
    close.addEventListener('click', () => dialog.close());
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close()); // outside
    dialog.addEventListener('close', () => {
      host.remove();
      resolve(undefined);
    });
  });
}

function part(title, text, live) {
  const field = h('textarea', { readonly: true, rows: Math.min(8, text.split('\n').length + 2), spellcheck: 'false' });
  field.value = text;
  const copy = h('button', { type: 'button', 'aria-label': `Copy. ${title}` }, 'Copy');
  copy.addEventListener('click', async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(text);
      live.textContent = 'Copied.';
    } catch {
      live.textContent = 'Your browser does not let this page copy. The text is selected: copy it with the keyboard.';
    }
  });
  return h('div', { class: 'part' }, h('label', {}, title, field), copy);
}
