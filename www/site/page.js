// Small helpers over the document. The site imports of the package what any other page can, its entries: a test says so.

/** @type {(id: string) => any} the element, of whatever kind it is there */
export const byId = (id) => document.getElementById(id);

/** Fills a <select> with {value, text} choices and selects one, the first unless told. */
export function fillSelect(select, choices, selected = choices[0].value) {
  select.replaceChildren(...choices.map(({ value, text }) => new Option(text, value)));
  select.value = selected;
}

/** Says something to screen readers, once they are done with what they say now. */
export function announce(text) {
  byId('live').textContent = text;
}

/** Switches a button on or off without taking the keyboard's focus from it; its handler checks for itself. */
export function setEnabled(button, enabled) {
  button.setAttribute('aria-disabled', String(!enabled));
}

/** Lets a button say for a moment what it did. */
export function flash(button, text) {
  button.dataset.name ??= button.textContent;
  button.textContent = text;
  setTimeout(() => (button.textContent = button.dataset.name), 2500);
}
