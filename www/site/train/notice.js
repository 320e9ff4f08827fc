// What went wrong in training, and what screen readers hear of it.

import { byId } from '../page.js';
import { sentence } from '../notice.js';
import { TITLES } from '../words.js';

export function showProblem(error) {
  if (error.type === 'aborted') return;
  tell(error.title ?? TITLES[error.type] ?? 'Something went wrong.', error.message);
}

export function tell(title, text) {
  byId('train-notice-title').textContent = title;
  byId('train-notice-text').textContent = sentence(text);
  byId('train-notice').hidden = false;
}

export function hideProblem() {
  byId('train-notice').hidden = true;
}

export function announceTraining(text) {
  byId('train-live').textContent = text;
}
