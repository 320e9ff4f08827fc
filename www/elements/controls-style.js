// The look of controls in rows, which come once an element is asked for something.

export const CONTROLS_STYLE = `
option { background: Canvas; color: CanvasText; }
.row { display: flex; flex-wrap: wrap; align-items: end; gap: .5rem .75rem; }
.field { display: grid; gap: .125rem; flex: 1 1 8rem; min-width: 0; font-size: .875rem; }
.field :is(input, select) { width: 100%; font-size: 1rem; }
.dice { flex: none; width: 2.5rem; padding: 0 .5rem; }
.dice svg { fill: none; stroke: currentColor; stroke-width: 1.6; }
.dice circle { fill: currentColor; stroke: none; }
.seed { display: flex; flex: 1 1 10rem; align-items: end; gap: .375rem; min-width: 0; }
`;
