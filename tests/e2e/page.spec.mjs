// The page as its readers use it, with mouse, keyboard and links.

import { readFileSync } from 'node:fs';
import { checkpoints, dropFiles, expect, filesBelow, finished, openPage, picture, QUICK, test, type } from './browser.mjs';

test('the page loads its model and draws pictures by itself', async ({ page }) => {
  await openPage(page);
  await expect(page.locator('#facts')).toContainText('pixel-faces-16');
  await expect(page.locator('#facts')).toContainText('colour');
  await expect(page.locator('#facts')).toContainText(/Cost of a step.* operations per picture/);
  await expect(page.locator('#device-report')).toHaveText('Running on the CPU.');
  await expect(page.locator('#moment')).toHaveText('Step 4 of 4: finished');
  await expect(page.locator('#notice')).toBeHidden();
  await expect(page.locator('#noisy')).toHaveAttribute('aria-label', '2 pictures. Step 4 of 4: finished');
  expect(await blank(page, 'noisy')).toBe(false);
  expect(await blank(page, 'predicted')).toBe(false);
  // The guess is the same as the finished pictures by then: what they were made from is beside them.
  expect(await picture(page, 'predicted')).not.toBe(await picture(page));
  await expect(page.locator('#noisy-caption')).toHaveText('Finished pictures');
  await expect(page.locator('#unstarted')).toHaveCount(0);
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

test('the scrubber shows every state of the finished run, from pure noise on, by keyboard too', async ({ page }) => {
  await openPage(page);
  const [scrub, moment] = [page.locator('#scrub'), page.locator('#moment')];
  await expect(scrub).toHaveValue('4');
  const [last, beside] = [await picture(page), await picture(page, 'predicted')];
  await scrub.focus();
  await page.keyboard.press('Home');
  await expect(moment).toHaveText('Step 0 of 4: pure noise');
  const first = await picture(page);
  expect(first).toBe(beside); // the noise that they were made from
  expect(await picture(page, 'predicted')).not.toBe(first);
  await expect(page.locator('#noisy-caption')).toHaveText('What the model has now');
  // The number is that of the pictures shown: it falls with every state.
  let before = 100;
  for (let step = 1; step < 4; step++) {
    await page.keyboard.press('ArrowRight');
    await expect(moment).toHaveText(new RegExp(`^Step ${step} of 4 · noise left: [\\d.]+ %$`));
    await expect(scrub).toHaveAttribute('aria-valuetext', await moment.textContent());
    const left = Number((await moment.textContent()).match(/([\d.]+) %/)[1]);
    expect(left).toBeLessThan(before);
    before = left;
  }
  await page.keyboard.press('End');
  expect(await picture(page)).toBe(last);
});

test('runs with the same seed start from the same noise, whatever else is set', async ({ page }) => {
  const noise = async (hash) => {
    await page.goto('about:blank');
    await openPage(page, hash);
    return picture(page, 'predicted');
  };
  const first = await noise(QUICK);
  expect(await noise(QUICK.replace('steps=4', 'steps=2').replace('ddim', 'ddpm'))).toBe(first);
  expect(await noise(QUICK.replace('seed=5', 'seed=6'))).not.toBe(first);
});

test('nothing moves when the model arrives', async ({ page }) => {
  let gate;
  await page.route('**/noiseball_bg.wasm', async (route) => (await gate, route.continue()));
  const tops = () =>
    page.evaluate(() =>
      ['run', 'status', 'scrub', 'device-report', 'batch', 'device', 'about-title', 'open-title'].map((id) => [
        id,
        Math.round(document.getElementById(id).getBoundingClientRect().top + scrollY),
      ]),
    );
  for (const width of [1280, 390]) {
    let arrive;
    gate = new Promise((resolve) => (arrive = resolve));
    await page.setViewportSize({ width, height: 800 });
    await page.goto('about:blank');
    await page.goto(`./${QUICK}`);
    await expect(page.locator('#status')).toHaveText(/^Loading/);
    const before = await tops();
    arrive();
    await finished(page);
    for (const [i, [id, top]] of (await tops()).entries()) {
      if (id === 'open-title' && width < 400) continue; // below facts that break their lines as the fonts are
      expect(Math.abs(top - before[i][1]), `${id} at a width of ${width}`).toBeLessThan(4);
    }
  }
});

test('a changed setting says that it waits for a run', async ({ page }) => {
  await openPage(page);
  await expect(page.locator('#stale')).toBeHidden();
  await type(page, '#steps', '3');
  await expect(page.locator('#stale')).toHaveText('Settings changed: press Run to see what they do.');
  await page.locator('#run').click();
  await expect(page.locator('#stale')).toBeHidden();
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
  await expect(page.locator('#moment')).toHaveText('Step 200 of 200: finished');
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
  expect(shown.size).toBeLessThanOrEqual(6); // with the pure noise
  expect([...shown].at(-1)).toBe('Step 40 of 40: finished');
});

// Laptops, a frame in a post, and a phone on its side.
for (const [width, height] of [
  [1366, 650],
  [1280, 800],
  [640, 420],
  [844, 390],
  [390, 844],
]) {
  test(`on a screen of ${width} × ${height} a run and its errors are seen without scrolling`, async ({ page }) => {
    await page.setViewportSize({ width, height });
    await openPage(page, QUICK.replace('batch=2', 'batch=64').replace('steps=4', 'steps=1'));
    const inView = (id) =>
      page.evaluate((name) => {
        const { top, bottom, height: tall } = document.getElementById(name).getBoundingClientRect();
        return tall > 0 && top >= 0 && bottom <= innerHeight;
      }, id);
    for (const id of ['run', 'stop', 'progress', 'status', 'noisy', 'predicted']) expect(await inView(id), id).toBe(true);
    // 64 pictures fill their frame.
    const filled = await page.evaluate(() => {
      const canvas = document.getElementById('noisy');
      return canvas.clientWidth / canvas.parentElement.clientWidth;
    });
    expect(filled).toBeGreaterThan(0.85);
    // An error is seen wherever the reader is.
    await dropFiles(page, [{ name: 'notes.txt', bytes: Buffer.from('hello') }]);
    await expect(page.locator('#notice')).toBeVisible();
    expect(await inView('notice')).toBe(true);
    for (const id of ['run', 'status']) expect(await covered(page, id), id).toBe(false);
    await page.locator('#purge').scrollIntoViewIfNeeded();
    expect(await inView('notice')).toBe(true);
    await page.locator('#notice-close').click();
    await expect(page.locator('#notice')).toBeHidden();
  });
}

test('Back and Forward lead through what was looked at, also to a model that has no address', async ({ page }) => {
  await openPage(page);
  const folder = `${checkpoints}layout-a`;
  const files = filesBelow(folder).map(({ name, path }) => ({ name, bytes: readFileSync(path) }));
  await dropFiles(page, files);
  await expect(page.locator('#facts')).toContainText('your files');
  await finished(page);
  const dropped = await picture(page);
  await page.locator('#view-train').click();
  await expect(page.locator('#sampling')).toBeHidden();
  await page.goBack();
  await expect(page.locator('#sampling')).toBeVisible();
  await expect(page.locator('#facts')).toContainText('your files');
  await page.goBack();
  await expect(page.locator('#facts')).toContainText('pixel-faces-16');
  await finished(page);
  await page.goForward();
  await expect(page.locator('#facts')).toContainText('your files');
  await finished(page);
  expect(await picture(page)).toBe(dropped);
});

test('no link is copied that cannot lead to a dropped model', async ({ page }) => {
  await openPage(page);
  const files = filesBelow(`${checkpoints}layout-a`).map(({ name, path }) => ({ name, bytes: readFileSync(path) }));
  await dropFiles(page, files);
  await expect(page.locator('#facts')).toContainText('your files');
  await finished(page);
  await page.locator('#link').click();
  await expect(page.locator('#notice')).toContainText('No link was copied. This model is in files on your device');
  await expect(page.locator('#link')).toHaveText('Copy link');
});

test('pictures that are dropped here are sent to where they are trained on', async ({ page }) => {
  await openPage(page);
  await dropFiles(page, [{ name: 'cat.png', bytes: Buffer.from('x') }]);
  await expect(page.locator('#notice')).toContainText('These are pictures, not a model. To train on them, press Train your own');
  await expect(page.locator('#facts')).toContainText('pixel-faces-16');
});

test('a page whose program does not start says so, without a script', async ({ page }) => {
  await page.route('**/www/site/main.js', (route) => route.abort());
  await page.goto('./');
  await expect(page.locator('#unstarted')).toBeVisible();
  await expect(page.locator('#unstarted')).toContainText('If you opened the page as a file');
});

test('on paper there are the pictures and no controls', async ({ page, browserName }) => {
  test.skip(browserName === 'firefox', 'WebDriver cannot emulate paper there');
  await openPage(page);
  await page.emulateMedia({ media: 'print' });
  await expect(page.locator('#noisy')).toBeVisible();
  for (const id of ['run', 'view-train', 'open-folder']) await expect(page.locator(`#${id}`)).toBeHidden();
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

/** Whether something else lies over the middle of an element. */
async function covered(page, id) {
  return page.evaluate((name) => {
    const { left, top, width, height } = document.getElementById(name).getBoundingClientRect();
    return !document.getElementById(name).contains(document.elementFromPoint(left + width / 2, top + height / 2));
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
