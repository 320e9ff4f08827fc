// The look of <diffusion-trainer> once it trains.

export const TRAINING_STYLE = `
canvas { image-rendering: pixelated; }
figure { margin: 0; min-width: 0; }
figcaption { margin-top: .25rem; font-size: .875rem; opacity: .8; }
[part=chart] { display: block; width: 100%; border-block-end: 1px solid var(--line); }
.measured, .smooth { fill: none; stroke: currentColor; stroke-width: 1; opacity: .4; }
.smooth { stroke: var(--accent); stroke-width: 2.5; opacity: 1; }
text { fill: currentColor; font-size: 11px; opacity: .8; }
[part=nearest] { display: block; width: 100%; max-height: 14rem; object-fit: contain; object-position: left; border-radius: var(--radius); }
.over { outline: 3px dashed var(--accent); outline-offset: -3px; }
@media (forced-colors: active) { .smooth { stroke: Highlight; } }
`;
