/**
 * Says where the sampling module's bytes are, or with `--text` those of the module of pipelines, as they are downloaded: what each
 * function and each piece of data adds to the gzip file.
 *
 *   node tools/build/weigh.mjs [--text] [--functions N] [--data] [--match TEXT]
 *
 * Each byte of the module is given the bits that stand for it in the gzip file; a repetition's bits are shared by the bytes it
 * repeats. So a function that resembles others weighs little, which its length alone would not tell.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { deflateRawSync } from 'node:zlib';
import { wasmBindgen } from '../setup/cargo-tools.mjs';
import { root, run } from '../setup/shell.mjs';
import { shortenImports } from './imports.mjs';
import { orderFunctions } from './order.mjs';
import { buildText, buildWasm } from './wasm.mjs';

/** The bits that each byte of `data` costs in deflate's stream, and the bytes of the stream. */
function costs(data) {
  const stream = deflateRawSync(data, { level: 9 });
  const cost = new Float64Array(data.length);
  let [at, out, last] = [0, 0, 0];
  const bits = (count) => {
    let value = 0;
    for (let k = 0; k < count; k += 1, at += 1) value |= ((stream[at >> 3] >> (at & 7)) & 1) << k;
    return value;
  };
  while (!last) {
    last = bits(1);
    const kind = bits(2);
    if (kind === 0) {
      at = (at + 7) & ~7;
      const length = bits(16);
      at += 16 + 8 * length;
      cost.fill(8, out, out + length);
      out += length;
      continue;
    }
    const [literals, distances] = kind === 1 ? fixed() : dynamic(bits);
    for (;;) {
      const start = at;
      const symbol = literals(bits);
      if (symbol === 256) break;
      let length = 1;
      if (symbol > 256) {
        length = LENGTHS[symbol - 257] + bits(LENGTH_BITS[symbol - 257]);
        const distance = distances(bits);
        bits(distance < 2 ? 0 : (distance >> 1) - 1);
      }
      cost.fill((at - start) / length, out, out + length);
      out += length;
    }
  }
  if (out !== data.length) throw new Error('the stream was not understood');
  return { cost, size: stream.length };
}

const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const LENGTHS = LENGTH_BITS.map((_, k) => (k === 28 ? 258 : 3 + LENGTH_BITS.slice(0, k).reduce((sum, bits) => sum + 2 ** bits, 0)));
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** A reader of the symbols whose codes have these lengths. */
function codes(lengths) {
  const symbols = new Map();
  let code = 0;
  for (let length = 1; length < 16; length += 1, code <<= 1) {
    for (const [symbol, of] of lengths.entries()) if (of === length) symbols.set((1 << length) | code++, symbol);
  }
  return (bits) => {
    let read = 1;
    while (!symbols.has(read)) read = (read << 1) | bits(1);
    return symbols.get(read);
  };
}

function fixed() {
  const literals = Array.from({ length: 288 }, (_, k) => (k < 144 ? 8 : k < 256 ? 9 : k < 280 ? 7 : 8));
  return [codes(literals), codes(Array(30).fill(5))];
}

function dynamic(bits) {
  const [literals, distances, used] = [257 + bits(5), 1 + bits(5), 4 + bits(4)];
  const own = Array(19).fill(0);
  for (let k = 0; k < used; k += 1) own[ORDER[k]] = bits(3);
  const symbol = codes(own);
  const lengths = [];
  while (lengths.length < literals + distances) {
    const next = symbol(bits);
    if (next < 16) lengths.push(next);
    else if (next === 16) lengths.push(...Array(3 + bits(2)).fill(lengths.at(-1)));
    else lengths.push(...Array(next === 17 ? 3 + bits(3) : 11 + bits(7)).fill(0));
  }
  return [codes(lengths.slice(0, literals)), codes(lengths.slice(literals))];
}

/** The module's functions and its other sections: `{ name, from, to }` each. */
function parts(module) {
  const compiled = new WebAssembly.Module(module);
  const names = functionNames(Buffer.from(WebAssembly.Module.customSections(compiled, 'name')[0]));
  let index = WebAssembly.Module.imports(compiled).filter(({ kind }) => kind === 'function').length;
  const read = new Reader(module, 8);
  const found = [];
  while (read.at < module.length) {
    const from = read.at;
    const kind = module[read.at++];
    const to = read.number() + read.at;
    if (kind === CODE) {
      for (let count = read.number(); count > 0; count -= 1, index += 1) {
        const start = read.at;
        read.skip(read.number());
        found.push({ kind: 'code', name: names.get(index) ?? `function ${index}`, from: start, to: read.at });
      }
    } else {
      found.push({ kind: SECTIONS[kind] ?? 'other', name: '', from, to });
    }
    read.at = to;
  }
  return found;
}

