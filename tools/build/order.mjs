/**
 * Puts a module's functions in the order in which they compress best: each beside those that it resembles. gzip looks back no
 * further than 32 kB, and the linker's order has what repeats itself wider apart. Of equal functions one is kept. Nothing else
 * changes: the functions are numbered anew, and what refers to them says the new number.
 */

const [CUSTOM, IMPORTS, FUNCTIONS, GLOBALS, EXPORTS, START, ELEMENTS, CODE] = [0, 2, 3, 6, 7, 8, 9, 10];
/** So many bytes in a row count as a repetition. */
const RUN = 6;
/** Resemblance is looked for in so many bytes before: less than gzip's 32 kB, as its hash chains remember the near past best. */
const WINDOW = 12_000;
/** What more functions have than this is found everywhere. */
const COMMON = 400;

/** The module with one of each of its functions, in another order. */
export function orderFunctions(module) {
  const sections = sectionsOf(module);
  const imported = importedFunctions(module, sections.get(IMPORTS));
  const bodies = bodiesOf(module, sections.get(CODE));
  const single = equalsOf(module, bodies, typesOf(module, sections.get(FUNCTIONS)), imported);
  const kept = [...new Set(single)];
  const order = orderOf(kept.map((old) => module.subarray(bodies[old].from, bodies[old].to))).map((place) => kept[place]);
  const places = new Map(order.map((old, place) => [old, imported + place]));
  const renumbered = (index) => (index < imported ? index : places.get(single[index - imported]));
  const isKept = (index) => index < imported || single[index - imported] === index - imported;

  const parts = [module.subarray(0, 8)];
  for (const { kind, body, to } of sections.all) {
    const read = new Reader(module, body, to);
    const content = rewritten(kind, read, { order, bodies, renumbered, isKept });
    if (content) parts.push(Buffer.from([kind, ...leb(content.length)]), content);
  }
  return Buffer.concat(parts);
}

/** A section with the new numbers; names of functions are renumbered, other names are left out. */
function rewritten(kind, read, { order, bodies, renumbered, isKept }) {
  switch (kind) {
    case FUNCTIONS: {
      const types = read.list(() => read.number());
      return Buffer.from([...leb(order.length), ...order.flatMap((old) => leb(types[old]))]);
    }
    case CODE: {
      const code = order.map((old) => {
        const body = renumberedBody(read.bytes, bodies[old], renumbered);
        return Buffer.concat([Buffer.from(leb(body.length)), body]);
      });
      return Buffer.concat([Buffer.from(leb(code.length)), ...code]);
    }
    case GLOBALS:
      read.list(() => {
        read.skip(2);
        read.constant();
      });
      return read.all();
    case START:
      return Buffer.from(leb(renumbered(read.number())));
    case EXPORTS: {
      const exports = read.list(() => {
        const name = read.raw(() => read.skip(read.number()));
        const what = read.byte();
        const index = read.number();
        return Buffer.from([...name, what, ...leb(what === 0 ? renumbered(index) : index)]);
      });
      return Buffer.concat([Buffer.from(leb(exports.length)), ...exports]);
    }
    case ELEMENTS: {
      const elements = read.list(() => {
        const offset = read.raw(() => {
          if (read.number() !== 0) throw new Error('elements of a kind that is not known here');
          read.constant();
        });
        const functions = read.list(() => leb(renumbered(read.number())));
        return Buffer.from([...offset, ...leb(functions.length), ...functions.flat()]);
      });
      return Buffer.concat([Buffer.from(leb(elements.length)), ...elements]);
    }
    case CUSTOM:
      return read.text() === 'name' ? names(read, renumbered, isKept) : read.all();
    default:
      return read.all();
  }
}

