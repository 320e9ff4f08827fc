// The page's settings: what a link carries is what it restores.

import assert from 'node:assert/strict';
import test from 'node:test';
import { linkable, readHash, ROWS, writeHash } from '../../www/site/state.js';

const defaults = Object.fromEntries(ROWS.map((row) => [row.name, row.default]));

test('an empty hash means the defaults', () => {
  assert.deepEqual(readHash(''), defaults);
  assert.deepEqual(readHash('#'), defaults);
});

test('every setting survives a link, at values other than the default', () => {
  const other = {
    view: 'edit',
    solvers: 'lms',
    model: 'https://example.org/a b/?x=1&y=#z',
    prompt: 'a red heart & more',
    negativePrompt: 'blue',
    label: 'any',
    batch: 3,
    seed: Number.MAX_SAFE_INTEGER,
    sampler: 'ddpm',
    steps: 1000,
    guidance: 2.5,
    options: 'grid=karras',
    rng: 'torch',
    speed: 'fast',
    guess: 'off',
    device: 'cpu',
    task: 'restore',
    strength: 0.25,
    resamplings: 3,
    jump: 2,
    restoring: 'blur',
    blur: 2.5,
    other: 9,
  };
  assert.deepEqual(Object.keys(other).sort(), Object.keys(defaults).sort(), 'a row has no value in this test');
  for (const [name, value] of Object.entries(other)) assert.notEqual(value, defaults[name]);
  assert.deepEqual(readHash(writeHash(other)), other);
  assert.ok(!writeHash({ ...other, view: 'sample' }).includes('task='), 'what another part has no use for');
});

test('zero and one are written and read as they are', () => {
  const state = { ...defaults, seed: 0, batch: 1 };
  assert.deepEqual(readHash(writeHash(state)), state);
});

test('nonsense in a link falls back to the default, setting by setting', () => {
  const hash = '#batch=65&seed=-1&sampler=magic&steps=2.5&speed=light&rng=dice&device=toaster&unknown=1';
  assert.deepEqual(readHash(hash), defaults);
  assert.equal(readHash('#batch=0').batch, defaults.batch);
  assert.equal(readHash('#seed=9007199254740992').seed, defaults.seed);
  assert.equal(readHash('#batch=64&seed=x').batch, 64, 'a good setting beside a bad one counts');
});

test('a link holds no secret of an address', () => {
  assert.equal(linkable('https://user:key@example.org/a/?token=hf_secret#x'), 'https://example.org/a/');
  assert.equal(linkable('../models/x/?sig=secret'), '../models/x/');
  assert.equal(linkable('google/ddpm-cifar10-32'), 'google/ddpm-cifar10-32');
  assert.equal(linkable('https://example.org/m/?x= from a site that you trust'), 'https://example.org/m/');
  assert.equal(linkable(''), '');
});
