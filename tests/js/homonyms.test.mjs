import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../../tools/setup/shell.mjs';

/** What a kernel's uniform is called, in the kernel's file as in its shader. */
const UNIFORM = 'Params';

/** Types by name, and the files that define one: a file that has two has them for different targets. */
function types(sources) {
  const found = new Map();
  for (const [file, text] of sources) {
    for (const [, name] of text.matchAll(/^\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|type|union) (\w+)/gm)) {
      found.set(name, (found.get(name) ?? new Set()).add(file));
    }
  }
  return found;
}

function homonyms(sources) {
  const found = [...types(sources)].filter(([name, files]) => files.size > 1 && name !== UNIFORM);
  return found.map(([name, files]) => `${name}: ${[...files].join(', ')}`);
}

test('no name stands for two types of the engine', () => {
  const folder = join(root, 'src/engine');
  const files = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.rs'));
  // An interpreter of a trait says what stands for the trait's types.
  const withoutAssociated = (text) => text.replaceAll(/^ {4}type \w+.*$/gm, '');
  const sources = files.map((name) => [name, withoutAssociated(readFileSync(join(folder, name), 'utf8'))]);
  assert.deepEqual(homonyms(sources), []);
  assert.ok(types(sources).size > 100);
});

test('homonyms are found', () => {
  const sources = [
    ['a.rs', 'pub struct Rows;\npub(super) enum Work {}\nstruct Params;\n'],
    ['b.rs', 'mod inner {\n    trait Rows {}\n}\nstruct Params;\nstruct Workers;\n'],
  ];
  assert.deepEqual(homonyms(sources), ['Rows: a.rs, b.rs']);
});
