// The look of <diffusion-process>.

export const PROCESS_STYLE = `
:host { max-width: 44rem; container-type: inline-size; }
.views { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); align-items: start; gap: .5rem 1rem; }
.space { aspect-ratio: 2; margin-bottom: 12rem; }
figure { margin: 0; }
figcaption { margin-top: .25rem; font-size: .875rem; opacity: .8; }
canvas, [part=histogram] { display: block; width: 100%; aspect-ratio: 1; border-radius: var(--radius); background: var(--well); }
canvas.picture { aspect-ratio: auto; image-rendering: pixelated; }
.bars { fill: var(--accent); }
.normal { fill: none; stroke: currentColor; stroke-width: 2.5; }
.axis { stroke: currentColor; opacity: .5; }
text { fill: currentColor; font-size: 14px; text-anchor: middle; opacity: .8; }
.scrub { display: flex; align-items: center; gap: .75rem; }
.scrub input { flex: 1; }
.scrub button { min-width: 7rem; }
.numbers { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: 0 1rem; }
.formula { font: 1rem/1.4 ui-serif, Georgia, serif; font-variant-numeric: tabular-nums; }
.switch { display: flex; align-items: center; gap: .5rem; min-height: 2.5rem; }
@container (max-width: 28rem) { text { font-size: 22px; } .views { column-gap: .5rem; } figcaption { font-size: .8125rem; } }
@media (forced-colors: active) { .bars { fill: Highlight; forced-color-adjust: none; } }
@media print { canvas { print-color-adjust: exact; } }
`;
