// The package's entry `noiseball/words`: what the elements, and the site, say of runs, devices, failures, sizes and times, for pages
// that show models themselves. Types are in words.d.ts.

export { percent } from './elements/element.js';
export { partsSentence, runSentence, speed } from './elements/training-words.js';
export { deviceSentence, failure, moment, progressOf } from './elements/words.js';
export { name as shown, withoutSecrets } from './text.js';
export { amount, bytes, duration, roughly } from './units.js';
