// A stranger's text, as it is shown: the same rules as src/text.rs.
import assert from 'node:assert/strict';
import test from 'node:test';
import { NoiseballError } from '../../www/errors.js';
import { resolveSource } from '../../www/source.js';
import { decoded, name, prose, withoutSecrets } from '../../www/text.js';

test('what misleads a reader is written out', () => {
  assert.equal(name('\u001b[2J\u001b]52;c;cHduZWQ=\u0007X'), '\\u{1b}[2J\\u{1b}]52;c;cHduZWQ=\\u{7}X');
  assert.equal(name('UNet\u009b31m\u007f\r\n'), 'UNet\\u{9b}31m\\u{7f}\\u{d}\\u{a}');
  assert.equal(name('a\u202egnp.exe\u2066\u{e0041}\ufeff'), 'a\\u{202e}gnp.exe\\u{2066}\\u{e0041}\\u{feff}');
  for (const kept of ['Füchse und 狐狸', '👩\u200d🔬', 'می\u200cخواهم', '\\ " `x`', '']) assert.equal(name(kept), kept);
});

test('no text is longer than a message', () => {
  assert.equal(name('狐'.repeat(1 << 20)), `${'狐'.repeat(160)}…`);
  assert.equal([...prose('👩'.repeat(3000))].length, 1001);
  assert.equal(name('x'.repeat(160)).length, 160);
  assert.equal(new NoiseballError('fetch', 'x'.repeat(3_000_000)).message.length, 1001);
});

test('addresses keep their secrets, in messages too', () => {
  for (const [given, seen] of [
    ['https://me:pa55@example.com:8080/a/b/c.json?token=s3cret#x', 'https://example.com:8080/a/b/c.json'],
    ['https://a/?x=https://b/?y=1: HTTP 404', 'https://a/: HTTP 404'],
    ['see `https://a/b?sig=1`, http://u@c. Then', 'see `https://a/b`, http://c. Then'],
    ['https://a@b@c/d@e?f', 'https://c/d@e'],
    ['what is 1 + 1?', 'what is 1 + 1?'],
  ]) {
    assert.equal(withoutSecrets(given), seen);
    assert.equal(new NoiseballError('fetch', given).message, seen);
  }
});

test('a percent sign that encodes nothing is no error', async () => {
  assert.equal(decoded('%E0%A4%A'), '%E0%A4%A');
  assert.equal(decoded('caf%C3%A9'), 'café');
  const source = await resolveSource('https://example.com/%E0%A4%A/', 'https://example.com/');
  assert.deepEqual(source, { kind: 'url', url: 'https://example.com/%E0%A4%A/', name: '%E0%A4%A' });
});

test('a name from an address is shown as a name', async () => {
  const { name: shown } = await resolveSource('https://example.com/a%1B%5B2J%E2%80%AEb/', 'https://example.com/');
  assert.equal(shown, 'a\\u{1b}[2J\\u{202e}b');
  await assert.rejects(resolveSource('ftp://me:pa55@host/a?token=1', 'https://example.com/'), ({ type, message }) => {
    assert.equal(type, 'invalid-option');
    return !/pa55|token/.test(message);
  });
});
