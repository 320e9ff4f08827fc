// A model's classes: what can be chosen, and which numbers a choice is. `info` is the model's.

import { name as shown } from '../text.js';

const ANY = { value: 'any', text: 'Any' };
const EACH = { value: 'each', text: 'One of each' };
const MENU = 256; // classes; a menu of more can be neither read nor made in time, so that their number is typed

/** How many classes there are, without the one that means any. */
function countOf({ classes, nullLabel }) {
  return (classes ?? 0) - (nullLabel != null && nullLabel < classes ? 1 : 0);
}

/** The choices beside single classes: any class where the model knows what that is, and one of each. */
function commonChoices(info) {
  return countOf(info) > 0 ? [...(info.nullLabel == null ? [] : [ANY]), EACH] : [];
}

/** Whether the classes are few enough for a menu. */
export function hasMenu(info) {
  return (info.classes ?? 0) <= MENU;
}

/** A class's name. */
export function nameOf({ labels }, label) {
  return shown(labels?.[label] ?? `Class ${label}`);
}

/**
 * What a menu offers: single classes by their names only where these are not too many.
 * @returns {{value: string, text: string}[]} empty for a model without classes
 */
export function choicesOf(info) {
  const count = hasMenu(info) && countOf(info) > 0 ? info.classes : 0;
  const single = Array.from({ length: count }, (_, i) => ({ value: String(i), text: nameOf(info, i) }));
  return [...commonChoices(info), ...single.filter((_, i) => i !== info.nullLabel)];
}

/** The choice that a text names, by its value or its class's name; undefined where there is none. */
export function choiceOf(info, text) {
  const number = /^(0|[1-9]\d*)$/.test(text) ? Number(text) : -1;
  if (number >= 0 && number < (info.classes ?? 0) && number !== info.nullLabel) return { value: text, text: nameOf(info, number) };
  const choices = choicesOf(info);
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
