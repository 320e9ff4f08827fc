// Taking something away: the grid as a PNG, and a link that restores every setting.

import { announce, byId, flash } from './page.js';
import { writeHash } from './state.js';

export async function savePng(player, name, seed) {
  const blob = await player.toBlob();
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `${name.replace(/[^\w.-]+/g, '-')}-seed-${seed}-step-${player.shown.index + 1}.png`;
  link.click();
  // The download has its own hold on the blob by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  announce('Picture saved.');
}

/** Puts the link in the clipboard; where that is refused, in the address bar only, and says so. */
export async function copyLink(state) {
  history.replaceState(null, '', writeHash(state));
  let said = 'Link copied';
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    said = 'Copy it from the address bar';
  }
  announce(`${said}.`);
  flash(byId('link'), said);
}
