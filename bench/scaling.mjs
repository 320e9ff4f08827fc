/**
 * How an evaluation's time grows with pixels, batch, channels and threads, natively on the processor: `node bench/scaling.mjs`. Measures
 * some networks that are made for it, draws docs/scaling.svg and writes what it found to docs/benchmarks.md, some four minutes in all.
 *
 *     --rounds 15     evaluations of each case, after one that is not timed
 *     --budget 8      seconds for a case
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ask, main, root, SetupError, step } from '../tools/setup/shell.mjs';
import { between } from './results.mjs';

const [WIDTH, HEIGHT] = [340, 200];

const BASE = { size: 32, batch: 1, channels: 64, threads: 1 };

/** By the time that processors worked, but for threads, whose work is shared. */
const AXES = [
  { axis: 'size', name: 'pixels', values: [8, 16, 32, 64, 128], count: (size) => size * size, label: (size) => `${size}²` },
  { axis: 'batch', name: 'pictures', values: [1, 2, 4, 8, 16, 32] },
  { axis: 'channels', name: 'channels', values: [16, 32, 64, 128, 256] },
  { axis: 'threads', name: 'threads', values: [1, 2, 4, 8, 16].filter((threads) => threads <= availableParallelism()), clock: true },
];

await main(async () => {
  const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' }, budget: { type: 'string', default: '8' } } });
  const folder = mkdtempSync(join(tmpdir(), 'scaling-'));
  const found = AXES.map(({ axis, values: all, count = (value) => value, label = String, ...rest }) => {
    const points = all.map((value) => {
      step(`${axis} ${value}`);
      const ms = measured(folder, { ...BASE, [axis]: value }, rest.clock ? 'clock' : 'processor', values);
      return { x: count(value), ms, label: label(value) };
    });
    return { ...rest, points, exponent: slope(points) };
  });
  rmSync(folder, { recursive: true });
  writeFileSync(join(root, 'docs', 'scaling.svg'), chart(found));
  const document = join(root, 'docs', 'benchmarks.md');
  const marks = ['<!-- node bench/scaling.mjs writes from here -->', '<!-- to here: scaling -->'];
  writeFileSync(document, between(readFileSync(document, 'utf8'), marks, text(found)));
});

/** A network of three levels, the lowest with attention, as the presets for training are. */
function config({ size, channels }) {
  return {
    _class_name: 'UNet2DModel',
    act_fn: 'silu',
    attention_head_dim: 16,
    block_out_channels: [channels, 2 * channels, 2 * channels],
    down_block_types: ['DownBlock2D', 'DownBlock2D', 'AttnDownBlock2D'],
    in_channels: 3,
    layers_per_block: 1,
    norm_num_groups: 8,
    out_channels: 3,
    sample_size: size,
    up_block_types: ['AttnUpBlock2D', 'UpBlock2D', 'UpBlock2D'],
  };
}

/** The least time of an evaluation, or its median by the clock, in milliseconds. */
function measured(folder, { batch, threads, ...network }, what, { rounds, budget }) {
  const path = join(folder, 'config.json');
  writeFileSync(path, JSON.stringify(config(network)));
  const program = join(root, 'target', 'release', process.platform === 'win32' ? 'noiseball.exe' : 'noiseball');
  const options = ['--device', 'cpu', '--json', '--batch', batch, '--threads', threads, '--runs', rounds, '--budget', budget];
  const { ok, stdout, stderr } = ask(program, ['bench', path, ...options.map(String)]);
  if (!ok) throw new SetupError(`\`noiseball bench\` failed: ${stderr.trim()}. Build it first: cargo build --release --features cli`);
  const [{ median, processor }] = JSON.parse(stdout).milliseconds;
  const ms = what === 'clock' ? median : (processor?.median ?? median);
  console.log(`  ${ms.toFixed(2)} ms`);
  return ms;
}

