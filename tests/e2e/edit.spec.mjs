// Editing a picture in the page, and a sampler on the plane.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../tools/setup/shell.mjs';
import { dropFiles, expect, test, type } from './browser.mjs';

const AXE = readFileSync(join(root, 'node_modules', 'axe-core', 'axe.min.js'), 'utf8');
const START = '#editing #edit-start';

const hash = (task) => `./#view=edit&device=cpu&sampler=unipc&steps=4&task=${task}`;

async function open(page, task = 'paint') {
  await page.goto(hash(task));
  await expect(page.locator('#edit-status')).toHaveText('A sample of the model, to be edited.');
}

/** The pixels of the pictures that were made, one list each. */
function made(page) {
  return page
    .locator('#edit-result canvas')
    .evaluateAll((all) => all.map((canvas) => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]));
}

async function run(page, says) {
  await page.locator(START).click();
  await expect(page.locator('#edit-status')).toHaveText(says);
  await expect(page.locator(START)).not.toHaveText('Stop');
}

test('a part of a picture of one’s own is painted anew, by the keyboard alone, and the rest is kept', async ({ page }) => {
  await open(page);
  // 32 × 16 grey pixels, which are cropped to the model's 16 × 16.
  const bytes = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(32, 16);
    const context = canvas.getContext('2d');
    context.fillStyle = 'rgb(51 102 153)';
    context.fillRect(0, 0, 32, 16);
    return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
  });
  await dropFiles(page, [{ name: 'mine.png', bytes: Uint8Array.from(bytes) }]);
  await expect(page.locator('#edit-status')).toHaveText(/Your picture/);
  await page.locator('#edit-clear').focus();
  await page.keyboard.press('Enter');
  await expect(page.locator('#edit-painted')).toHaveText('0 of 256 pixels are painted.');
  await page.locator(START).focus();
  await page.keyboard.press('Enter');
  await expect(page.locator('#notice')).toContainText('Nothing is painted.');
  await page.locator('#edit-canvas').focus();
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('Space');
  await expect(page.locator('#edit-painted')).toHaveText('4 of 256 pixels are painted.');
  await page.keyboard.press('Shift+ArrowDown');
  await page.keyboard.press('Enter');
  await expect(page.locator('#edit-painted')).toHaveText('8 of 256 pixels are painted.');
  await page.locator(START).focus();
  await page.keyboard.press('Enter');
  await expect(page.locator('#edit-status')).toHaveText('Done.');
  const [picture] = await made(page);
  const isGiven = (pixel) => picture.slice(4 * pixel, 4 * pixel + 3).every((value, i) => Math.abs(value - [51, 102, 153][i]) <= 1);
  const changed = Array.from({ length: 256 }, (_, i) => i).filter((pixel) => !isGiven(pixel));
  expect(changed.length).toBeGreaterThan(0);
  expect(changed.length).toBeLessThanOrEqual(8);
  // What was made can be edited in its turn.
  await page.locator('#edit-use').click();
  await page.locator('#edit-swap').click();
  await expect(page.locator('#edit-painted')).toHaveText('248 of 256 pixels are painted.');
});

test('every task makes its pictures, and is in the address', async ({ page }) => {
  await open(page, 'restore');
  await run(page, /^Restored/);
  expect((await made(page)).length).toBe(2);
  await page.locator('#edit-restoring').selectOption('blur');
  await expect(page.locator('#edit-blur')).toBeVisible();
  await run(page, /^Restored/);
  expect(page.url()).toContain('restoring=blur');
  await page.locator('#edit-task').selectOption('begin');
  await run(page, 'Done.');
  await page.locator('#edit-task').selectOption('between');
  await run(page, /^From seed/);
  const [strip] = await made(page);
  expect(strip.length).toBe(4 * 16 * (7 * 17 - 1));
  await page.locator('#edit-task').selectOption('invert');
  await run(page, /differs by \d+\.\d of 255 levels/);
  expect(page.url()).toContain('task=invert');
  await page.locator('#view-sample').click();
  expect(page.url()).not.toContain('task=');
});

test('the likelihood of the picture is told, and can be stopped', async ({ page }) => {
  await open(page);
  await page.locator('#edit-likely').click();
  await expect(page.locator('#edit-status')).toHaveText(/\d+ of 240 evaluations/);
  await page.locator(START).click();
  await expect(page.locator('#edit-status')).toHaveText('Stopped.');
  await page.locator('#edit-likely').click();
  await expect(page.locator('#edit-bits')).toHaveText(/^-?\d\.\d\d bits for each number/);
});

test('points on the plane go where a formula says, on a distribution drawn by hand too', async ({ page }) => {
  await page.emulateMedia({ reducedMotion: 'reduce' }).catch(() => {}); // Firefox's driver has no such thing
  await page.goto('./#view=compare&device=cpu&steps=4');
  const [start, moment] = [page.locator('#plane-start'), page.locator('#plane-moment')];
  await type(page, '#plane-steps', '10');
  await start.click();
  await expect(moment).toHaveText('Step 10 of 10, 0 % noise');
  await expect(page.locator('#plane')).toHaveAttribute('aria-label', /Ring of 8. Step 10 of 10/);
  await page.locator('#plane-step').focus();
  await page.keyboard.press('Home');
  await expect(moment).toHaveText('Step 0 of 10, 100 % noise');
  await page.locator('#plane-sampler').selectOption('flow-heun');
  await page.locator('#plane-data').selectOption('drawn');
  await page.locator('#plane-clear').click();
  await start.click();
  await expect(moment).toHaveText(/Nothing is drawn/);
  await page.locator('#plane').focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Space');
  await start.click();
  await expect(moment).toHaveText('Step 25 of 25, 0 % noise');
  await page.locator('#plane-sampler').selectOption('adaptive');
  await type(page, '#plane-steps', '1');
  await start.click();
  await expect(page.locator('#notice')).toContainText('steps');
});

test('the views for editing and comparing are accessible by axe’s rules, light and dark; nothing is wider than 320 pixels', async ({
  page,
  browserName,
}) => {
  test.skip(browserName === 'firefox', 'its driver emulates no colour scheme');
  await page.setViewportSize({ width: 320, height: 640 });
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await page.emulateMedia({ colorScheme });
    await page.goto('about:blank');
    await open(page);
    await page.evaluate(AXE);
    const violations = async () => {
      const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
      return found.violations
        .filter(({ impact }) => ['serious', 'critical'].includes(impact))
        .map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
    };
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
    // The tasks differ in which controls there are, the schemes in colours.
    for (const task of colorScheme === 'light' ? ['begin', 'restore', 'between', 'paint'] : ['paint']) {
      await page.locator('#edit-task').selectOption(task);
      expect(await violations(), task).toEqual([]);
      expect(await wide(), task).toBe(320);
    }
    await page.locator('#view-compare').click();
    await page.locator('#plane-data').selectOption('drawn');
    expect(await violations()).toEqual([]);
    expect(await wide()).toBe(320);
  }
});
