// The reader's own checkpoints: those that Python wrote, and files that are none.

import { readFileSync } from 'node:fs';
import { CLASS, checkpoints, dropFiles, expect, filesBelow, finished, notice, openPage, picture, RUN, test } from './browser.mjs';

const WEIGHTS = 'diffusion_pytorch_model.safetensors';

for (const name of ['layout-a', 'layout-b', 'f16-variant', 'bf16', 'class-conditional']) {
  test(`the files of Python's '${name}' run when dropped`, async ({ page }) => {
    await openPage(page);
    const before = await picture(page);
    await dropFiles(page, read(name));
    await expect(page.locator('#facts')).toContainText('your files');
    await finished(page);
    await expect(notice(page)).toBeHidden();
    expect(await picture(page)).not.toBe(before);
    await expect(page.locator(CLASS)).toBeVisible({ visible: name === 'class-conditional' });
  });
}

for (const [pickled, same] of [
  ['pickle', 'layout-a'],
  ['pickle-shards', 'class-conditional'],
]) {
  test(`the weights of PyTorch’s own format in '${pickled}' give the picture of '${same}'`, async ({ page }) => {
    await openPage(page);
    const pictures = [];
    for (const name of [same, pickled]) {
      const before = await picture(page);
      await dropFiles(page, read(name));
      await expect(page.locator('#facts')).toContainText('your files');
      await finished(page);
      await expect(notice(page)).toBeHidden();
      pictures.push(await picture(page));
      expect(pictures.at(-1)).not.toBe(before);
      await page.locator('#reset').click();
      await expect(page.locator('#facts')).toContainText('pixel-faces-16');
      await finished(page);
    }
    expect(pictures[1]).toBe(pictures[0]);
  });
}

test('a chosen folder runs under its name, and the first model comes back', async ({ page, browserName }) => {
  test.skip(browserName === 'firefox', 'WebDriver cannot choose a folder there');
  await openPage(page);
  const before = await picture(page);
  await page.locator('#folder-input').setInputFiles(`${checkpoints}layout-a`);
  await expect(page.locator('#facts')).toContainText('layout-a');
  await finished(page);
  await page.locator('#reset').click();
  await expect(page.locator('#facts')).toContainText('pixel-faces-16');
  await finished(page);
  expect(await picture(page)).toBe(before);
  await expect(page.locator('#reset')).toBeHidden();
});

// What is spoilt, how, and what the message must say about it.
const bad = [
  ['truncated weights', replaced(WEIGHTS, (bytes) => bytes.subarray(0, -100)), /not a readable safetensors file/],
  ['a header longer than the file', replaced(WEIGHTS, () => Buffer.alloc(64, 255)), /not a readable safetensors file/],
  ['an empty weights file', replaced(WEIGHTS, () => Buffer.alloc(0)), /not a readable safetensors file/],
  ['a config that is no JSON', replaced('config.json', () => Buffer.from('{"a":')), /not the JSON that diffusers writes/],
  [
    'a config of something else',
    replaced('config.json', () => Buffer.from('{"_class_name": "UNet2DConditionModel"}')),
    /UNet2DConditionModel is not supported/,
  ],
  ['no weights', without(WEIGHTS), /safetensors.*found/],
  ['no config', without('config.json'), /config\.json.*found/],
  ['a text file', () => [{ name: 'notes.txt', bytes: Buffer.from('hello') }], /notes\.txt/],
];

for (const [what, spoil, message] of bad) {
  test(`dropping ${what} is explained, and the page goes on`, async ({ page }) => {
    await openPage(page);
    const before = await picture(page);
    await dropFiles(page, spoil(read('layout-a')));
    await expect(page.locator('#notice-title')).toHaveText(/^This (checkpoint is incomplete|kind of model is not supported)\.$/);
    await expect(page.locator('#notice-text')).toHaveText(message);
    await expect(page.locator('#facts')).toContainText('pixel-faces-16');
    await page.locator(RUN).click();
    await finished(page);
    await expect(notice(page)).toBeHidden();
    expect(await picture(page)).toBe(before);
  });
}

test('a dragged file shows where to drop it, and leaving hides that again', async ({ page }) => {
  await openPage(page);
  const drag = (type) =>
    page.evaluate((name) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(['x'], 'x.json'));
      document.body.dispatchEvent(new DragEvent(name, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }, type);
  await drag('dragenter');
  await expect(page.locator('#drop')).toBeVisible();
  await drag('dragleave');
  await expect(page.locator('#drop')).toBeHidden();
});

function read(name) {
  return filesBelow(`${checkpoints}${name}`).map(({ name: file, path }) => ({ name: file, bytes: readFileSync(path) }));
}

function replaced(name, change) {
  return (files) => files.map((file) => (file.name === name ? { name, bytes: change(file.bytes) } : file));
}

function without(name) {
  return (files) => files.filter((file) => file.name !== name);
}
