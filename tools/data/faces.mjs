// Takes DiceBear's pixel-art set apart: ../../www/data/faces.js has its parts as the pixels they paint, from which
// ../../www/train/faces.js composes faces; ../../tests/fixtures/faces.json has some faces as DiceBear draws them, which a test
// compares with those (`rgba`: their pixels, one after another, deflated).
//
//   (cd ../models/pixel-faces-16 && npm ci) && node faces.mjs

import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { deflateSync } from 'node:zlib';
import { OPTIONS } from '../models/pixel-faces-16/options.mjs';

// The packages are locked and installed where the shipped model's data are drawn.
const require = createRequire(new URL('../models/pixel-faces-16/package.json', import.meta.url));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const [{ createAvatar }, pixelArt, { Resvg }] = await Promise.all([
  load('@dicebear/core'),
  load('@dicebear/pixel-art'),
  load('@resvg/resvg-js'),
]);

const { size: SIZE, backgroundColor: BACKGROUNDS } = OPTIONS;
// From back to front, as DiceBear stacks them.
const STACK = ['accessories', 'clothing', 'eyes', 'glasses', 'mouth', 'hair', 'hat'];
const OPTIONAL = ['accessories', 'glasses', 'hat'];
const ROLES = ['skin', ...STACK];

const properties = pixelArt.schema.properties;
const pixelsOf = (svg) => new Resvg(svg, { font: { loadSystemFonts: false } }).render().pixels;

/** What DiceBear's SVG of nothing but these parts holds; each role has a colour of its own by which it is known again. */
const colourOf = (role) => `0000f${ROLES.indexOf(role)}`;
function body(parts) {
  const options = { beardProbability: 0, backgroundColor: [], clip: false };
  for (const role of ROLES) options[`${role}Color`] = [colourOf(role)];
  for (const part of STACK) options[part] = parts[part] ? [parts[part]] : [];
  for (const part of OPTIONAL) options[`${part}Probability`] = 100;
  return createAvatar(pixelArt, { ...options, size: SIZE })
    .toString()
    .match(/<\/metadata>(.*)<\/svg>/s)[1];
}

/** The paints of a body, back to front: [colour, opacity, pixels]. Null is the layer's own colour; pixels are the bits of a hexadecimal number, row by row. */
function paints(role, text) {
  const found = [];
  let group = null;
  for (const [element] of text.matchAll(/<[^>]+>/g)) {
    const name = element.match(/^<\/?(\w+)/)[1];
    const attribute = (key) => element.match(new RegExp(` ${key}="([^"]*)"`))?.[1];
    if (name === 'g') group = element.startsWith('</') ? null : attribute('fill');
    else if (name === 'path')
      found.push([attribute('fill') ?? group, Number(attribute('fill-opacity') ?? 1), mask(attribute('d'), attribute('fill-rule'))]);
    else throw new Error(`an element that is not known here: ${element}`);
  }
  return found.map(([fill, opacity, pixels]) => [
    fill === `#${colourOf(role)}` ? null : fill.replace(/^#(.)(.)(.)$/, '$1$1$2$2$3$3'),
    opacity,
    pixels,
  ]);
}

function mask(path, rule = 'nonzero') {
  const pixels = pixelsOf(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE} ${SIZE}" width="${SIZE}" height="${SIZE}" shape-rendering="crispEdges"><path fill-rule="${rule}" d="${path}"/></svg>`,
  );
  let bits = '';
  for (let i = 3; i < pixels.length; i += 4) {
    if (pixels[i] % 255 !== 0) throw new Error(`${path} covers a part of a pixel`);
    bits += pixels[i] === 255 ? '1' : '0';
  }
  return bits.replace(/.{4}/g, (four) => parseInt(four, 2).toString(16));
}

const skin = body({});
const layers = [{ name: 'skin', colours: properties.skinColor.default, variants: { face: paints('skin', skin) } }];
for (const name of STACK) {
  const variants = {};
  for (const variant of properties[name].default) {
    const all = body({ [name]: variant });
    if (!all.startsWith(skin)) throw new Error('the skin is not at the back');
    variants[variant] = paints(name, all.slice(skin.length));
  }
  const chance = OPTIONAL.includes(name) ? OPTIONS[`${name}Probability`] / 100 : 1;
  layers.push({ name, chance, colours: properties[`${name}Color`].default, variants });
}

const facts = {
  name: 'Pixel faces',
  about: 'made-up faces, 16 × 16 pixels in colour',
  licence: 'CC0 1.0',
  source: 'DiceBear’s pixel-art set (@dicebear/pixel-art 9), put together by this program',
  size: SIZE,
  backgrounds: BACKGROUNDS,
};
// A variant a line, so that a difference can be read.
const lines = ({ variants, ...layer }) => {
  const each = Object.entries(variants).map(([name, variant]) => `    ${JSON.stringify(name)}: ${JSON.stringify(variant)}`);
  return `  {${JSON.stringify(layer).slice(1, -1)}, "variants": {\n${each.join(',\n')}\n  }}`;
};
write(
  '../../www/data/faces.js',
  `export default {${JSON.stringify(facts).slice(1, -1)}, "layers": [\n${layers.map(lines).join(',\n')}\n]};\n`,
);

// Every variant at least once, DiceBear's own choices otherwise.
const [faces, pictures] = [[], []];
const unseen = new Set(STACK.flatMap((name) => properties[name].default.map((variant) => `${name} ${variant}`)));
for (let seed = 0; unseen.size > 0; seed++) {
  const avatar = createAvatar(pixelArt, { ...OPTIONS, seed: String(seed) });
  const { extra } = avatar.toJson();
  const chosen = STACK.filter((name) => extra[name]).map((name) => `${name} ${extra[name]}`);
  if (!chosen.some((part) => unseen.has(part))) continue;
  for (const part of chosen) unseen.delete(part);
  const choice = { background: extra.primaryBackgroundColor.slice(1), skin: ['face', extra.skinColor.slice(1)] };
  for (const name of STACK) if (extra[name]) choice[name] = [extra[name], extra[`${name}Color`].slice(1)];
  faces.push(choice);
  pictures.push(pixelsOf(avatar.toString()));
}
const rgba = deflateSync(Buffer.concat(pictures), { level: 9 }).toString('base64');
write('../../tests/fixtures/faces.json', `{"rgba": "${rgba}",\n"faces": [\n${faces.map((face) => JSON.stringify(face)).join(',\n')}\n]}\n`);
console.log(
  `${layers.length} layers, ${layers.reduce((sum, { variants }) => sum + Object.keys(variants).length, 0)} variants; ${faces.length} faces to compare with`,
);

function write(path, text) {
  writeFileSync(new URL(path, import.meta.url), text);
}
