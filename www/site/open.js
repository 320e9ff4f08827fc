// The reader's own checkpoints: dropped anywhere on the page, chosen, or named by an address.

import { resolveSource } from '../noiseball.js';
import { withoutSecrets } from '../words.js';
import { byId } from './page.js';

/** What a reader types, or a link has: there `org/name` is a model on the hub, as people copy such names. A folder of two parts begins with `./`. */
export function typed(text) {
  return /^\w[\w.-]*\/\w[\w.-]*$/.test(text) ? `hf:${text}` : text;
}

/** `open(source)` gets a promise of what `Noiseball.load` takes; `address` is set where it can be linked to. */
export function listenForSources(open) {
  listenForDrops(open);
  for (const [button, input] of [
    ['open-folder', 'folder-input'],
    ['open-files', 'files-input'],
  ]) {
    byId(button).addEventListener('click', () => byId(input).click());
    byId(input).addEventListener('change', () => {
      const files = [...byId(input).files];
      byId(input).value = ''; // so that choosing the same files again is a change
      if (files.length > 0) open(resolveSource(files), '');
    });
  }
  byId('address-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const address = typed(byId('address').value.trim());
    open(resolveSource(address, document.baseURI), address);
  });
}

function listenForDrops(open) {
  const overlay = byId('drop');
  let depth = 0; // dragenter and dragleave come for every element on the way
  const show = (change) => {
    depth = Math.max(0, change === 0 ? 0 : depth + change);
    overlay.hidden = depth === 0;
  };
  const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
  window.addEventListener('dragenter', (event) => carriesFiles(event) && show(1));
  window.addEventListener('dragleave', (event) => carriesFiles(event) && show(-1));
  window.addEventListener('dragover', (event) => carriesFiles(event) && event.preventDefault());
  window.addEventListener('drop', (event) => {
    show(0);
    if (!carriesFiles(event)) return;
    event.preventDefault();
    open(resolveSource(event.dataTransfer), '');
  });
}

/** Where an address leads: its host, and the folder without anything secret; or null for this site's own. */
export function foreignFolder(source) {
  if (source.kind !== 'url') return null;
  const url = new URL(source.url);
  return url.origin === location.origin ? null : { host: url.host, address: withoutSecrets(url.href) };
}
