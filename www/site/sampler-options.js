// The chosen sampler's own options, as the table of samplers lists them: a control and a sentence each.

import { readSamplerOptions, writeSamplerOptions } from '../noiseball.js';
import { byId, fillSelect } from './page.js';

/** Fills the form with controls for these options of that sampler, set as `text` says; `changed` is given the text of all. */
export function showOptions(options, sampler, text, changed) {
  const chosen = readSamplerOptions(sampler, text);
  const field = (option) => {
    const control = { choice: menu, flag: menu, list }[option.type]?.(option) ?? number(option);
    control.id = `option-${option.name}`;
    control.value = [chosen[option.name] ?? ''].flat().join(' ');
    control.addEventListener('change', () => {
      const read = readSamplerOptions(sampler, `${option.name}=${control.value}`);
      if (control.value !== '' && !(option.name in read)) return control.reportValidity?.();
      if (control.value === '') delete chosen[option.name];
      Object.assign(chosen, read);
      changed(writeSamplerOptions(chosen));
    });
    const label = document.createElement('label');
    label.textContent = `${option.doc}.`;
    label.append(control);
    label.className = 'field';
    return label;
  };
  byId('sampler-options').replaceChildren(...options.map(field));
}

/** The first choice leaves it to the model's files, and to the sampler's default where they say nothing. */
function menu({ type, choices, default: usual }) {
  const select = document.createElement('select');
  const names = type === 'flag' ? ['true', 'false'] : choices;
  const shown = (name) => ({ value: name, text: type === 'flag' ? { true: 'Yes', false: 'No' }[name] : name });
  fillSelect(select, [{ value: '', text: `As the model says, else ${shown(String(usual)).text}` }, ...names.map(shown)]);
  return select;
}

function list({ whole }) {
  const input = document.createElement('input');
  return Object.assign(input, {
    type: 'text',
    inputMode: 'decimal',
    placeholder: `as many as there are steps, such as ${whole ? '999 499 249' : '20 3 0.5'}`,
  });
}

function number({ type, min, max, default: usual }) {
  const input = document.createElement('input');
  Object.assign(input, { type: 'number', inputMode: 'decimal', max, step: type === 'whole' ? 1 : 'any' });
  if (min !== null) input.min = min;
  input.placeholder = `as the model says, else ${usual ?? '−∞'}`;
  return input;
}
