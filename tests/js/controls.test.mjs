// The settings form: what it offers of a model, and what it makes of the choice.

import assert from 'node:assert/strict';
import test from 'node:test';
import { installDocument } from './fake-document.mjs';
import { readHash } from '../../www/site/state.js';

const byId = installDocument();
const { Controls } = await import('../../www/site/controls.js');

function controlsFor(hash = '', info = {}) {
  installDocument();
  const changes = [];
  const state = readHash(hash);
  const controls = new Controls(state, (name) => changes.push([name, state[name]]));
  controls.setModel({ trainTimesteps: 500, ...info });
  return { state, controls, changes };
}

/** What a reader types into a control, or chooses there. */
function enter(control, text) {
  control.value = text;
  control.dispatch('change');
}

const optionOf = (doc) => byId('sampler-options').children.find(({ textContent }) => textContent === `${doc}.`)?.children[0];

test('a setting that is changed is told once; one that cannot be so is not', () => {
  const { changes } = controlsFor('#batch=5');
  assert.equal(byId('steps').max, 500);
  enter(byId('batch'), '7');
  enter(byId('batch'), '7');
  enter(byId('batch'), '65');
  enter(byId('steps'), '2.5');
  enter(byId('rng'), 'torch');
  assert.deepEqual(changes, [
    ['batch', 7],
    ['rng', 'torch'],
  ]);
});

test('every control has its sentence', () => {
  controlsFor();
  for (const name of ['batch', 'sampler', 'steps', 'guidance', 'rng', 'device'])
    assert.match(byId(`${name}-hint`).textContent, /^[A-Z].{10,}\.$/, name);
});

test('the options of a sampler are controls, and what the sampler has not is passed over', () => {
  const { state, controls } = controlsFor(
    `#sampler=dpm-multistep&options=${encodeURIComponent('solverOrder=3,grid=karras,eta=1,sChurn=2')}`,
  );
  const order = optionOf("The solver's order");
  assert.deepEqual([order.value, order.min, order.max], ['3', 1, 3]);
  for (const [typed, expected] of [
    ['2', 'solverOrder=2,grid=karras'],
    ['4', 'solverOrder=2,grid=karras'],
    ['1.5', 'solverOrder=2,grid=karras'],
    ['', 'grid=karras'],
  ]) {
    enter(order, typed);
    assert.equal(state.options, expected, typed);
  }
  assert.equal(optionOf("The solver's order"), order, 'the control that is typed into stays');
  Object.assign(state, { sampler: 'ddim', options: '' });
  controls.show();
  assert.equal(optionOf("The solver's order"), undefined);
  assert.equal(optionOf('Fresh noise in each step: 0 adds none, 1 as much as DDPM').value, '');
});

test('a run begins as the model’s own scheduler says, and a link says what that was', () => {
  const { state, controls } = controlsFor('', { sampler: 'lcm' });
  assert.deepEqual([controls.sampler, state.sampler, state.steps, byId('sampler').value], ['lcm', '', 4, '']);
  assert.match(byId('sampler-hint').textContent, /Luo/);
  // Another model has other steps, unless somebody chose them.
  controls.setModel({ trainTimesteps: 1000, sampler: 'ddpm' });
  assert.deepEqual([controls.sampler, state.steps], ['ddim', 20]);
  const chosen = controlsFor('#sampler=heun&steps=7', { sampler: 'lcm' });
  assert.deepEqual([chosen.controls.sampler, chosen.state.steps], ['heun', 7]);
  assert.equal(controlsFor('#steps=7', { sampler: 'lcm' }).state.steps, 7);
});
