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
  const words = ['prompt', 'prompt2', 'negativePrompt', 'height', 'width', 'attention']; // of pipelines: docs/embedding.md
  const others = [...words, 'sampler', 'steps', 'seed', 'batch', 'labels', 'rng', 'signal', 'onProgress', 'pauseWhenHidden', 'every'];
  const rows = [...read('docs/editing.md').matchAll(/^\| .*? \| `(\w+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual(new Set(rows), new Set(all.filter((name) => !others.includes(name))));
});

test('what the documentation says of samplers and of guidance is what was measured', () => {
  const measured = JSON.parse(read('tools/models/pixel-faces-16/solvers.json'));
  const number = (text) => Number(text.replaceAll(',', ''));
  /** Whether `value` is what `text` rounds, with as many digits. */
  const rounds = (text, value) => Math.abs(number(text) - value) <= 0.5001 / 10 ** (text.split('.')[1] ?? '').length;
  const table = (text, head) =>
    text
      .split(`\n| ${head} |`)[1]
      .split('\n\n')[0]
      .split('\n')
      .map((line) =>
        line
          .replaceAll('`', '')
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      ) // the rest of the head, the rule, rows
      .slice(2);

  const samplers = read('docs/solvers.md').split('## Which one')[1].split('\n## ')[0];
  const budgets = [5, 10, 20, 50];
  const distances = table(samplers, 'sampler');
  assert.equal(distances.length * budgets.length, Object.keys(measured).filter((name) => /^(?!guidance).* \/ /.test(name)).length);
  for (const [name, ...cells] of distances)
    for (const [i, cell] of cells.entries())
      assert.ok(rounds(cell, measured[`${name} / ${budgets[i]}`].frechet), `${name} with ${budgets[i]}: ${cell}`);

  const guidance = read('docs/editing.md').split('**How much guidance.**')[1].split('\nThe page has all')[0];
  for (const [scale, distance, long, bright, glasses, hat, values, deviation, unlike] of table(guidance, 'scale')) {
    const cell = measured[{ 1: 'unipc / 20', 'real faces': 'real faces' }[scale] ?? `guidance / ${scale}`];
    const known = [
      cell.frechet,
      cell['long hair'],
      cell['bright hair'],
      cell.glasses,
      cell.hat,
      cell.values[0],
      cell.deviation,
      cell.unlike,
    ];
    for (const [i, text] of [distance, long, bright, glasses, hat, values, deviation, unlike].entries())
      assert.ok(rounds(text, known[i]), `guidance ${scale}: ${text} for ${known[i]}`);
  }

  // And each number with a point between the tables is one of them, or one of the model's card. The lists of σ are code.
  const card = read('www/models/pixel-faces-16/README.md')
    .match(/\d+\.\d+/g)
    .map(Number);
  const all = [...Object.values(measured).flatMap((cell) => Object.values(cell).flat()), ...card];
  for (const text of `${samplers}${guidance}`.replace(/`[^`]*`/g, '').match(/\d[\d,]*\.\d+/g))
    assert.ok(
      all.some((value) => rounds(text, value)),
      `${text} was not measured`,
    );
});
