/**
 * Short names for what a module imports from the script that wasm-bindgen wrote for it. wasm-bindgen's end in sixteen digits of
 * a hash, which no compression shortens: they were 1.5 % of the sampling module's download.
 */

const IMPORTS = 2;
const FUNCTION = 0;

/** `{ module, script }` with short names; both have to come from the same run of wasm-bindgen. */
export function shortenImports(module, script) {
  const { from, body, to } = importSection(module);
  const [count, first] = number(module, body);
  const entries = [module.subarray(body, first)];
  const places = new Set();
  let at = first;
  for (let index = 0; index < count; index += 1) {
    const [place, afterPlace] = text(module, at);
    const [name, afterName] = text(module, afterPlace);
    if (module[afterName] !== FUNCTION) throw new Error(`the import ${name} is no function`);
    const [, end] = number(module, afterName + 1);
    const short = `f${index.toString(36)}`;
    script = renamed(script, `        ${name}: `, `        ${short}: `);
    entries.push(string('m'), string(short), module.subarray(afterName, end));
    places.add(place);
    at = end;
  }
  if (at !== to || places.size !== 1) throw new Error('the imports are not as wasm-bindgen writes them');
  script = renamed(script, `"${[...places][0]}": `, '"m": ');
  const section = Buffer.concat(entries);
  const head = Buffer.from([IMPORTS, ...leb(section.length)]);
  return { module: Buffer.concat([module.subarray(0, from), head, section, module.subarray(to)]), script };
}

/** Where the section begins, its body and its end. */
function importSection(module) {
  for (let from = 8; from < module.length; ) {
    const [size, body] = number(module, from + 1);
    if (module[from] === IMPORTS) return { from, body, to: body + size };
    from = body + size;
  }
  throw new Error('the module imports nothing');
}

function renamed(script, name, short) {
  const parts = script.split(name);
  if (parts.length !== 2) throw new Error(`the script has ${parts.length - 1} of ${name.trim()}`);
  return parts.join(short);
}

/** A number of the format's, and the place after it. */
function number(bytes, at) {
  let value = 0;
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++];
    value += (byte & 127) * scale;
    if (byte < 128) return [value, at];
  }
}

function text(bytes, at) {
  const [length, start] = number(bytes, at);
  return [bytes.toString('utf8', start, start + length), start + length];
}

function string(ascii) {
  return Buffer.from([ascii.length, ...Buffer.from(ascii)]);
}

function leb(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >> 7)];
}
