// The nudge to the origin: the same noise with it and without it, and the variance measured beside the formula.

import { moments, STEPS } from '../../forward.js';
import { Figure, picture, toggle } from '../figure.js';
import { Plane } from '../plot.js';
import { randomOf } from '../random.js';
import { grid, drawFrom } from '../mixture.js';
import { diffuse, varianceAfter } from '../steps.js';

const COUNT = 40_000; // enough that chance moves the variance by no more than a hundredth or so
const SHOWN = 1500;
const AT_ONCE = 10;
const MOST = 12; // of the chart's variance

/** A run of the process: values of variance 1, and what their variance is after every tenth step. */
export function* nudged(on) {
  const { uniform, normal } = randomOf(4);
  const values = drawFrom(grid(), COUNT, uniform, normal);
  const { mean, variance } = moments(values);
  for (let i = 0; i < values.length; i++) values[i] = (values[i] - mean) / Math.sqrt(variance);
  yield { values, step: 0, variance: 1 };
  for (let step = 0; step < STEPS; ) {
    diffuse(values, step, step + AT_ONCE, on, normal);
    step += AT_ONCE;
    yield { values, step, variance: moments(values).variance };
  }
}

export function nudge(place) {
  const canvas = picture('Points with noise');
  const chart = picture('Variance after each step');
  chart.setAttribute('aria-hidden', 'true'); // its numbers are in the sentence
  const plane = new Plane(canvas);
  const axes = new Plane(chart);
  let on = true;
  let now = { values: new Float32Array(), step: 0, variance: 1 };
  let measured = [];
  const control = toggle('Nudge to the origin', on, (value) => {
    on = value;
    figure.restart();
  });
  const figure = new Figure(place, [canvas, chart], [control], {
    rate: STEPS / AT_ONCE / 4,
    stride: 10,
    run() {
      const states = nudged(on);
      const take = (state) => {
        now = state;
        measured.push(state.variance);
      };
      measured = [];
      take(states.next().value);
      return (function* () {
        for (const state of states) {
          take(state);
          if (state.step < STEPS) yield;
        }
      })();
    },
    draw() {
      plane.clear();
      plane.points(now.values, { to: SHOWN });
      curve(axes, measured, on);
    },
    say() {
      const formula = on ? 'ᾱ + (1 − ᾱ)' : '1 + Σβ';
      return `Step ${now.step} of ${STEPS}. Variance: measured ${now.variance.toFixed(3)}, by the formula ${formula} = ${varianceAfter(now.step, on).toFixed(3)}.`;
    },
  });
  return figure;
}

/** The measured variances as dots on the formula's line. */
function curve(plane, measured, on) {
  plane.clear();
  const { context, colours, canvas } = plane;
  const side = canvas.width;
  const [left, right, top, bottom] = [side * 0.14, side * 0.9, side * 0.06, side * 0.86];
  const x = (step) => left + ((right - left) * step) / STEPS;
  const y = (variance) => bottom - ((bottom - top) * Math.min(variance, MOST)) / MOST;
  context.font = `${Math.round((side / canvas.clientWidth) * 12)}px system-ui, sans-serif`;
  context.fillStyle = colours.soft;
  context.strokeStyle = colours.line;
  context.lineWidth = side / 450;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (const variance of [1, 4, 8, 12]) {
    context.fillText(String(variance), left - side * 0.02, y(variance));
    context.beginPath();
    context.moveTo(left, y(variance));
    context.lineTo(right, y(variance));
    context.stroke();
  }
  context.textBaseline = 'top';
  context.textAlign = 'center';
  for (const step of [0, 500, 1000]) context.fillText(step === 500 ? 'steps' : String(step), x(step), bottom + side * 0.02);
  context.textAlign = 'left';
  context.fillText('variance', left + side * 0.02, top + side * 0.01);
  context.strokeStyle = colours.ink;
  context.beginPath();
  for (let step = 0; step <= STEPS; step += AT_ONCE) context.lineTo(x(step), y(varianceAfter(step, on)));
  context.stroke();
  context.fillStyle = colours.accent;
  for (const [i, variance] of measured.entries()) {
    context.beginPath();
    context.arc(x(i * AT_ONCE), y(variance), side / 110, 0, 2 * Math.PI);
    context.fill();
  }
}
