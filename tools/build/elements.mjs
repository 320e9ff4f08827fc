/**
 * What is made of the elements' table, www/elements/api.js: their types and the tables in docs/embedding.md. `node
 * tools/build/elements.mjs` writes both; a test says where they are older than the table.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ELEMENTS } from '../../www/elements/api.js';
import { propertyOf } from '../../www/elements/element.js';
import { root } from '../setup/shell.mjs';

/** Where Biome's formatter, which reads what is made too, breaks a line. */
const LINE = 140;
const [BEGIN, END] = ['<!-- made by tools/build/elements.mjs -->', '<!-- until here -->'];

/** The files that are made, by their paths: what they should hold. */
export function made() {
  const docs = readFileSync(join(root, 'docs', 'embedding.md'), 'utf8');
  const [before, , after] = docs.split(new RegExp(`(?<=${BEGIN}\n)([^]*)(?=${END})`));
  return { 'www/elements.d.ts': types(), 'docs/embedding.md': `${before}\n${tables()}\n${after}` };
}

function tables() {
  return Object.entries(ELEMENTS).map(table).join('\n\n');
}

function table([tag, element]) {
  const sections = [
    ['Attribute and property', element.attributes, (name, row) => [attributeName(name), values(row), row.about]],
    ['Property', writable(element, true), (name, { type, about }) => [`\`${name}\``, code(type), about]],
    ['Read-only property', writable(element, false), (name, { type, about }) => [`\`${name}\``, code(type), about]],
    ['Method', element.methods, (name, { type, about }) => [code(`${name}${type.replace(/\): (.*)$/, ') → $1')}`), '', about]],
    ['Event', element.events, (name, { detail, about }) => [`\`${name}\``, detail === 'null' ? '' : `\`detail\`: ${code(detail)}`, about]],
    ['Slot', element.slots, (name, about) => [name ? `\`${name}\`` : '(its own content)', '', about]],
    ['Part', element.parts, (name, about) => [`\`::part(${name})\``, '', `${about}.`]],
    ['Custom property', element.customProperties, (name, about) => [`\`${name}\``, '', `${about}.`]],
  ];
  const rows = sections
    .filter(([, things]) => Object.keys(things).length > 0)
    .flatMap(([title, things, row]) => [[`**${title}**`, '', ''], ...Object.entries(things).map(([name, thing]) => row(name, thing))]);
  const lines = [['', '', ''], ['---', '---', '---'], ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return [`#### \`<${tag}>\``, '', element.about, '', ...lines].join('\n');
}

/** The properties that can be set, or those that cannot. */
const writable = ({ properties }, can) =>
  Object.fromEntries(Object.entries(properties).filter(([, row]) => (row.writable ?? false) === can));

/** An attribute, and its property where that has another name. */
const attributeName = (name) => (propertyOf(name) === name ? `\`${name}\`` : `\`${name}\` (\`${propertyOf(name)}\`)`);

const code = (text) => `\`${text.replaceAll('|', '\\|')}\``;

function values({ type, values, min, max, default: otherwise }) {
  if (type === 'choice') return values.map((value) => (value === otherwise ? `**\`${value}\`**` : `\`${value}\``)).join(', ');
  if (type === 'list') return `any of ${values.map((value) => `\`${value}\``).join(' ')}; **\`${otherwise.join(' ')}\`**`;
  if (type === 'text') return otherwise ? `**\`${otherwise}\`**` : '';
  const usual = otherwise === null ? '' : `; **${otherwise}**`;
  const most = max === Number.MAX_SAFE_INTEGER ? '2^53 − 1' : max;
  return `${min} to ${most}${type === 'whole' ? ', whole' : ''}${usual}`;
}

function types() {
  return `// Types of the package's entry \`noiseball/elements\`, made of elements/api.js by tools/build/elements.mjs. Importing it registers the elements.

import type { ErrorType, ModelInfo, Noiseball, Source } from './noiseball.js';
import type { DataInfo, TrainingProgress } from './training.js';

${Object.entries(ELEMENTS).map(typesOf).join('\n')}
/** Makes an HTML element: an attribute that is \`true\` is present, one that is \`false\` or \`null\` absent. Texts are never read as HTML. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes?: Record<string, string | number | boolean | null>,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K];

/** The same of SVG. */
export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes?: Record<string, string | number | boolean | null>,
  ...children: (Node | string)[]
): SVGElementTagNameMap[K];

declare global {
  interface HTMLElementTagNameMap {
${Object.entries(ELEMENTS)
  .map(([tag, { name }]) => `    '${tag}': ${name};\n`)
  .join('')}  }
}
`;
}

function typesOf([tag, { name, about, attributes, properties, methods, events }]) {
  const own = Object.entries(events).map(([event, { detail, about }]) => `${comment(about)}  ${quoted(event)}: CustomEvent<${detail}>;`);
  const members = [
    ...Object.entries(attributes).map(([name, row]) => `${comment(row.about)}${accessors(propertyOf(name), row)}`),
    ...Object.entries(properties).map(
      ([name, { type, about, writable }]) => `${comment(about)}  ${writable ? '' : 'readonly '}${name}: ${type};`,
    ),
    ...Object.entries(methods).map(([name, { type, about }]) => `${comment(about)}  ${name}${type};`),
  ];
  const head = `export interface ${name}EventMap`;
  const without = union(Object.keys(events));
  let base = `extends Omit<HTMLElementEventMap, ${without}> {`;
  if (base.length + 2 > LINE) base = `extends Omit<\n    HTMLElementEventMap,\n    ${without}\n  > {`;
  return `${head}${head.length + base.length < LINE ? ' ' : '\n  '}${base}
${own.join('\n')}
}

/** \`<${tag}>\`. ${about} */
export class ${name} extends HTMLElement {
${members.join('\n')}
  addEventListener<K extends keyof ${name}EventMap>(
    type: K,
    listener: (this: ${name}, event: ${name}EventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof ${name}EventMap>(
    type: K,
    listener: (this: ${name}, event: ${name}EventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}
`;
}

const quoted = (name) => (/^\w+$/.test(name) ? name : `'${name}'`);

/** A property reads as the value that holds, and takes what the attribute may say. */
function accessors(name, { type, values, default: otherwise, taken }) {
  const none = otherwise === null ? ' | null' : '';
  const kinds = {
    text: ['string', 'string'],
    choice: [union(values), union(values)],
    whole: [`number${none}`, `number | string${none}`],
    real: [`number${none}`, `number | string${none}`],
    list: ['string[]', 'readonly string[] | string'],
  };
  const [own, takes] = kinds[type];
  const gives = taken ? `HTMLElement['${name}']` : own;
  return gives === takes ? `  ${name}: ${gives};` : `  get ${name}(): ${gives};\n  set ${name}(value: ${takes});`;
}

const union = (values = []) => values.map((value) => `'${value}'`).join(' | ');

const comment = (about) => `  /** ${about} */\n`;

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [path, text] of Object.entries(made())) writeFileSync(join(root, path), text);
}
