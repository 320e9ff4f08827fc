// The chosen sampler's own options, as the table of samplers lists them: a control each, and one text of all for the link.

import { SAMPLERS } from '../samplers.js';
import { byId, fillSelect } from './page.js';

/** The options of a sampler but η, which has a control of its own. */
function optionsOf(sampler) {
  return SAMPLERS.find(({ name }) => name === sampler).options.filter(({ name }) => name !== 'eta');
}

/** What `model.sample` takes of a link's text, `solverOrder=3,grid=karras`: what this sampler has, where it can be so. */
export function readOptions(sampler, text) {
  const given = new Map(text.split(',').map((pair) => /** @type {[string, string]} */ (pair.split('=', 2))));
  const read = (option) => [option.name, valueIn(option, given.get(option.name))];
  return Object.fromEntries(
    optionsOf(sampler)
      .map(read)
      .filter(([, value]) => value !== undefined),
  );
}

function valueIn({ type, choices, min, max }, text) {
  if (!text) return undefined;
  if (type === 'choice') return choices.includes(text) ? text : undefined;
  if (type === 'flag') return { true: true, false: false }[text];
  const number = Number(text);
  const fits = number >= (min ?? -Infinity) && number <= max && (type === 'real' || Number.isInteger(number));
  return fits ? number : undefined;
}

/** Fills the form with controls for the sampler's options; `changed` is given the text of all. */
export function showOptions(sampler, text, changed) {
  const chosen = readOptions(sampler, text);
  const field = (option) => {
    const control = option.type === 'choice' || option.type === 'flag' ? menu(option) : number(option);
    control.value = String(chosen[option.name] ?? '');
    control.addEventListener('input', () => {
      const value = valueIn(option, control.value);
      if (control.value !== '' && value === undefined) return;
      if (value === undefined) delete chosen[option.name];
      else chosen[option.name] = value;
      const pairs = Object.entries(chosen);
      changed(pairs.map(([name, value]) => `${name}=${value}`).join(','));
    });
    const label = document.createElement('label');
    label.textContent = option.doc;
    label.append(control);
    label.className = 'field';
    return label;
  };
  byId('sampler-options').replaceChildren(...optionsOf(sampler).map(field));
}

/** The first choice leaves it to the model's files, and to the sampler's default where they say nothing. */
function menu({ type, choices, default: usual }) {
  const select = document.createElement('select');
  const names = type === 'flag' ? ['true', 'false'] : choices;
  const shown = (name) => ({ value: name, text: type === 'flag' ? { true: 'Yes', false: 'No' }[name] : name });
  fillSelect(select, [{ value: '', text: `As the model says, else ${shown(String(usual)).text}` }, ...names.map(shown)]);
  return select;
}

function number({ type, min, max, default: usual }) {
  const input = document.createElement('input');
  Object.assign(input, { type: 'number', inputMode: 'decimal', max, step: type === 'whole' ? 1 : 'any' });
  if (min !== null) input.min = min;
  input.placeholder = `as the model says, else ${usual ?? '−∞'}`;
  return input;
}