/** The exponent e of `ms = a · x^e` that lies nearest to all points, by least squares of the logarithms. */
function slope(points) {
  const logs = points.map(({ x, ms }) => [Math.log(x), Math.log(ms)]);
  const [x, y] = [0, 1].map((i) => logs.reduce((sum, point) => sum + point[i], 0) / logs.length);
  const [above, below] = [1, 0].map((i) => logs.reduce((sum, point) => sum + (point[0] - x) * (point[i] - [x, y][i]), 0));
  return above / below;
}

function number(ms) {
  return ms < 10 ? ms.toPrecision(2) : ms.toFixed(0);
}

function text(found) {
  const lines = found.map(({ name, points, exponent }) => {
    const cells = points.map(({ label, ms }) => `${label}: ${number(ms)}`).join(', ');
    return `| ${name} | ${cells} | **${exponent.toFixed(2)}** |`;
  });
  return [
    `One of each is ${BASE.size}×${BASE.size} pixels, one picture, ${BASE.channels} channels at the top (twice as many below) and one thread; on ${cpus()[0].model.trim()}.`,
    '',
    '![Four charts of time over pixels, pictures, channels and threads](scaling.svg)',
    '',
    '| over | milliseconds of an evaluation | exponent |',
    '| --- | --- | --- |',
    ...lines,
  ].join('\n');
}

/** Both axes are logarithmic, so that a power is a straight line. */
function chart(found) {
  const panels = found.map(
    (panel, i) => `<g transform="translate(${20 + (i % 2) * 390} ${20 + Math.floor(i / 2) * 260})">${drawn(panel)}</g>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 530" role="img" aria-label="Milliseconds of an evaluation over pixels, pictures, channels and threads">
<style>
    svg { font: 13px system-ui, sans-serif; --ink: #1b1b1f; --rule: #d5d5dc; --paper: #fff; background: var(--paper); }
    @media (prefers-color-scheme: dark) { svg { --ink: #ececf1; --rule: #45454f; --paper: #16161a; } }
    text { fill: var(--ink); } .rule { stroke: var(--rule); } .paper { fill: var(--paper); }
    .line { fill: none; stroke: var(--ink); stroke-width: 1.5; } circle { fill: var(--ink); }
</style>
<rect class="paper" width="780" height="530"/>
${panels.join('\n')}
</svg>
`;
}

function drawn({ name, points, exponent }) {
  const scale = (values, from, to) => {
    const [least, most] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
    return (value) => from + ((to - from) * (Math.log(value) - least)) / (most - least || 1);
  };
  const decades = points.flatMap(({ ms }) => [10 ** Math.floor(Math.log10(ms)), 10 ** Math.ceil(Math.log10(ms))]);
  const [least, most] = [Math.min(...decades), Math.max(...decades)];
  const [x, y] = [
    scale(
      points.map((p) => p.x),
      50,
      WIDTH - 10,
    ),
    scale([least, most], HEIGHT, 24),
  ];
  const rules = [];
  for (let ms = least; ms <= most * 1.01; ms *= 10) {
    rules.push(
      `<path class="rule" d="M40 ${y(ms).toFixed(1)}H${WIDTH}"/><text x="34" y="${(y(ms) + 4).toFixed(1)}" text-anchor="end">${+ms.toPrecision(1)}</text>`,
    );
  }
  const at = points.map((p) => [x(p.x).toFixed(1), y(p.ms).toFixed(1)]);
  const dots = points.map((p, i) => {
    const [left, top] = at[i];
    return `<circle cx="${left}" cy="${top}" r="3"/><text x="${left}" y="${top - 9}" text-anchor="middle">${number(p.ms)}</text><text x="${left}" y="${HEIGHT + 18}" text-anchor="middle">${p.label}</text>`;
  });
  const title = `<text x="0" y="8">ms over ${name}: exponent ${exponent.toFixed(2)}</text>`;
  return `${title}${rules.join('')}<path class="line" d="M${at.map((p) => p.join(' ')).join('L')}"/>${dots.join('')}`;
}
