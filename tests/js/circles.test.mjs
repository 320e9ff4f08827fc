import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../../tools/setup/shell.mjs';
import { circles, circlesOf } from '../../tools/test/circles.mjs';

test('no Rust files use each other in a circle', () => {
  const found = circles(join(root, 'src'));
  assert.deepEqual(
    found.map(({ text }) => text),
    [],
  );
});

test('a circle is found through re-exports, nested lists and paths in the code', () => {
  const found = circlesOf([
    ['lib.rs', 'mod a;\nmod b;\n'],
    ['a/mod.rs', 'mod inner;\npub use inner::{Thing as Other, Thing};\npub use self::inner::more;\n'],
    ['a/inner.rs', 'pub struct Thing;\npub fn more() -> u8 { crate::b::number() }\n'],
    ['b.rs', 'use crate::{a::{Thing, more}, missing};\npub fn number() -> u8 { 7 }\n'],
  ]);
  assert.equal(found.length, 1);
  assert.deepEqual(found[0].text.split('\n'), [
    '2 files in a circle:',
    '  a/inner.rs uses number of b.rs',
    '  b.rs uses Thing, more of a/inner.rs',
  ]);
});

test('comments, strings, tests within a file and what a file passes on make no circle', () => {
  const found = circlesOf([
    ['lib.rs', 'mod a;\n'],
    ['a/mod.rs', 'mod low;\nmod high;\npub use high::top;\npub use high::*;\npub struct Shared;\n'],
    ['a/low.rs', '//! See [`super::top`].\nuse super::Shared;\nconst TEXT: &str = "super::high::top";\nmod tests { use super::*; }\n'],
    ['a/high.rs', "use super::low;\nuse super::Shared;\npub fn top<'a>(x: &'a str) -> &'a str { low::echo(x) }\n"],
    ['bin/tool/main.rs', 'mod part;\nconst NAME: u8 = 1;\nfn main() { part::run() }\n'],
    ['bin/tool/part.rs', 'use noiseball::a::Shared;\npub fn run() {}\n'],
  ]);
  assert.deepEqual(found, []);
});

test('a parent that uses its child, which uses what the parent defines, is a circle', () => {
  const sources = [
    ['lib.rs', 'mod parent;\n'],
    ['parent/mod.rs', 'mod child;\npub struct Options;\npub fn all() { child::one(&Options) }\n'],
    ['parent/child.rs', 'use super::Options;\npub fn one(_: &Options) {}\n'],
  ];
  assert.match(circlesOf(sources)[0].text, /parent\/child\.rs uses Options of parent\/mod\.rs/);
});
