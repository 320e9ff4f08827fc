// The look of <diffusion-sampler>, beyond that of what runs at all, in idle.js.

/** Where there is the width for it, the controls stand beside the pictures. */
const SIDE = `
  .layout { display: grid; grid-template-columns: minmax(0, max(16rem, 2 * (100svh - 15.5rem) * var(--noiseball-aspect, 1))) minmax(10rem, 15rem); grid-template-rows: auto 1fr; gap: 0 1.5rem; align-items: start; }
  :host([guess=on]) .main { max-width: none; }
  [part=controls], .idle { grid-area: 1 / 2 / span 2; margin-top: 0; }
  [part=controls] .toggle { flex: 1 1 100%; min-height: 3.25rem; }
`;

export const SAMPLER_STYLE = `
figure { min-width: 0; margin: 0; }
.views { display: grid; gap: .5rem clamp(.5rem, 2vw, 1.25rem); }
.guess { display: none; }
:host([guess=on]) .views { grid-template-columns: 1fr 1fr; }
:host([guess=on]) .guess { display: block; }
figcaption { min-height: 2lh; margin-top: .25rem; font-size: .875rem; opacity: .85; }
figcaption b { margin-inline-end: .25em; font: 1.125em/1 ui-serif, Georgia, serif; }
figcaption sub { line-height: 0; }
.track { margin-top: .375rem; }
.moment { min-height: 1lh; }
.device { min-height: 2lh; }
.device :is(details, summary) { display: inline; }
.device summary { margin-inline: .5em; text-decoration: underline; cursor: pointer; }
:host(:not([guess=on])) figcaption { display: none; }
[part=frame] { --aspect: var(--noiseball-aspect, 1); aspect-ratio: var(--aspect); }
.pictures { position: relative; display: grid; place-self: center; max-width: 100%; max-height: 100%; container-type: size; }
.pictures > * { grid-area: 1 / 1; min-width: 0; min-height: 0; }
[part=canvas] { display: block; width: 100%; height: 100%; }
::slotted([slot=guess-poster]) { display: block; width: 100% !important; height: 100% !important; object-fit: contain; }
::slotted([slot=progress-bar]:not([hidden])) { display: block; }
.later { visibility: hidden; }
.toggle { min-width: 6.5rem; font-size: 1.125rem; }
.play { min-width: 5.5rem; }
.switch { display: flex; align-items: center; gap: .5rem; min-height: 2.5rem; font-size: .875rem; }
.field.speed { flex: 0 1 7rem; }
/* The place of what comes with sampling.js, where it comes at once. */
:host([guess=on]) .layout:not(.attached) .main::after { content: ""; display: block; height: 6.3rem; }
:host([guess=on]) .idle { min-height: 15.5rem; }
:host([guess=on]) { container-type: inline-size; max-width: 64rem; }
:host([guess=on]) .main { max-width: max(18rem, 2 * (100svh - 19rem) * var(--noiseball-aspect, 1)); }
@container (min-width: 40rem) {
${SIDE}}
@media (max-height: 34rem) { @container (min-width: 30rem) {
${SIDE}} }
`;
