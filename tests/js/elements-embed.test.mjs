// What the Embed button hands out, and which training pictures are the nearest.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { embedCode } from '../../www/elements/embed-code.js';
import { Nearest } from '../../www/elements/nearest.js';

const FOLDER = 'https://cdn.example/noiseball/';
const of = (attributes, tag = 'diffusion-sampler') => embedCode(tag, attributes, 'https://me:secret@blog.example/posts/1.html', FOLDER);

test('two lines, an iframe and the settings, with whole addresses and without secrets', () => {
  const { lines, frame, settings } = of({ src: '../faces/?token=1#x', seed: 7, alt: '"<Faces>" & co' });
  assert.equal(
    lines,
    '<script type="module" src="https://cdn.example/noiseball/elements.js"></script>\n' +
      '<diffusion-sampler src="https://blog.example/faces/" seed="7" alt="&quot;&lt;Faces>&quot; &amp; co"></diffusion-sampler>',
  );
  const address = frame.match(/src="([^"]*)"/)[1].replaceAll('&amp;', '&');
  const url = new URL(address);
  assert.equal(url.origin + url.pathname, 'https://cdn.example/noiseball/embed.html');
  assert.deepEqual(Object.fromEntries(url.searchParams), { src: 'https://blog.example/faces/', seed: '7', alt: '"<Faces>" & co' });
  assert.deepEqual(JSON.parse(settings), { src: 'https://blog.example/faces/', seed: '7', alt: '"<Faces>" & co' });
});

test('the hub by its own name, a model without an address by one to fill in, and the other elements', () => {
  assert.match(of({ src: 'hf:org/name@v2' }).lines, /src="hf:org\/name@v2"/);
  assert.match(of({ src: '' }).lines, /src="\.\/my-model\/"/);
  assert.match(of({ dataset: 'moons' }, 'diffusion-trainer').frame, /embed\.html\?element=trainer&amp;dataset=moons"/);
});

test('the nearest picture is found wherever it is, part by part, whatever its alpha', () => {
  const picture = (value) => [value, value, value, 255, value, 0, value, 255];
  const drawn = Uint8ClampedArray.from([...picture(10), ...picture(200)]);
  const nearest = new Nearest(drawn, 2);
  nearest.look(Uint8ClampedArray.from([...picture(90), ...picture(30)]), 0);
  nearest.look(Uint8ClampedArray.from([...picture(210).with(3, 0), ...picture(12)]), 2);
  assert.deepEqual(
    nearest.found.map(({ index }) => index),
    [3, 2],
  );
  assert.deepEqual([...nearest.pictures], [...picture(12), ...picture(210).with(3, 0)]);
});
