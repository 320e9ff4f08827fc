// The look that the elements share, mixed from the page's own text colour.

export const STYLE = `
:host {
  --accent: var(--noiseball-accent, light-dark(#0b6e69, #5cc4bb));
  --on-accent: var(--noiseball-on-accent, light-dark(#fff, #0d1f1e));
  --line: color-mix(in srgb, currentColor 28%, transparent);
  --well: var(--noiseball-poster-color, color-mix(in srgb, currentColor 8%, transparent));
  --radius: var(--noiseball-radius, 6px);
  display: block;
  max-width: 32rem;
  font: 1rem/1.4 system-ui, sans-serif;
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
button, input, select {
  min-height: 2.5rem;
  max-width: 100%;
  margin: 0;
  border: 1px solid var(--line);
  border-radius: 6px;
  padding: .25rem .7rem;
  background: transparent;
  color: inherit;
  font: inherit;
}
button { cursor: pointer; }
button:hover { border-color: currentColor; }
option { background: Canvas; color: CanvasText; }
.primary { border-color: var(--accent); background: var(--accent); color: var(--on-accent); font-weight: 600; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
input[type=range] { width: 100%; min-width: 0; min-height: 2rem; padding: 0; border: 0; accent-color: var(--accent); }
input[type=checkbox] { min-height: 0; width: 1.15rem; height: 1.15rem; accent-color: var(--accent); }
svg { display: block; }
p { margin: 0; }
.hint { font-size: .875rem; opacity: .8; }
.row { display: flex; flex-wrap: wrap; align-items: end; gap: .5rem .75rem; }
.field { display: grid; gap: .125rem; flex: 1 1 8rem; min-width: 0; font-size: .875rem; }
.field :is(input, select) { width: 100%; font-size: 1rem; }
.moment { font-size: .875rem; font-variant-numeric: tabular-nums; }
[part=controls] { display: grid; gap: .5rem; margin-top: .625rem; }
[part=error] { margin-top: .625rem; border: 1px solid; border-inline-start-width: 4px; border-radius: 4px; padding: .625rem .875rem; overflow-wrap: anywhere; }
[part=error] button { margin-top: .5rem; }
[part=error] details { margin-top: .25rem; font-size: .875rem; }
.space { aspect-ratio: 1; }
.fallback { display: none; }
@media print {
  button, input, select, .row, .switch, .hint, [part=error], [part=progress-bar] { display: none !important; }
}
`;