function names(read, renumbered, isKept) {
  while (read.at < read.end) {
    const [what, size] = [read.byte(), read.number()];
    if (what !== 1) {
      read.skip(size);
      continue;
    }
    const all = read
      .list(() => ({ index: read.number(), name: read.raw(() => read.skip(read.number())) }))
      .filter(({ index }) => isKept(index))
      .map(({ index, name }) => ({ index: renumbered(index), name }))
      .sort((a, b) => a.index - b.index);
    const list = Buffer.concat([Buffer.from(leb(all.length)), ...all.flatMap(({ index, name }) => [Buffer.from(leb(index)), name])]);
    return Buffer.concat([Buffer.from([4, ...Buffer.from('name'), 1, ...leb(list.length)]), list]);
  }
  return undefined;
}

/** For each function the first one that does the same. Those that call the same of equal ones are equal in turn. */
function equalsOf(module, bodies, types, imported) {
  let single = bodies.map((_, index) => index);
  for (;;) {
    const known = new Map();
    const found = bodies.map((body, index) => {
      const calls = (called) => (called < imported ? called : imported + single[called - imported]);
      const text = `${types[index]} ${renumberedBody(module, body, calls).toString('latin1')}`;
      if (!known.has(text)) known.set(text, index);
      return known.get(text);
    });
    if (found.every((first, index) => first === single[index])) return single;
    single = found;
  }
}

/** A function's code with the new numbers of what it calls. */
function renumberedBody(bytes, { from, to }, renumbered) {
  const read = new Reader(bytes, from, to);
  const parts = [];
  let copied = from;
  for (let locals = read.number(); locals > 0; locals -= 1) {
    read.number();
    read.skip(1);
  }
  while (read.at < to) {
    const instruction = read.byte();
    if (instruction === 0x10 || instruction === 0xd2) {
      parts.push(bytes.subarray(copied, read.at), Buffer.from(leb(renumbered(read.number()))));
      copied = read.at;
    } else {
      skipOperands(read, instruction);
    }
  }
  if (read.at !== to) throw new Error('a function was not understood');
  return Buffer.concat([...parts, bytes.subarray(copied, to)]);
}

/** Skips what follows an instruction: see "Instructions" in the binary format of WebAssembly's specification. */
function skipOperands(read, instruction) {
  const between = (first, last) => instruction >= first && instruction <= last;
  if (between(0x02, 0x04) || between(0x0c, 0x0d) || between(0x20, 0x26) || instruction === 0xd0) read.number();
  else if (between(0x41, 0x42)) read.number();
  else if (instruction === 0x0e) {
    read.list(() => read.number());
    read.number();
  } else if (instruction === 0x11 || between(0x28, 0x3e)) {
    read.number();
    read.number();
  } else if (instruction === 0x1c) read.list(() => read.number());
  else if (between(0x3f, 0x40)) read.skip(1);
  else if (instruction === 0x43) read.skip(4);
  else if (instruction === 0x44) read.skip(8);
  else if (instruction === 0xfc) skipMore(read, read.number());
  else if (instruction === 0xfd) skipVector(read, read.number());
  else if (!(between(0x45, 0xc4) || [0x00, 0x01, 0x05, 0x0b, 0x0f, 0x1a, 0x1b, 0xd1].includes(instruction)))
    throw new Error(`the instruction ${instruction} is not known here`);
}

function skipMore(read, instruction) {
  if (instruction < 8) return;
  if (instruction > 17) throw new Error(`the instruction 252 ${instruction} is not known here`);
  read.number();
  if ([8, 10, 12, 14].includes(instruction)) read.number();
}

function skipVector(read, instruction) {
  if (instruction > 255) throw new Error(`the instruction 253 ${instruction} is not known here`);
  const memory = instruction <= 11 || (instruction >= 84 && instruction <= 93);
  if (memory) {
    read.number();
    read.number();
  }
  if (instruction === 12 || instruction === 13) read.skip(16);
  else if ((instruction >= 21 && instruction <= 34) || (instruction >= 84 && instruction <= 91)) read.skip(1);
}

