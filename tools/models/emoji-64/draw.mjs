// Draws every emoji that the training uses, once for each of two styles, into one safetensors file.
//
//   node draw.mjs [out=cache/sprites.safetensors]
//
//   sprites  U8 [count, 64, 64, 4]   sRGB, premultiplied by alpha, 0..255
//
// `__metadata__.emoji` is JSON, one object a sprite: {"name": "red heart", "tags": ["emotion", …], "group": 8,
// "style": "noto" | "flat", "tone": 0..5}. Names and tags are Unicode's (CLDR, English), a tone of 0 is "none named".

import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';

const require = createRequire(import.meta.url);
const SIZE = 64;
const SETS = [
  { style: 'noto', package: '@iconify-json/noto' },
  { style: 'flat', package: '@iconify-json/fluent-emoji-flat' },
];
const TONES = [1, 3, 5]; // light, medium, dark: the two between them would only make the lot larger
const COMPONENTS = 2; // hair and skin swatches, no emoji of their own
const SYMBOLS_OF_TEXT = /\b(button|keycap|japanese)\b/i; // lettering is unreadable at this size

// resvg aborts on these drawings, which hold shapes far outside their frame.
const UNDRAWABLE = { noto: ['package', 'rainbow-flag'], flat: [] };

const bare = (hexcode) => hexcode.toLowerCase().replaceAll('-fe0f', '');

/** What Unicode says of each sequence: {hexcode: {name, tags, group, tone}}. */
function readNames() {
  const named = new Map();
  for (const emoji of require('emojibase-data/en/data.json')) {
    if (emoji.group === undefined || emoji.group === COMPONENTS || SYMBOLS_OF_TEXT.test(emoji.label)) continue;
    const about = { name: emoji.label.toLowerCase().replaceAll('’', "'"), tags: emoji.tags ?? [], group: emoji.group };
    named.set(bare(emoji.hexcode), { ...about, tone: 0 });
    const gendered = /^(man|woman|men|women)\b/.test(about.name);
    for (const skin of emoji.skins ?? []) {
      if (TONES.includes(skin.tone) && !gendered) named.set(bare(skin.hexcode), { ...about, tone: skin.tone });
    }
  }
  return named;
}

function draw(set, name) {
  const icon = set.icons[name] ?? set.icons[set.aliases[name].parent];
  const width = icon.width ?? set.width;
  const height = icon.height ?? set.height;
  const box = `${icon.left ?? 0} ${icon.top ?? 0} ${width} ${height}`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIZE}" height="${SIZE}" viewBox="${box}">${icon.body}</svg>`;
  const { pixels } = new Resvg(svg, { font: { loadSystemFonts: false } }).render();
  const rgba = new Uint8Array(pixels);
  if (rgba.length !== SIZE * SIZE * 4) throw new Error(`${name}: drawn at another size`);
  return rgba;
}

const names = readNames();
const emoji = [];
const sprites = [];
for (const { style, package: path } of SETS) {
  const set = { ...require(`${path}/icons.json`) };
  const drawn = new Set();
  for (const [hexcode, name] of Object.entries(require(`${path}/chars.json`))) {
    const about = names.get(bare(hexcode));
    const key = JSON.stringify(about);
    if (about === undefined || drawn.has(key) || UNDRAWABLE[style].includes(name)) continue;
    drawn.add(key);
    emoji.push({ ...about, style });
    sprites.push(draw(set, name));
  }
}

const data = Buffer.concat(sprites);
const header = {
  __metadata__: { emoji: JSON.stringify(emoji) },
  sprites: { dtype: 'U8', shape: [emoji.length, SIZE, SIZE, 4], data_offsets: [0, data.length] },
};
let json = Buffer.from(JSON.stringify(header));
json = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(json.length));
const out = process.argv[2] ?? join(import.meta.dirname, 'cache/sprites.safetensors');
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, Buffer.concat([length, json, data]));
console.log(`${emoji.length} sprites of ${new Set(emoji.map(({ name }) => name)).size} emoji in ${out}`);
