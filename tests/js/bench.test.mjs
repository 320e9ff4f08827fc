// The benchmark's own arithmetic and tables.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withTables } from '../../bench/results.mjs';
import { summary } from '../../bench/summary.mjs';

test('a summary is the median and the quartiles, in any order and of one alone', () => {
  assert.deepEqual(summary([5, 1, 4, 2, 3]), { runs: 5, lower: 2, median: 3, upper: 4 });
  assert.deepEqual(summary([7]), { runs: 1, lower: 7, median: 7, upper: 7 });
  assert.deepEqual(summary([10, 9]), { runs: 2, lower: 9, median: 9, upper: 9 });
});

test('tables put both sides on a line with their ratio, and say why a side is missing', () => {
  const common = { where: 'chromium', browser: 'chromium 1', model: 'm', batch: 1, commit: 'abc' };
  const milliseconds = (median) => ({ runs: 3, lower: median - 1, median, upper: median + 1 });
  const results = [
    { ...common, side: 'noiseball', device: 'cpu', milliseconds: milliseconds(10) },
    { ...common, side: 'ort', device: 'cpu', milliseconds: milliseconds(40) },
    { ...common, side: 'noiseball', device: 'gpu', milliseconds: { ...milliseconds(5), runs: 1 } },
    { ...common, side: 'ort', device: 'gpu', error: 'left out' },
  ];
  const text = 'before <!-- npm run bench writes from here --> old <!-- to here --> after';
  const written = withTables(text, results);
  assert.match(written, /^before <!--/);
  assert.match(written, /<!-- to here --> after$/);
  assert.doesNotMatch(written, /old/);
  assert.match(written, /In chromium 1, one step of DDIM:/);
  assert.match(written, /\| m \| 1 \| cpu \| 10 \[9, 11\] of 3 \| 40 \[39, 41\] of 3 \| \*\*0.25\*\* \| abc \|/);
  assert.match(written, /\| m \| 1 \| gpu \| 5 \(once\) \| left out \| {2}\| abc \|/);
  assert.equal(withTables(written, results), written);
  assert.throws(() => withTables('no marks', results), /lacks/);
});

test('on the processor the ratio is that of the time that processors worked', () => {
  const common = { where: 'processor', model: 'm', batch: 16, commit: 'abc' };
  const of = (median) => ({ runs: 3, lower: median - 1, median, upper: median + 1 });
  const text = '<!-- npm run bench writes from here --><!-- to here -->';
  const written = withTables(text, [
    { ...common, device: '1', side: 'noiseball', milliseconds: of(11), processor: of(10) },
    { ...common, device: '1', side: 'pytorch', milliseconds: of(22), processor: of(20) },
    { ...common, device: '2', side: 'noiseball', milliseconds: of(6) },
  ]);
  assert.match(written, /\| m \| 16 \| 1 \| 10 \[9, 11\] of 3 \| 11 \| 20 \[19, 21\] of 3 \| 22 \| \*\*0.50\*\* \| abc \|/);
  // A system that does not tell processor time has the clock's alone.
  assert.match(written, /\| m \| 16 \| 2 \| {2}\| 6 \| {2}\| {2}\| {2}\| abc \|/);
});
