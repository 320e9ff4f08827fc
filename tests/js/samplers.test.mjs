// The table of samplers, which Rust writes, in the types and in the documentation.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { SAMPLERS } from '../../www/samplers.js';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The type of an option's value, over all samplers that have it. */
function typeOf(option) {
  if (option.type === 'flag') return ['boolean'];
  if (option.type === 'list') return ['readonly number[]'];
  if (option.type !== 'choice') return ['number'];
  return option.choices.map((choice) => `'${choice}'`);
}

test('the types know every option, with its values, and no other', () => {
  const declared = read('www/noiseball.d.ts').match(/interface SamplerOptions \{([^}]*)\}/)[1];
  const found = new Map(
    [...declared.matchAll(/^ {2}(\w+)\?: ([^;]*) \| undefined;/gm)].map(([, name, type]) => [name, new Set(type.split(' | '))]),
  );
  const expected = new Map();
  for (const option of SAMPLERS.flatMap(({ options }) => options)) {
    expected.set(option.name, new Set([...(expected.get(option.name) ?? []), ...typeOf(option)]));
  }
  assert.deepEqual(found, expected);
});

test('the documentation has a row for every sampler, with its classes and options', () => {
  const rows = read('docs/solvers.md')
    .split('## Which one')[0]
    .matchAll(/^\| `([\w-]+)` \| (.*?) \| (.*?) \| (.*?) \|/gm);
  const quoted = (cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name);
  const found = [...rows].map(([, name, classes, options, cost]) => [name, quoted(classes), quoted(options), cost]);
  const all = SAMPLERS.map(({ name, classes, options, evaluations }) => [
    name,
    classes,
    options.map((option) => snake(option.name)),
    formula(evaluations),
  ]);
  assert.deepEqual(found, all);
});

/** How often N steps ask the network. */
function formula(evaluations) {
  if (!evaluations) return 'as found';
  const { perStep, more } = evaluations;
  const each = perStep === 1 ? 'N' : `${perStep} N`;
  if (more === 0) return each;
  return more > 0 ? `${each} + ${more}` : `${each} − ${-more}`;
}

test('the documentation of editing has every such option of the types', () => {
  const declared = read('www/noiseball.d.ts').match(/interface SampleOptions extends SamplerOptions \{(.*?)\n\}/s)[1];
  const all = [...declared.matchAll(/^ {2}(\w+)\?:/gm)].map(([, name]) => name);
  const others = ['sampler', 'steps', 'seed', 'batch', 'labels', 'rng', 'signal', 'pauseWhenHidden'];
  const rows = [...read('docs/editing.md').matchAll(/^\| .*? \| `(\w+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual(new Set(rows), new Set(all.filter((name) => !others.includes(name))));
});
