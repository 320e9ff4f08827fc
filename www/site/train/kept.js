// The runs that this browser keeps: to continue, or to delete.

import { removeRun, runs } from '../../training.js';
import { byId } from '../page.js';
import { showProblem } from './notice.js';
import { keptSentence } from './words.js';

export class KeptRuns {
  #goOn;

  constructor({ goOn }) {
    this.#goOn = goOn;
  }

  /** Lists what there is. */
  async refresh() {
    const kept = await runs().catch(() => []); // a browser may keep nothing
    byId('kept').hidden = kept.length === 0 || byId('setup').hidden;
    byId('kept-list').replaceChildren(...kept.map((run) => this.#row(run)));
  }

  #row(run) {
    const row = document.createElement('li');
    const text = document.createElement('span');
    text.textContent = keptSentence(run);
    const open = button(run.step >= run.steps ? 'Open' : 'Continue', `: ${run.name}`, () => this.#goOn(run.id));
    const remove = button('Delete', `: ${run.name}`, async () => {
      if (remove.dataset.sure) {
        await removeRun(run.id).catch(showProblem);
        return this.refresh();
      }
      remove.dataset.sure = 'yes';
      remove.textContent = 'Really delete?';
      remove.setAttribute('aria-label', `Really delete ${run.name}?`);
    });
    open.classList.toggle('primary', run.step < run.steps);
    row.append(text, open, remove);
    return row;
  }
}

function button(text, more, click) {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.setAttribute('aria-label', text + more);
  made.addEventListener('click', click);
  return made;
}
