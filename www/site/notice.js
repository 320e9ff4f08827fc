// What went wrong, shown until it is dismissed or the next thing goes right. The page goes on working.

import { byId } from './page.js';
import { TITLES } from './words.js';

export function showError(error) {
  tell(error.title ?? TITLES[error.type] ?? 'Something went wrong.', error.message);
}

export function tell(title, text) {
  byId('notice-title').textContent = title;
  byId('notice-text').textContent = sentence(text);
  byId('notice').hidden = false;
}

export function clearNotice() {
  byId('notice').hidden = true;
}

byId('notice-close').addEventListener('click', () => {
  clearNotice();
  byId('link').focus();
});

/** A message as a sentence of its own; a file's name at its start stays as it is. */
export function sentence(message) {
  const text = /^[a-z]+ /.test(message) ? message.charAt(0).toUpperCase() + message.slice(1) : message;
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
