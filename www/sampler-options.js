// A sampler's own options in one text, `solverOrder=3,grid=karras` or `timesteps=999:499:249`, as links and attributes have them.

import { SAMPLERS } from './samplers.js';

const optionsOf = (sampler) => SAMPLERS.find(({ name }) => name === sampler)?.options ?? [];

/**
 * What `model.sample` takes of such a text: the options that this sampler has, where they can be so.
 * @param {string} sampler
 * @param {string} text
 * @returns {Record<string, string | number | boolean | number[]>}
 */
export function readSamplerOptions(sampler, text) {
  const given = new Map(text.split(',').map((pair) => /** @type {[string, string]} */ (pair.trim().split('=', 2))));
  const read = (option) => [option.name, valueIn(option, given.get(option.name)?.trim())];
  return Object.fromEntries(
    optionsOf(sampler)
      .map(read)
      .filter(([, value]) => value !== undefined),
  );
}

/** What such a text may say: of an option that the sampler has its values, else the names that there are. */
export function allowedOptions(sampler, name) {
  const options = optionsOf(sampler);
  const option = options.find((option) => option.name === name);
  if (!option) return options.map(({ name }) => name).join(', ') || `none, as ${sampler} has no options`;
  const { type, choices, min, max } = option;
  if (type === 'list') return `${name}= falling numbers with : between them`;
  if (type === 'choice') return `${name}= ${choices?.join(', ')}`;
  if (type === 'flag') return `${name}= true, false`;
  return `${name}= a ${type === 'whole' ? 'whole ' : ''}number ${min === null ? `up to ${max}` : `from ${min} to ${max}`}`;
}

function valueIn({ type, choices, min, max, whole }, text) {
  if (!text) return undefined;
  if (type === 'list') {
    const list = text.split(/ *: *| +/).map((n) => (n === '' ? Number.NaN : Number(n)));
    const falls = list.every((n, i) => n >= 0 && (i === 0 || n < list[i - 1]) && (!whole || Number.isInteger(n)));
    return falls ? list : undefined;
  }
  if (type === 'choice') return choices.includes(text) ? text : undefined;
  if (type === 'flag') return { true: true, false: false }[text];
  const number = Number(text);
  const fits = number >= (min ?? -Infinity) && number <= max && (type === 'real' || Number.isInteger(number));
  return fits ? number : undefined;
}

/** The text of such options. */
export function writeSamplerOptions(options) {
  return Object.entries(options)
    .map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(':') : value}`)
    .join(',');
}
