// Taking something away: the grid as a PNG, and a link that restores every setting.

import { announce, byId, flash } from './page.js';
import { tell } from './notice.js';
import { writeHash } from './state.js';

export async function savePng(stage, name, seed) {
  const blob = await stage.toBlob();
  if (!blob) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `${name.replace(/[^\w.-]+/g, '-')}-seed-${seed}.png`;
  link.click();
  // The download has its own hold on the blob by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  announce('Picture saved.');
}

/** Puts the link in the clipboard; where that is refused, in the address bar only, and says so. No link leads to a reader's own files. */
export async function copyLink(state, source) {
  if (source?.kind === 'files') {
    return tell(
      'No link was copied.',
      'This model is in files on your device, which no link can reach. Put its folder on a web server or on Hugging Face, load it from there, and copy the link then',
    );
  }
  const link = new URL(writeHash(state), location.href).href;
  let said = 'Link copied';
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    history.replaceState(history.state, '', link);
    said = 'Copy it from the address bar';
  }
  announce(`${said}.`);
  flash(byId('link'), said);
}
