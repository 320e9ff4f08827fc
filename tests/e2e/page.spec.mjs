// The page as its readers use it, with mouse, keyboard and links.

import { readFileSync } from 'node:fs';
import {
  CLASS,
  checkpoints,
  DEVICE,
  DICE,
  dropFiles,
  expect,
  filesBelow,
  finished,
  MOMENT,
  expectNoOverflow,
  openPage,
  PLAY,
  picture,
  QUICK,
  RUN,
  SCRUB,
  SEED,
  test,
  type,
  enter,
} from './browser.mjs';

test('the page loads its model and draws pictures by itself', async ({ page }) => {
  await openPage(page);
  await expect(page.locator('#facts')).toContainText('pixel-faces-16');
  await expect(page.locator('#facts')).toContainText('colour');
  await expect(page.locator('#facts')).toContainText(/Cost of a step.* operations per picture/);
  await expect(page.locator(DEVICE)).toHaveText('Running on the CPU.');
  await expect(page.locator(MOMENT)).toHaveText('Step 4 of 4: finished');
  await expect(page.locator('#notice')).toBeHidden();
  const [pictures, guess] = await page.locator('#stage').getByRole('img').all();
  await expect(pictures).toHaveAttribute('aria-label', 'Pictures of pixel-faces-16. Step 4 of 4: finished');
  expect(await blank(page, 0)).toBe(false);
  expect(await blank(page, 1)).toBe(false);
  // The guess is the same as the finished pictures by then: what they were made from is beside them.
  expect(await picture(page, 'guess')).not.toBe(await picture(page));
  await expect(guess).toHaveAttribute('aria-label', 'The pure noise that they were made from. Step 4 of 4: finished');
  await expect(page.locator('#stage figcaption').first()).toHaveText('Finished pictures');
  await expect(page.locator('#unstarted')).toHaveCount(0);
});

test('the seed stays until the dice is thrown; a change runs by itself, and the same seed gives the same pictures', async ({ page }) => {
  await openPage(page);
  const first = await picture(page);
  await page.locator(RUN).click();
  await finished(page);
  await expect(page.locator(SEED)).toHaveValue('5');
  expect(await picture(page)).toBe(first);
  await page.locator(DICE).click();
  await finished(page);
  await expect(page.locator(SEED)).not.toHaveValue('5');
  expect(await picture(page)).not.toBe(first);
  expect(page.url()).toContain(`seed=${await page.locator(SEED).inputValue()}`);
  await enter(page, SEED, '5');
  await finished(page);
  expect(await picture(page)).toBe(first);
  await enter(page, '#steps', '3');
  await finished(page);
  await expect(page.locator(MOMENT)).toHaveText('Step 3 of 3: finished');
});

test('names stand under pictures of different classes; in print, too', async ({ page }) => {
  await openPage(page, QUICK.replace('label=any', 'label=each').replace('batch=2', 'batch=4'));
  const names = page.locator('#stage [part=names] span');
  await expect(names).toHaveText(['short hair', 'long hair', 'short bright hair', 'long bright hair']);
  for (const name of await names.all()) expect((await name.boundingBox()).width).toBeGreaterThan(50);
  await page.locator(CLASS).selectOption('any');
  await finished(page);
  await expect(names).toHaveCount(0);
});

test('a run is held, gone through by steps, gone on with, and played again', async ({ page }) => {
  await openPage(page, QUICK.replace('speed=fast', 'speed=slow').replace('steps=4', 'steps=8'));
  await page.locator(RUN).click();
  const [play, step, moment] = [page.locator(PLAY), page.locator('#stage').getByRole('button', { name: 'Step' }), page.locator(MOMENT)];
  await expect(moment).toHaveText('Step 0 of 8: pure noise');
  await play.click();
  await expect(play).toHaveText('Go on');
  // On a busy machine it may have gone on before it was held.
  const held = Number((await moment.textContent()).match(/^Step (\d) of 8/)[1]);
  await step.click();
  const next = new RegExp(`^Step ${held + 1} of 8 ·`);
  await expect(moment).toHaveText(next);
  await page.waitForTimeout(1200); // longer than a state stands
  await expect(moment).toHaveText(next);
  await play.click();
  await finished(page);
  await step.click();
  await expect(moment).toHaveText('Step 0 of 8: pure noise');
  await page.locator('#stage').getByRole('combobox', { name: 'Speed' }).selectOption('fast');
  await play.click();
  await expect(moment).toHaveText('Step 8 of 8: finished');
  await expect(play).toHaveText('Replay');
});

