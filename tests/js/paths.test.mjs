import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blankPaths } from '../../tools/build/paths.mjs';

test('paths of libraries are blanked, the length and all else stay', () => {
  const module = Buffer.from(
    '\0asm src/web/mod.rs/rustc/59807616/library/core/src/option.rssrc/text.rs/home/me/.cargo/registry/src/a-1/b.rs\xff',
    'latin1',
  );
  const blank = blankPaths(module, ['/rustc/', '/home/me/.cargo/registry/src/']).toString('latin1');
  assert.equal(blank.length, module.length);
  assert.match(blank, /^\0asm src\/web\/mod\.rs\.+src\/text\.rs\.+\xff$/);
});

test('a place without a file after it is left', () => {
  assert.equal(blankPaths(Buffer.from('a /rustc/ b')).toString(), 'a /rustc/ b');
});
