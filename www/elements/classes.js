// A model's classes, and what the attribute `label` makes of them.

import { name as shown } from '../text.js';

/**
 * What can be chosen: any class where the model knows what that is, one of each, or one.
 * @returns {{value: string, text: string}[]} empty for a model without classes
 */
export function choicesOf({ classes, nullLabel, labels }) {
  const numbers = Array.from({ length: classes ?? 0 }, (_, i) => i).filter((i) => i !== nullLabel);
  if (numbers.length === 0) return [];
  return [
    ...(nullLabel === null ? [] : [{ value: 'any', text: 'Any' }]),
    { value: 'each', text: 'One of each' },
    ...numbers.map((i) => ({ value: String(i), text: shown(labels?.[i] ?? `Class ${i}`) })),
  ];
}

/** The choice that an attribute's text names, by its value or its class's name; undefined where there is none. */
export function choiceOf(choices, text) {
  return choices.find(({ value }) => value === text) ?? choices.find((choice) => choice.text === text);
}

/** The class numbers of a batch. */
export function labelsOf({ nullLabel }, choices, value, batch) {
  if (value === 'any') return Array(batch).fill(nullLabel);
  if (value !== 'each') return Array(batch).fill(Number(value));
  const numbers = choices.filter(({ value }) => /^\d+$/.test(value)).map(({ value }) => Number(value));
  return Array.from({ length: batch }, (_, i) => numbers[i % numbers.length]);
}
