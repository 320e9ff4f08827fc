// The page as its readers use it, with mouse, keyboard and links.

import { expect, finished, openPage, picture, QUICK, test, type } from './browser.mjs';

test('the page loads its model and draws pictures by itself', async ({ page }) => {
  await openPage(page);
  await expect(page.locator('#facts')).toContainText('pixel-faces-16');
  await expect(page.locator('#device-report')).toHaveText('Runs on the CPU.');
  await expect(page.locator('#moment')).toHaveText(/^4 of 4 · from t = \d+, [\d.]+ % noise$/);
  await expect(page.locator('#notice')).toBeHidden();
  await expect(page.locator('#noisy')).toHaveAttribute('aria-label', /^2 pictures after step 4 of 4/);
  expect(await blank(page, 'noisy')).toBe(false);
  expect(await blank(page, 'predicted')).toBe(false);
});

test('the same seed gives the same pictures, another seed others', async ({ page }) => {
  await openPage(page);
  const first = await picture(page);
  await page.locator('#run').click();
  await finished(page);
  expect(await picture(page)).toBe(first);
  await type(page, '#seed', '6');
  await page.locator('#run').click();
  await finished(page);
  expect(await picture(page)).not.toBe(first);
});

test('unlocked, each run draws another seed; the dice and the lock say so', async ({ page }) => {
  await openPage(page, QUICK.replace('lock=1', 'lock=0'));
  await expect(page.locator('#seed')).toHaveValue('5');
  await page.locator('#run').click();
  await expect(page.locator('#seed')).not.toHaveValue('5');
  await finished(page);
  const drawn = await page.locator('#seed').inputValue();
  await page.locator('#lock').click();
  await expect(page.locator('#lock')).toHaveAttribute('aria-pressed', 'true');
  await page.locator('#run').click();
  await finished(page);
  await expect(page.locator('#seed')).toHaveValue(drawn);
  await page.locator('#dice').click();
  await expect(page.locator('#seed')).not.toHaveValue(drawn);
});

test('the scrubber shows every state of the finished run, by keyboard too', async ({ page }) => {
  await openPage(page);
  const scrub = page.locator('#scrub');
  await expect(scrub).toHaveValue('3');
  const last = await picture(page);
  await scrub.focus();
  await page.keyboard.press('Home');
  await expect(page.locator('#moment')).toHaveText(/^1 of 4/);
  const first = await picture(page);
  expect(first).not.toBe(last);
  expect(await picture(page, 'predicted')).not.toBe(first);
  await page.keyboard.press('ArrowRight');
  await expect(page.locator('#moment')).toHaveText(/^2 of 4/);
  await expect(scrub).toHaveAttribute('aria-valuetext', /^step 2 of 4/);
  await page.keyboard.press('End');
  expect(await picture(page)).toBe(last);
});

test('stop ends a run within one evaluation and keeps its states', async ({ page }) => {
  await openPage(page);
  await type(page, '#steps', '900');
  await page.locator('#run').click();
  await expect(page.locator('#status')).toHaveText(/^Step \d+ of 900, .* left$/);
  await page.locator('#stop').click();
  await expect(page.locator('#status')).toHaveText(/^Stopped after step \d+ of 900$/);
  await expect(page.locator('#notice')).toBeHidden();
  await expect(page.locator('#scrub')).toBeEnabled();
  await type(page, '#steps', '2');
  await page.locator('#run').click();
  await finished(page);
});

