// The look of <diffusion-sampler>.

export const SAMPLER_STYLE = `
[part=frame] { position: relative; display: grid; aspect-ratio: 1; overflow: hidden; border-radius: var(--radius); background: var(--well); }
[part=frame] > * { grid-area: 1 / 1; min-width: 0; min-height: 0; z-index: 0; }
.poster, [part=poster], [part=canvas] { display: block; width: 100%; height: 100%; object-fit: contain; }
::slotted([slot=poster]) { display: block; width: 100% !important; height: 100% !important; object-fit: contain; }
canvas[part=poster] { image-rendering: pixelated; opacity: .55; }
.start { place-self: center; display: flex; align-items: center; gap: .5rem; min-height: 3.25rem; padding: 0 1.5rem; border-radius: 2rem; font-size: 1.25rem; box-shadow: 0 2px 12px rgb(0 0 0 / .35); }
.start svg { width: 1rem; fill: currentColor; }
.bar { align-self: end; height: .5rem; }
progress { display: block; width: 100%; height: 100%; accent-color: var(--accent); }
.idle { min-height: 2lh; margin-top: .375rem; }
.live { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.toggle { min-width: 5.5rem; }
.dice { flex: none; width: 2.5rem; padding: 0 .5rem; }
.dice svg { fill: none; stroke: currentColor; stroke-width: 1.6; }
.dice circle { fill: currentColor; stroke: none; }
.seed { display: flex; flex: 1 1 10rem; align-items: end; gap: .375rem; min-width: 0; }
:host { position: relative; max-width: min(32rem, max(16rem, 100svh - 13rem)); }
@media print {
  .fallback { display: block; }
  .begun ~ .fallback { display: none; }
  canvas { print-color-adjust: exact; }
}
`;
