// The settings form: what it offers of a model, and what it makes of the choice.

import assert from 'node:assert/strict';
import test from 'node:test';
import { installDocument } from './fake-document.mjs';
import { readHash } from '../../www/site/state.js';

const byId = installDocument();
const { Controls } = await import('../../www/site/controls.js');

function controlsFor(info, hash = '') {
  installDocument();
  const controls = new Controls(readHash(hash), () => {});
  controls.setModel({ trainTimesteps: 1000, labels: null, nullLabel: null, classes: null, ...info });
  return controls;
}

const options = () => (byId('label').children ?? []).map(({ value, text }) => [value, text]);

test('a few classes are a menu, by name where they have names', () => {
  const controls = controlsFor({ classes: 3, nullLabel: 1, labels: ['cat', null, 'dog\u{1b}[2J'] }, '#label=each&batch=5');
  assert.deepEqual(options(), [
    ['any', 'Any'],
    ['each', 'One of each'],
    ['0', 'cat'],
    ['2', 'dog\\u{1b}[2J'],
  ]);
  assert.deepEqual(controls.sampleOptions().labels, [0, 2, 0, 2, 0]);
  assert.equal(byId('label-number').hidden, true);
});

test('many classes are a number, and no menu is made of them', () => {
  for (const classes of [257, 1000, 2 ** 20]) {
    const controls = controlsFor({ classes }, '#label=each&batch=3');
    assert.equal(byId('label').hidden, true);
    assert.ok(options().length <= 300, `${options().length} choices for ${classes} classes`);
    assert.deepEqual([byId('label-number').hidden, byId('label-number').max], [false, classes - 1]);
    assert.deepEqual(controls.sampleOptions().labels, [0, 1, 2]);
    byId('label-number').value = '0256';
    byId('label-number').dispatch('input');
    assert.deepEqual(controls.sampleOptions().labels, [256, 256, 256]);
    assert.equal(controls.resolvedState().label, '256');
    byId('label-number').value = '';
    byId('label-number').dispatch('input');
    assert.deepEqual(controls.sampleOptions().labels, [0, 1, 2]);
  }
});

test('a class that this model has not is none of its labels', () => {
  const of = (info, label) => controlsFor(info, `#batch=2&label=${label}`).sampleOptions().labels;
  assert.deepEqual(of({ classes: 3, nullLabel: 2 }, '1'), [1, 1]);
  assert.deepEqual(of({ classes: 3, nullLabel: 2 }, '2'), [2, 2], 'the one that means any');
  for (const label of ['3', '-1', '1.5', 'cat', '99999999999999999999', '01']) {
    assert.deepEqual(of({ classes: 3, nullLabel: 2 }, label), [2, 2], label);
    assert.deepEqual(of({ classes: 3 }, label), [0, 1], label);
  }
  assert.deepEqual(of({ classes: 1, nullLabel: 0 }, 'each'), [0, 0]);
  assert.equal(of({ classes: null }, '1'), undefined);
});

test('by default the seed stays, so that settings can be compared; unlocked, each run has another', () => {
  const locked = controlsFor({});
  assert.deepEqual([locked.sampleOptions().seed, locked.sampleOptions().seed], [7, 7]);
  const unlocked = controlsFor({}, '#lock=0');
  assert.equal(unlocked.sampleOptions().seed, 7);
  assert.notEqual(unlocked.sampleOptions().seed, 7);
  assert.equal(byId('seed-hint').textContent, 'Every run starts from new noise. Lock the seed to repeat one.');
});

test('the options of a sampler are controls, and what the sampler has not is passed over', () => {
  const hash = `#sampler=dpm-multistep&options=${encodeURIComponent('solverOrder=3,grid=karras,eta=1,sChurn=2,lowerOrderFinal=false')}`;
  const controls = controlsFor({}, hash);
  const { solverOrder, grid, lowerOrderFinal, eta, sChurn } = controls.sampleOptions();
  assert.deepEqual([solverOrder, grid, lowerOrderFinal, eta, sChurn], [3, 'karras', false, undefined, undefined]);
  const controlOf = (doc) => byId('sampler-options').children.find(({ textContent }) => textContent === doc).children[0];
  const order = controlOf("The solver's order");
  assert.deepEqual([order.value, order.min, order.max], ['3', 1, 3]);
  for (const [typed, expected] of [
    ['2', 2],
    ['4', 2],
    ['1.5', 2],
    ['', undefined],
  ]) {
    order.value = typed;
    order.dispatch('input');
    assert.equal(controls.sampleOptions().solverOrder, expected, typed);
  }
  assert.equal(controls.sampleOptions().grid, 'karras');
});

test('a run begins as the model’s own scheduler says, and a link says what that was', () => {
  const lcm = controlsFor({ sampler: 'lcm' });
  const { sampler, steps } = lcm.sampleOptions();
  assert.deepEqual([sampler, steps, byId('sampler').value], ['lcm', 4, '']);
  assert.equal(lcm.resolvedState().sampler, 'lcm');
  // Another model has other steps, unless somebody chose them.
  lcm.setModel({ trainTimesteps: 1000, labels: null, nullLabel: null, classes: null, sampler: 'ddpm' });
  assert.deepEqual([lcm.sampleOptions().sampler, lcm.sampleOptions().steps], ['ddim', 20]);
  const chosen = controlsFor({ sampler: 'lcm' }, '#sampler=heun&steps=7').sampleOptions();
  assert.deepEqual([chosen.sampler, chosen.steps], ['heun', 7]);
  assert.equal(controlsFor({ sampler: 'lcm' }, '#steps=7').sampleOptions().steps, 7);
});