test('the scrubber shows every state of the finished run, from pure noise on, by keyboard too', async ({ page }) => {
  await openPage(page);
  const [scrub, moment] = [page.locator(SCRUB), page.locator(MOMENT)];
  await expect(scrub).toHaveValue('4');
  const [last, beside] = [await picture(page), await picture(page, 'guess')];
  await scrub.focus();
  await page.keyboard.press('Home');
  await expect(moment).toHaveText('Step 0 of 4: pure noise');
  const first = await picture(page);
  expect(first).toBe(beside); // the noise that they were made from
  expect(await picture(page, 'guess')).not.toBe(first);
  await expect(page.locator('#stage figcaption').first()).toHaveText('xtWhat the model has now');
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
    return picture(page, 'guess');
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
      ['stage', 'status', 'scrub', 'save', 'batch', 'device', 'way-title', 'about-title', 'open-title'].map((id) => {
        const element = document.getElementById(id) ?? document.getElementById('stage').shadowRoot.querySelector('input[type=range]');
        return [id, Math.round(element.getBoundingClientRect().top + scrollY)];
      }),
    );
  for (const width of [1280, 390]) {
    let arrive;
    gate = new Promise((resolve) => (arrive = resolve));
    await page.setViewportSize({ width, height: 800 });
    await page.goto('about:blank');
    await page.goto(`./${QUICK}`);
    await expect(page.locator('#status')).toHaveText(/^Loading/);
    await expect(page.locator(SCRUB)).toBeVisible();
    const before = await tops();
    arrive();
    await finished(page);
    for (const [i, [id, top]] of (await tops()).entries()) {
      if (id === 'open-title' && width < 400) continue; // below facts that break their lines as the fonts are
      expect(Math.abs(top - before[i][1]), `${id} at a width of ${width}`).toBeLessThan(4);
    }
  }
});

test('stop ends a run within one evaluation and keeps its states; a setting and Run in one press begin one', async ({ page }) => {
  await openPage(page);
  await type(page, '#steps', '900');
  await page.locator(RUN).click(); // takes the focus from the field, whose change runs; it does not stop that
  await expect(page.locator('#status')).toHaveText(/^Drawing 2 pictures, .* left$/);
  await page.locator(RUN).click();
  await expect(page.locator('#status')).toHaveText(/^Stopped after step \d+ of 900$/);
  await expect(page.locator(MOMENT)).toHaveText(/stopped here$|^Stopped at step/);
  await expect(page.locator('#notice')).toBeHidden();
  await expect(page.locator(SCRUB)).toBeEnabled();
  await enter(page, '#steps', '2');
  await finished(page);
});