const CODE = 10;
const SECTIONS = { 0: 'custom', 1: 'types', 2: 'imports', 3: 'signatures', 7: 'exports', 9: 'table', 11: 'data' };

function functionNames(section) {
  const names = new Map();
  const read = new Reader(section);
  while (read.at < section.length) {
    const what = section[read.at++];
    const next = read.number() + read.at;
    if (what === 1) for (let count = read.number(); count > 0; count -= 1) names.set(read.number(), read.text());
    read.at = next;
  }
  return names;
}

class Reader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  number() {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = this.bytes[this.at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  skip(length) {
    this.at += length;
  }

  text() {
    const length = this.number();
    this.skip(length);
    return this.bytes.toString('utf8', this.at - length, this.at);
  }
}

/** `<noiseball::x::Y as core::fmt::Debug>::fmt::h012…` → `noiseball::x`; the name of another crate, rather not the library's. */
function topic(name) {
  const paths = name.match(/[a-z_0-9]+(\[[0-9a-f]+\])?::[a-z_0-9:]*/g) ?? [];
  const crates = paths.filter((path) => !/^\w+::h[0-9a-f]{16}$/.test(path)).map((path) => path.split(/\[?\b[0-9a-f]*\]?::/));
  const [crate, ...within] = crates.find(([first]) => first.startsWith('noiseball')) ??
    crates.find(([first]) => !/^(core|alloc|std)$/.test(first)) ??
    crates[0] ?? [name];
  return crate === 'noiseball' ? [crate, ...within.slice(0, 2)].join('::') : crate;
}

/** Adds up what is in the same group. */
function grouped(list, key) {
  const groups = new Map();
  for (const each of list) {
    const group = groups.get(key(each)) ?? { name: key(each), count: 0, raw: 0, weight: 0 };
    group.count += 1;
    group.raw += each.to - each.from;
    group.weight += each.weight;
    groups.set(group.name, group);
  }
  return [...groups.values()];
}

function table(title, rows) {
  console.log(`\n${title}\n   gzip      raw  number`);
  for (const { name, count, raw, weight } of rows.sort((a, b) => b.weight - a.weight)) {
    console.log(`${String(Math.round(weight)).padStart(7)} ${String(raw).padStart(8)} ${String(count).padStart(7)}  ${name}`);
  }
}

const { values: options } = parseArgs({
  options: {
    text: { type: 'boolean', default: false },
    functions: { type: 'string', default: '40' },
    match: { type: 'string' },
    data: { type: 'boolean', default: false },
  },
});
await (options.text ? buildText() : buildWasm());
const folder = options.text ? 'wasm-text' : 'wasm';
const scratch = mkdtempSync(join(tmpdir(), 'noiseball-'));
const bindings = ['--target', 'web', '--remove-producers-section', '--omit-default-module-path', '--out-name', 'named'];
run(wasmBindgen(), [...bindings, '--out-dir', scratch, join(root, 'target', folder, 'wasm32-unknown-unknown/web/noiseball.wasm')]);
const short = shortenImports(readFileSync(join(scratch, 'named_bg.wasm')), readFileSync(join(scratch, 'named.js'), 'utf8'));
const module = orderFunctions(short.module);
rmSync(scratch, { recursive: true });

const all = parts(module);
// The names are the last section; what is downloaded ends before them.
const end = all.findLast(({ kind }) => kind !== 'custom').to;
const { cost, size } = costs(module.subarray(0, end));
const kept = all.filter(({ to }) => to <= end);
for (const part of kept) part.weight = cost.subarray(part.from, part.to).reduce((sum, bits) => sum + bits, 0) / 8;
const code = kept.filter(({ kind }) => kind === 'code');

console.log(`${size} bytes with gzip, ${end} as they are`);
table(
  'Sections',
  grouped(kept, ({ kind }) => kind),
);
table(
  'Functions by topic',
  grouped(code, ({ name }) => topic(name)),
);
const functions = code.filter(({ name }) => name.includes(options.match ?? ''));
table(
  'Functions',
  functions
    .map((each) => ({ ...each, raw: each.to - each.from, count: 1 }))
    .sort((a, b) => b.weight - a.weight)
    .slice(0, Number(options.functions)),
);
if (options.data) {
  const { from, to } = kept.find(({ kind }) => kind === 'data');
  console.log('\nData: gzip bytes, and the text (other bytes as dots)');
  for (let at = from; at < to; at += 256) {
    const bytes = module.subarray(at, Math.min(at + 256, to));
    const weight = cost.subarray(at, at + bytes.length).reduce((sum, bits) => sum + bits, 0) / 8;
    console.log(String(Math.round(weight)).padStart(5), bytes.toString('latin1').replaceAll(/[^ -~]/g, '.'));
  }
}
