// A model's classes: what can be chosen, and which numbers a choice is. `info` is the model's.

import { name as shown } from '../text.js';

const ANY = { value: 'any', text: 'Any' };
const EACH = { value: 'each', text: 'One of each' };

/** How many classes there are, without the one that means any. */
function countOf({ classes, nullLabel }) {
  return (classes ?? 0) - (nullLabel != null && nullLabel < classes ? 1 : 0);
}

/** The choices beside single classes: any class where the model knows what that is, and one of each. */
export function commonChoices(info) {
  return [...(info.nullLabel == null ? [] : [ANY]), ...(countOf(info) > 0 ? [EACH] : [])];
}

/** The single classes, by their names. */
export function classChoices({ classes, nullLabel, labels }) {
  return Array.from({ length: classes ?? 0 }, (_, i) => i)
    .filter((i) => i !== nullLabel)
    .map((i) => ({ value: String(i), text: shown(labels?.[i] ?? `Class ${i}`) }));
}

/**
 * All that can be chosen.
 * @returns {{value: string, text: string}[]} empty for a model without classes
 */
export function choicesOf(info) {
  return countOf(info) > 0 ? [...commonChoices(info), ...classChoices(info)] : [];
}

/** The choice that an attribute's text names, by its value or its class's name; undefined where there is none. */
export function choiceOf(choices, text) {
  return choices.find(({ value }) => value === text) ?? choices.find((choice) => choice.text === text);
}

/** The class numbers of a batch, for a choice's value. */
export function labelsOf(info, value, batch) {
  const { nullLabel } = info;
  if (value === ANY.value) return Array(batch).fill(nullLabel);
  if (value !== EACH.value) return Array(batch).fill(Number(value));
  // One of each in turn, past the one that means any.
  const count = countOf(info);
  return Array.from({ length: batch }, (_, i) => (i % count) + (nullLabel !== null && i % count >= nullLabel ? 1 : 0));
}
