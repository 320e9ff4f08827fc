// What the model is and where it runs.

import { byId } from './page.js';
import { amount, deviceSentence } from './words.js';

export function showFacts(info) {
  const facts = [
    ['Name', info.name],
    ['Pictures', `${info.width} × ${info.height} pixels, ${info.channels === 1 ? 'grey' : `${info.channels} channels`}`],
    ['Weights', amount(info.parameters)],
    ['Work for one step', `${amount(info.flops)} operations a picture`],
    ['Trained with', `${info.scheduler}, ${info.trainTimesteps} timesteps`],
  ];
  const cells = facts.flatMap(([term, detail]) => [element('dt', term), element('dd', detail)]);
  byId('facts').replaceChildren(...cells);
  byId('device-report').textContent = deviceSentence(info.device);
  const notes = [...info.notes, ...unknown(info.unknownKeys)];
  byId('notes').replaceChildren(...notes.map((note) => element('li', note)));
  byId('notes').hidden = notes.length === 0;
}

function unknown(keys) {
  if (keys.length === 0) return [];
  const more = keys.length > 3 ? ` and ${keys.length - 3} others` : '';
  return [`The files hold what is not used here: ${keys.slice(0, 3).join(', ')}${more}.`];
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
