/** What was measured: bench/results.json, and the tables in docs/benchmarks.md that are made of it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../tools/setup/shell.mjs';

const RESULTS = join(root, 'bench', 'results.json');
const DOCUMENT = join(root, 'docs', 'benchmarks.md');
const [START, END] = ['<!-- npm run bench writes from here -->', '<!-- to here -->'];

const KEYS = ['where', 'model', 'batch', 'side', 'device'];
const key = (found) => KEYS.map((name) => found[name]).join(' ');

/** Keeps what was found in place of an earlier result of the same case, and writes the tables. */
export function record(found) {
  const before = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : [];
  const results = [...before.filter((old) => key(old) !== key(found)), rounded(found)].sort(
    (a, b) => order(a) - order(b) || key(a).localeCompare(key(b)),
  );
  writeFileSync(RESULTS, `[\n${results.map((result) => `  ${JSON.stringify(result)}`).join(',\n')}\n]\n`);
  const text = readFileSync(DOCUMENT, 'utf8');
  writeFileSync(DOCUMENT, withTables(text, results));
}

function rounded({ milliseconds, processor, off, ...rest }) {
  const digits = (x) => Number(x.toPrecision(4));
  const four = (m) => m && { runs: m.runs, lower: digits(m.lower), median: digits(m.median), upper: digits(m.upper) };
  return {
    ...rest,
    milliseconds: four(milliseconds),
    processor: four(processor),
    off: off === undefined ? undefined : Number(off.toPrecision(2)),
  };
}

function order({ where }) {
  return ['chromium', 'firefox', 'native', 'processor', 'steps', 'cold', 'training'].indexOf(where);
}

/** The document with new tables between its marks. */
export function withTables(text, results) {
  return between(text, [START, END], tables(results));
}

/** A document with something else between two marks. */
export function between(text, [from, to], middle) {
  const [start, end] = [text.indexOf(from), text.indexOf(to)];
  if (start < 0 || end < start) throw new Error(`docs/benchmarks.md lacks "${from}" and "${to}"`);
  return `${text.slice(0, start + from.length)}\n\n${middle}\n\n${text.slice(end)}`;
}

/** A table a place: a line for each network, batch and device, Noiseball beside its peer. */
function tables(results) {
  const places = [...new Set(results.map(({ where }) => where))];
  return places.map((where) => table(results.filter((result) => result.where === where))).join('\n\n');
}

export function table(results) {
  const { where, browser } = results[0];
  if (where === 'processor' || where === 'steps') return processorTable(results);
  const peer = { native: 'burn', training: 'tfjs' }[where] ?? 'ort';
  const name = { ort: 'onnxruntime-web', burn: 'burn-wgpu', tfjs: 'TensorFlow.js' }[peer];
  const lines = new Map();
  for (const result of results) {
    const id = [result.model, result.batch, result.device].join(' ');
    lines.set(id, { ...lines.get(id), [result.side]: result });
  }
  const rows = [...lines.values()].map((sides) => {
    const { model, batch, device, adapter, commit } = sides.noiseball ?? sides[peer];
    const ratio =
      sides.noiseball?.milliseconds && sides[peer]?.milliseconds
        ? `**${(sides.noiseball.milliseconds.median / sides[peer].milliseconds.median).toFixed(2)}**`
        : '';
    return [model, batch, adapter ?? device, cell(sides.noiseball), cell(sides[peer]), ratio, commit];
  });
  const title =
    {
      native: 'Natively, one evaluation, random weights:',
      training: `In ${browser}, one step of training by a preset:`,
      cold: `From opening a page in ${browser} to the first picture (two steps), model and code cached:`,
    }[where] ?? `In ${browser}, one step of DDIM:`;
  const head = ['model', 'batch', 'on', 'Noiseball, ms', `${name}, ms`, 'ratio', 'commit'];
  return [title, '', line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Both sides by the time that processors worked, whose ratio is told, and by the clock. */
function processorTable(results) {
  const rows = results
    .filter(({ side }) => side === 'noiseball')
    .map((ours) => {
      const { model, batch, device, commit } = ours;
      const theirs = results.find((other) => other.side !== 'noiseball' && ['model', 'batch', 'device'].every((k) => other[k] === ours[k]));
      const times = (side) => [side?.processor ? cell({ milliseconds: side.processor }) : '', side?.milliseconds?.median ?? ''];
      const ratio = ours.processor && theirs?.processor ? `**${(ours.processor.median / theirs.processor.median).toFixed(2)}**` : '';
      return [model, batch, device, ...times(ours), ...times(theirs), ratio, commit];
    });
  const head = ['model', 'batch', 'threads', 'Noiseball, processor ms', 'clock', 'PyTorch, processor ms', 'clock', 'ratio', 'commit'];
  return [
    results[0].where === 'steps'
      ? 'Natively on the processor, one step of training by a preset, 16×16 pixels, beside the loop of the exported script:'
      : 'Natively on the processor, one evaluation, random weights:',
    '',
    line(head),
    line(head.map(() => '---')),
    ...rows.map(line),
  ].join('\n');
}

/** Median, quartiles and how many. */
function cell(result) {
  if (!result) return '';
  if (!result.milliseconds) return result.error ?? '';
  const { runs, lower, median, upper } = result.milliseconds;
  return runs === 1 ? `${median} (once)` : `${median} [${lower}, ${upper}] of ${runs}`;
}

function line(cells) {
  return `| ${cells.join(' | ')} |`;
}