test('a run pauses while the tab is hidden and goes on when it is seen again', async ({ page }) => {
  const show = (state) =>
    page.evaluate((visibility) => {
      Object.defineProperty(document, 'visibilityState', { value: visibility, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, state);
  await openPage(page);
  await enter(page, '#steps', '200');
  await expect(page.locator(MOMENT)).toHaveText(/^Step [3-9]\d* of 200/);
  await show('hidden');
  await page.waitForTimeout(500);
  const paused = await page.locator(MOMENT).textContent();
  await page.waitForTimeout(500);
  await expect(page.locator(MOMENT)).toHaveText(paused);
  expect(paused).toMatch(/^Step .* noise left/);
  await show('visible');
  await finished(page);
  await expect(page.locator(MOMENT)).toHaveText('Step 200 of 200: finished');
});

test('a copied link restores every setting and the pictures', async ({ page, browserName }) => {
  if (browserName === 'chromium') await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await openPage(page, '#batch=3&steps=5&seed=11&sampler=ddim&options=eta%3D0.5&label=1&rng=torch&speed=fast&guess=off&device=cpu');
  await page.locator(DICE).click(); // the link must carry the seed drawn now
  await expect(page.locator(SEED)).not.toHaveValue('11');
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
  // It is drawn when it is first seen.
  await page.locator('diffusion-process').scrollIntoViewIfNeeded();
  await expect(page.locator('diffusion-process').getByRole('button', { name: 'Add noise' })).toBeVisible();
  const reached = await tabThrough(page);
  for (const id of [
    'Run',
    'Replay',
    'Step',
    'SpeedSlowNormalFast',
    'Show what it guesses',
    'Seed',
    'Draw another seed',
    'save',
    'link',
    'batch',
    'sampler',
    'steps',
    'rng',
    'device',
    'Add noise',
    'Noise',
    'open-folder',
    'open-files',
    'address',
    'purge',
  ]) {
    expect(reached, id).toContain(id);
  }
});

test('options are the sampler’s own, classes only where the model has them, and limits are kept', async ({ page }) => {
  await openPage(page);
  await page.locator('#settings summary').click();
  await enter(page, '#option-eta', '0.5');
  await finished(page);
  expect(page.url()).toContain('eta%3D0.5');
  await page.locator('#sampler').selectOption('dpm-multistep');
  await finished(page);
  await expect(page.locator('#option-eta')).toHaveCount(0);
  expect(page.url()).not.toContain('eta');
  await expect(page.locator('#sampler-hint')).toContainText('DPM-Solver++');
  await page.locator('#option-grid').selectOption('karras');
  await finished(page);
  await expect(page.locator('#option-grid')).toHaveValue('karras');
  expect(page.url()).toContain('grid%3Dkarras');
  await expect(page.locator(CLASS)).toBeVisible();
  await enter(page, '#batch', '65');
  expect(await page.locator('#batch').evaluate((input) => input.validity.rangeOverflow)).toBe(true);
  await expect(page.locator('#status')).toHaveText(/pictures in/);
  expect(page.url()).not.toContain('batch=65');
});

test('samplers are compared at equal cost, in a table; it stops, and begins again with others', async ({ page }) => {
  await page.goto(`./${QUICK}&view=compare&solvers=unipc`);
  const [start, rows] = [page.locator('#compare-start'), page.locator('#compare-rows tr')];
  await expect(start).toBeVisible();
  await expect(page.locator('#compare-results')).toBeHidden(); // no empty boxes
  await expect(page.locator('#sampling')).toBeHidden();
  await start.click();
  await expect(rows.locator('td').last()).toHaveText(/^0\.0\d+$/);
  await expect(start).toHaveText('Compare');
  const distances = await rows.locator('td').allTextContents();
  expect(distances.length).toBe(5);
  // The more evaluations, the nearer.
  for (let i = 1; i < 5; i++) expect(Number(distances[i])).toBeLessThan(Number(distances[i - 1]));
  await expect(page.locator('#compare-chart [data-sampler=unipc] path')).toHaveCount(5);
  await page.getByRole('checkbox', { name: 'lms' }).check();
  await expect(rows).toHaveCount(2);
  expect(page.url()).toContain('solvers=lms%2Cunipc');
  await start.click();
  await expect(page.locator('#compare-status')).toHaveText(/evaluations…$/);
  await start.click();
  await expect(page.locator('#compare-status')).toHaveText('Stopped.');
  await page.locator('#view-sample').click(); // where nothing has run so far
  await finished(page);
});

test('the picture is saved enlarged, each pixel a square', async ({ page, browserName }) => {
  test.skip(browserName === 'firefox', 'WebDriver reports no downloads there');
  await openPage(page, QUICK.replace('batch=2', 'batch=1'));
  const waiting = page.waitForEvent('download');
  await page.locator('#save').click();
  const download = await waiting;
  expect(download.suggestedFilename()).toBe('pixel-faces-16-seed-5.png');
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  const png = Buffer.concat(chunks);
  expect(png.subarray(1, 4).toString()).toBe('PNG');
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([1024, 1024]);
});

test('with reduced motion the pictures change from noise to what came of it, and nothing between', async ({ page, browserName }) => {
  test.skip(browserName === 'firefox', 'WebDriver cannot emulate the preference there');
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await page.addInitScript(() => {
    window.shown = 0;
    const { drawImage } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.drawImage = function (...given) {
      window.shown++;
      return drawImage.apply(this, given);
    };
  });
  await openPage(page, QUICK.replace('steps=4', 'steps=40').replace('speed=fast', 'speed=slow'));
  expect(await page.evaluate(() => window.shown)).toBeLessThanOrEqual(6); // two states, two views, and a change of the alternative text
  await expect(page.locator(MOMENT)).toHaveText('Step 40 of 40: finished');
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
    const inView = (selector) =>
      page.locator(selector).evaluate((element) => {
        const { top, bottom, height: tall } = element.getBoundingClientRect();
        return tall > 0 && top >= 0 && bottom <= innerHeight;
      });
    const pictures = '#stage .pictures';
    for (const part of [`${pictures} >> nth=0`, `${pictures} >> nth=1`]) expect(await inView(part), part).toBe(true);
    for (const part of [RUN, PLAY, SCRUB, MOMENT, '#status']) expect(await inView(part), part).toBe(true);
    // 64 pictures fill their frame.
    const filled = await page.locator(`${pictures} >> nth=0`).evaluate((box) => {
      const frame = box.parentElement;
      return Math.max(box.clientWidth / frame.clientWidth, box.clientHeight / frame.clientHeight);
    });
    expect(filled).toBeGreaterThan(0.85);
    // An error is seen wherever the reader is.
    await dropFiles(page, [{ name: 'notes.txt', bytes: Buffer.from('hello') }]);
    await expect(page.locator('#notice')).toBeVisible();
    expect(await inView('#notice')).toBe(true);
    await page.locator('#purge').scrollIntoViewIfNeeded();
    expect(await inView('#notice')).toBe(true);
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
  await expect(page.locator('#stage .pictures').first()).toBeVisible();
  for (const part of [RUN, '#view-train', '#open-folder', '#settings']) await expect(page.locator(part)).toBeHidden();
});

test('nothing overflows at a width of 320, 390 and 1280 pixels', async ({ page }) => {
  await page.setViewportSize({ width: 320, height: 800 });
  await openPage(page);
  await expectNoOverflow(page, [320, 390, 1280]);
});

async function blank(page, index) {
  return page
    .locator('#stage canvas[part=canvas]')
    .nth(index)
    .evaluate((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size < 3;
    });
}

async function settings(page) {
  return page.evaluate(() => {
    const { label, batch, seed, sampler, steps, options, rng, speed, guess } = document.getElementById('stage');
    return {
      ...Object.fromEntries([...new FormData(document.getElementById('settings'))]),
      label,
      batch,
      seed,
      sampler,
      steps,
      options,
      rng,
      speed,
      guess,
    };
  });
}

/** What Tab stops at, from the page's top to its end: ids, or names within the elements. */
async function tabThrough(page) {
  const reached = new Set();
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press('Tab');
    const { name, left, outline } = await page.evaluate(() => {
      let active = document.activeElement;
      while (active.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
      const name = active.id || active.getAttribute('aria-label') || active.closest('label, button, summary')?.textContent;
      return { name, left: active === document.body, outline: getComputedStyle(active).outlineStyle };
    });
    if (left) break;
    if (name) expect(outline, `no visible focus on ${name}`).not.toBe('none');
    reached.add(name);
  }
  return [...reached];
}