/**
 * The order: next comes the function of which the largest share of bytes repeats those of the last ones. Small ones have their
 * length lessened by a power, or they would all come first.
 */
function orderOf(bodies) {
  const runs = bodies.map(runsOf);
  const having = new Map();
  for (const [index, own] of runs.entries()) {
    for (const run of own) {
      if (!having.has(run)) having.set(run, []);
      having.get(run).push(index);
    }
  }
  for (const [run, functions] of having) if (functions.length === 1 || functions.length >= COMMON) having.delete(run);
  const scale = runs.map((own) => (own.size + 20) ** -0.8);
  const shared = new Int32Array(bodies.length);
  const recent = new Map();
  const count = (index, by) => {
    for (const run of runs[index]) {
      const before = recent.get(run) ?? 0;
      recent.set(run, before + by);
      if (before === 0 || before + by === 0) for (const other of having.get(run) ?? []) shared[other] += by;
    }
  };
  const left = new Set(bodies.keys());
  const order = [];
  let [oldest, bytes] = [0, 0];
  for (let next = 0; left.size > 0; ) {
    left.delete(next);
    order.push(next);
    count(next, 1);
    for (bytes += bodies[next].length; bytes > WINDOW && oldest < order.length - 1; oldest += 1) {
      count(order[oldest], -1);
      bytes -= bodies[order[oldest]].length;
    }
    let most = -1;
    for (const index of left) {
      const share = shared[index] * scale[index];
      if (share > most) [most, next] = [share, index];
    }
  }
  return order;
}

/** Hashes of a function's runs of bytes. */
function runsOf(body) {
  const runs = new Set();
  for (let at = 0; at + RUN <= body.length; at += 1) {
    let hash = 0;
    for (let k = 0; k < RUN; k += 1) hash = (hash * 257 + body[at + k]) % 4_294_967_291;
    runs.add(hash);
  }
  return runs;
}

function sectionsOf(module) {
  const all = [];
  const read = new Reader(module, 8, module.length);
  while (read.at < module.length) {
    const [kind, size] = [read.byte(), read.number()];
    all.push({ kind, body: read.at, to: read.at + size });
    read.skip(size);
  }
  return { all, get: (kind) => all.find((section) => section.kind === kind) };
}

function importedFunctions(module, { body, to }) {
  const read = new Reader(module, body, to);
  const kinds = read.list(() => {
    read.text();
    read.text();
    const kind = read.byte();
    if (kind !== 0) throw new Error('an import is no function');
    read.number();
    return kind;
  });
  return kinds.length;
}

function typesOf(module, { body, to }) {
  const read = new Reader(module, body, to);
  return read.list(() => read.number());
}

function bodiesOf(module, { body, to }) {
  const read = new Reader(module, body, to);
  return read.list(() => {
    const size = read.number();
    read.skip(size);
    return { from: read.at - size, to: read.at };
  });
}

/** Reads the format's numbers and lists. */
class Reader {
  constructor(bytes, start, end) {
    this.bytes = bytes;
    this.start = start;
    this.at = start;
    this.end = end;
  }

  byte() {
    return this.bytes[this.at++];
  }

  number() {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
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

  list(each) {
    return Array.from({ length: this.number() }, each);
  }

  /** The bytes that `pass` goes over. */
  raw(pass) {
    const from = this.at;
    pass();
    return this.bytes.subarray(from, this.at);
  }

  /** A constant that is no function's number. */
  constant() {
    const instruction = this.byte();
    if (![0x23, 0x41, 0x42, 0x43, 0x44, 0xd0].includes(instruction)) throw new Error('a constant of a kind that is not known here');
    skipOperands(this, instruction);
    if (this.byte() !== 0x0b) throw new Error('a constant of more than one instruction');
  }

  all() {
    return this.bytes.subarray(this.start, this.end);
  }
}

function leb(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(Math.floor(value / 128))];
}
