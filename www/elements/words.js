// What the elements, and the site, say of runs, devices and failures.

import { bytes } from '../units.js';
import { percent } from './element.js';

// Why it is not the GPU: in short, and what may help.
const REASONS = {
  'insecure-context': [
    'this page came over plain http, where browsers hide the GPU',
    'Browsers offer WebGPU to secure pages only. Open the page over https or from localhost to use the GPU.',
  ],
  'no-webgpu': ['this browser has no WebGPU', 'A current Chrome, Edge, Firefox or Safari may have it.'],
  'no-adapter': [
    'your browser found no usable GPU',
    'The browser has WebGPU, but no graphics adapter that it may use. Graphics drivers or a setting may block it.',
  ],
  'software-adapter': [
    'this computer has only a software GPU',
    'Its only graphics adapter is a program on the CPU, which would be slower.',
  ],
  'wrong-results': [
    'this GPU computes wrong pictures here',
    'A small network was run on it and on the CPU, and the two differ. A newer browser or graphics driver may help.',
  ],
  limit: ['the model is too large for this GPU', 'A smaller batch or model may fit.'],
  'out-of-memory': ['the GPU has too little free memory', 'Closing other tabs and programs may help. So may a smaller batch.'],
};

/** Which device runs, and why not the GPU: a sentence, and what more there is to say of it. */
export function deviceSentence({ kind, name, reason }) {
  if (kind === 'gpu') return { sentence: `Running on the GPU: ${name}.`, more: '' };
  if (!reason) return { sentence: 'Running on the CPU.', more: '' };
  const [why, more] = REASONS[reason] ?? [reason, ''];
  return { sentence: `Running on the CPU: ${why}.`, more };
}

/** Why there are fewer pictures than the page wants; nothing where there are as many. */
export function fewerSentence(wanted, batch, { budget }) {
  if (batch >= wanted) return '';
  return `Draws ${batch} of ${wanted} pictures: more at a time would need more memory than a tab may take on this device, ${bytes(budget)}.`;
}

/** Which state of a run is shown. `noise` is what is left in it; null where nobody knows, after a run that was stopped. */
export function moment({ index, total, noise }) {
  const step = `Step ${index} of ${total}`;
  if (index === total) return `${step}: finished`;
  if (index === 0) return `${step}: pure noise`;
  return noise === null ? `${step}: stopped here` : `${step} · noise left: ${percent(noise)}`;
}

// What a reader of a page is told of a failure; the error's own message is for whoever can mend it.
const FAILURES = {
  'insecure-context': 'This page may not use the GPU, and was told to use nothing else.',
  'no-webgpu': 'This browser has no WebGPU, and the page wants nothing else.',
  'no-adapter': 'This browser found no usable GPU, and the page wants nothing else.',
  'wrong-results': 'This GPU computes wrong pictures, and the page wants nothing else.',
  limit: 'The model is too large for this GPU.',
  'out-of-memory': 'There is too little memory for this model.',
  'device-lost': 'The GPU was taken away, or the program stopped.',
  checkpoint: 'The model’s files are incomplete or damaged.',
  'unsupported-architecture': 'This kind of model is not supported.',
  'invalid-option': 'A setting of this model is wrong.',
  dataset: 'There is nothing here to train on.',
  diverged: 'The training went wrong: its numbers grew beyond all bounds.',
  'content-security-policy': 'This page’s own rules do not allow it.',
};

/** A failure in one short sentence; `what` could not be downloaded. */
export function failure({ type }, online = true, what = 'model') {
  if (type !== 'fetch') return FAILURES[type] ?? 'Something went wrong.';
  return online ? `The ${what} could not be downloaded.` : `You are offline, so the ${what} cannot be downloaded.`;
}

/**
 * How far a load is: nine tenths for the download. What is small comes first and is complete before the size of the weights is known;
 * until then, and where a server does not say how long they are, the bar only shows that something comes.
 */
export function progressOf({ stage, loaded, total, file }) {
  if (stage === 'compile') return 0.95;
  if (stage === 'sample') return loaded / total;
  const weights = /\.(safetensors|bin)$/.test(file ?? '');
  return 0.9 * (weights && total ? loaded / total : loaded / (loaded + 2e7));
}