test('a run pauses while the tab is hidden and goes on when it is seen again', async ({ page }) => {
  const show = (state) =>
    page.evaluate((visibility) => {
      Object.defineProperty(document, 'visibilityState', { value: visibility, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, state);
  await openPage(page);
  await type(page, '#steps', '200');
  await page.locator('#run').click();
  await expect(page.locator('#status')).toHaveText(/^Step [3-9]\d* of 200/);
  await show('hidden');
  await page.waitForTimeout(1000);
  const paused = await page.locator('#status').textContent();
  await page.waitForTimeout(1000);
  await expect(page.locator('#status')).toHaveText(paused);
  expect(paused).toMatch(/^Step /);
  await show('visible');
  await finished(page);
  await expect(page.locator('#moment')).toHaveText(/^200 of 200/);
});

test('a copied link restores every setting and the pictures', async ({ page, browserName }) => {
  if (browserName === 'chromium') await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await openPage(page, '#batch=3&steps=5&seed=11&lock=0&sampler=ddim&eta=0.5&label=1&rng=torch&device=cpu');
  await page.locator('#run').click(); // unlocked: the link must carry the seed drawn now
  await expect(page.locator('#seed')).not.toHaveValue('11');
  await finished(page);
  const [wanted, values] = [await picture(page), await settings(page)];
  await page.locator('#link').click();
  await expect(page.locator('#link')).not.toHaveText('Copy link');
  const link = browserName === 'chromium' ? await page.evaluate(() => navigator.clipboard.readText()) : page.url();
  expect(link).toContain(`seed=${values.seed}`);

  await page.goto('about:blank');
  await page.goto(link);
  await finished(page);
  expect(await settings(page)).toEqual(values);
  expect(await picture(page)).toBe(wanted);
});

test('everything can be reached with the keyboard alone', async ({ page }) => {
  await openPage(page);
  const reached = await tabThrough(page);
  for (const id of [
    'scrub',
    'run',
    'stop',
    'save',
    'link',
    'batch',
    'seed',
    'dice',
    'lock',
    'sampler',
    'steps',
    'eta',
    'rng',
    'device',
    'open-folder',
    'open-files',
    'address',
    'purge',
  ]) {
    expect(reached, id).toContain(id);
  }
});

test('runs are started and stopped with the keyboard alone', async ({ page }) => {
  await openPage(page, QUICK.replace('lock=1', 'lock=0'));
  await page.locator('#run').focus();
  await page.keyboard.press('Space');
  await expect(page.locator('#seed')).not.toHaveValue('5'); // a run began
  await finished(page);
  await type(page, '#steps', '900');
  await page.keyboard.press('Enter');
  await expect(page.locator('#status')).toHaveText(/^Step \d+ of 900/);
  await page.keyboard.press('Escape');
  await expect(page.locator('#status')).toHaveText(/^Stopped after/);
  await expect(page.locator('#live')).toHaveText(/^Stopped after/);
});

test('η is offered for DDIM only, classes only where the model has them, and limits are kept', async ({ page }) => {
  await openPage(page);
  await expect(page.locator('#eta')).toBeVisible();
  await page.locator('#sampler').selectOption('ddpm');
  await expect(page.locator('#eta')).toBeHidden();
  await expect(page.locator('#label')).toBeVisible();
  await type(page, '#batch', '65');
  await page.locator('#run').click();
  expect(await page.locator('#batch').evaluate((input) => input.validity.rangeOverflow)).toBe(true);
  await expect(page.locator('#status')).toHaveText(/pictures in/);
  expect(page.url()).not.toContain('batch=65');
});

test('the picture is saved enlarged, each pixel a square', async ({ page, browserName }) => {
  test.skip(browserName === 'firefox', 'WebDriver reports no downloads there');
  await openPage(page, QUICK.replace('batch=2', 'batch=1'));
  const waiting = page.waitForEvent('download');
  await page.locator('#save').click();
  const download = await waiting;
  expect(download.suggestedFilename()).toBe('pixel-faces-16-seed-5-step-4.png');
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  const png = Buffer.concat(chunks);
  expect(png.subarray(1, 4).toString()).toBe('PNG');
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([512, 512]);
});

test('with reduced motion the pictures change some four times a run, and the last is shown', async ({ page, browserName }) => {
  test.skip(browserName === 'firefox', 'WebDriver cannot emulate the preference there');
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await page.addInitScript(() => {
    window.moments = [];
    addEventListener('DOMContentLoaded', () => {
      const watched = document.getElementById('moment');
      new MutationObserver(() => window.moments.push(watched.textContent)).observe(watched, { childList: true });
    });
  });
  await openPage(page, QUICK.replace('steps=4', 'steps=40'));
  const shown = new Set(await page.evaluate(() => window.moments));
  expect(shown.size).toBeLessThanOrEqual(5);
  expect([...shown].at(-1)).toMatch(/^40 of 40/);
});

for (const width of [360, 390, 1280]) {
  test(`nothing overflows at a width of ${width} pixels`, async ({ page }) => {
    await page.setViewportSize({ width, height: 800 });
    await openPage(page);
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    expect(room).toBeGreaterThan(width - 30); // a scroll bar may take some
    expect(wide).toBe(room);
  });
}

async function blank(page, id) {
  return page.evaluate((canvas) => {
    const { width, height } = document.getElementById(canvas);
    const { data } = document.getElementById(canvas).getContext('2d').getImageData(0, 0, width, height);
    return new Set(new Uint32Array(data.buffer)).size < 3;
  }, id);
}

async function settings(page) {
  return page.evaluate(() => Object.fromEntries([...new FormData(document.getElementById('settings'))]));
}

/** The ids that Tab stops at, from the page's top to its end. */
async function tabThrough(page) {
  const ids = new Set();
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press('Tab');
    const { id, left, outline } = await page.evaluate(() => {
      const { activeElement } = document;
      return { id: activeElement.id, left: activeElement === document.body, outline: getComputedStyle(activeElement).outlineStyle };
    });
    if (left) break;
    if (id) expect(outline, `no visible focus on ${id}`).not.toBe('none');
    ids.add(id);
  }
  return [...ids];
}
