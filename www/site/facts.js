// What the model is.

import { amount, shown } from '../words.js';
import { byId } from './page.js';

export function showFacts(info) {
  const facts = [
    ['Name', shown(info.name)],
    ['Pictures', `${info.width} × ${info.height} pixels, ${colours(info.channels)}`],
    ['Weights', amount(info.parameters)],
    ['Cost of a step', `${amount(info.flops)} operations per picture`],
    ['Trained with', `${info.scheduler}, ${info.trainTimesteps} timesteps`],
  ];
  const cells = facts.flatMap(([term, detail]) => [element('dt', term), element('dd', detail)]);
  byId('facts').replaceChildren(...cells);
  const notes = [...info.notes, ...unknown(info.unknownKeys)];
  byId('notes').replaceChildren(...notes.map((note) => element('li', note)));
  byId('notes').hidden = notes.length === 0;
}

function colours(channels) {
  return { 1: 'grey', 3: 'colour' }[channels] ?? `${channels} channels`;
}

function unknown(keys) {
  if (keys.length === 0) return [];
  const more = keys.length > 3 ? ` and ${keys.length - 3} others` : '';
  return [`Ignored in these files: ${keys.slice(0, 3).map(shown).join(', ')}${more}.`];
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
