// Warnings of attributes that an author should mend. Pages whose attributes are all right never load this.

import { ATTRIBUTES } from './attributes.js';
import { tokens } from './element.js';

/** Warns of an attribute's value that it cannot have, and names those that it can. */
export function check(element, name) {
  const { type, values = [], min, max, default: usual } = ATTRIBUTES[element.localName][name];
  const text = element.getAttribute(name);
  if (text === null) return; // taken away meanwhile
  const wrong = type === 'list' ? tokens(text).filter((token) => !values.includes(token)) : [text];
  const instead = type === 'list' || usual === null ? 'it is left out' : `“${usual}” is used instead`;
  warn(element, name, wrong.join(' '), instead, values.join(', ') || `a ${type === 'whole' ? 'whole ' : ''}number from ${min} to ${max}`);
}

/** Says on the console which value was not understood, what is used instead, and what is allowed. */
export function warn(element, name, value, instead, allowed) {
  console.warn(`<${element.localName}>: ${name}="${value}" is not possible; ${instead}. Allowed: ${allowed}.`);
}
