// Pixel faces: as DiceBear draws them, no two alike, the same ones each time, and of the class that they say.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { inflateSync } from 'node:zlib';
import { CLASSES, choose, compose, countOfFaces, drawFaces, MOST_FACES } from '../../www/train/faces.js';
import { readPictures } from '../../www/train/pictures.js';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const { default: parts } = await import('../../www/data/faces.js');
const BYTES = 16 * 16 * 4;

test('a face is DiceBear’s, pixel for pixel, with every part that there is', () => {
  const { faces, rgba } = JSON.parse(read('tests/fixtures/faces.json'));
  const drawn = inflateSync(Buffer.from(rgba, 'base64'));
  assert.equal(drawn.length, faces.length * BYTES);
  for (const [i, choice] of faces.entries()) {
    assert.deepEqual(Buffer.from(compose(parts, choice)), drawn.subarray(i * BYTES, (i + 1) * BYTES), JSON.stringify(choice));
  }
  for (const { name, variants } of parts.layers) {
    assert.deepEqual(new Set(faces.map((choice) => choice[name]?.[0]).filter(Boolean)), new Set(Object.keys(variants)), name);
  }
});

test('no two faces are alike, and they are the same ones each time', () => {
  const keys = (count) => [...drawFaces(parts, count)].map(({ rgba }) => Buffer.from(rgba).toString('base64'));
  const many = keys(3000);
  assert.equal(new Set(many).size, 3000);
  assert.deepEqual(keys(300), many.slice(0, 300));
  // Few parts make few faces, so that some come twice and are left out.
  const [skin] = parts.layers;
  const few = [...drawFaces({ ...parts, layers: [{ ...skin, colours: skin.colours.slice(0, 2) }] }, 8)];
  assert.deepEqual([few.length, new Set(few.map(({ rgba }) => rgba.join())).size], [8, 8]);
});

test('a face’s class says what it wears, and its parts come as often as they should', () => {
  const choices = Array.from({ length: 4000 }, (_, seed) => choose(parts, seed));
  const share = (has) => choices.filter(has).length / choices.length;
  for (const { name, chance = 1, variants, colours } of parts.layers) {
    assert.ok(Math.abs(share((choice) => name in choice) - chance) < 0.03, name);
    for (const variant of Object.keys(variants))
      assert.ok(share((choice) => choice[name]?.[0] === variant) > (0.4 * chance) / Object.keys(variants).length, `${name} ${variant}`);
    for (const colour of colours)
      assert.ok(share((choice) => choice[name]?.[1] === colour) > (0.5 * chance) / colours.length, `${name} ${colour}`);
  }
  // By what can be seen: a face of a class differs from the same face without.
  let seed = 0;
  for (const { rgba, name } of drawFaces(parts, 500)) {
    while (Buffer.compare(compose(parts, choose(parts, seed)), rgba)) seed++;
    const { glasses, hat, ...bare } = choose(parts, seed);
    const wears = (worn) => worn !== undefined;
    assert.equal(name, CLASSES[Number(wears(glasses)) + 2 * Number(wears(hat))]);
    assert.equal(name.includes('hat'), wears(hat) && Buffer.compare(rgba, compose(parts, { ...bare, ...(glasses && { glasses }) })) !== 0);
    if (glasses)
      assert.ok(Buffer.compare(rgba, compose(parts, { ...bare, ...(hat && { hat }) })), `glasses of face ${seed} cannot be seen`);
  }
});

test('as many are drawn as are asked for, and they can be given up', async () => {
  const added = [];
  class Pictures {
    add(name, width, height, rgba) {
      added.push([name, width, height, rgba.length]);
    }
    finish() {
      return [{ count: added.length }, { skipped: [], skippedCount: 0, notes: [] }];
    }
    free() {
      added.length = 0;
    }
  }
  const source = { kind: 'bundled', name: 'faces' };
  const draw = (options, { signal = new AbortController().signal, report = () => {} } = {}) =>
    readPictures(source, options, { engine: { Pictures }, signal, report });
  const reports = [];
  const { data, about } = await draw({ count: 450 }, { report: ({ done, total }) => reports.push([done, total]) });
  assert.equal(data.count, 450);
  assert.deepEqual(reports, [
    [200, 450],
    [400, 450],
  ]);
  assert.equal(about.about, '450 made-up faces, 16 × 16 pixels in colour');
  assert.ok(added.every(([name, ...shape]) => CLASSES.includes(name) && shape.join() === '16,16,1024'));
  added.length = 0;
  await draw({ count: 3, classes: false });
  assert.deepEqual(
    added.map(([name]) => name),
    ['', '', ''],
  );
  const controller = new AbortController();
  await assert.rejects(draw({ count: MOST_FACES }, { signal: controller.signal, report: () => controller.abort() }), {
    name: 'AbortError',
  });
  for (const count of [0, 2.5, NaN, MOST_FACES + 1])
    await assert.rejects(draw({ count }), { type: 'invalid-option', message: /from 1 to 20,000/ });
  assert.equal(countOfFaces(), 2000);
  assert.match(read('index.html'), new RegExp(`id="data-count"[^>]* max="${MOST_FACES}" required value="${countOfFaces()}"`));
});
