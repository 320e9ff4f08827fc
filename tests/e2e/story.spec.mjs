// The story: each figure does what its sentence says, by keyboard too; nothing runs before it is seen; narrow screens, less motion, paper.

import { test as base, expect } from './browser.mjs';

const FIGURES = ['ink', 'nudge', 'learn', 'cover', 'slope', 'guide'];

const test = base.extend({
  /** Opens the story, as somebody sees it who asked for less motion: Firefox's driver cannot emulate that. */
  story: async ({ page }, use) => {
    await use(async () => {
      await page.addInitScript(() => {
        const ask = window.matchMedia.bind(window);
        window.matchMedia = (query) => (query.includes('reduced-motion') ? ask('all') : ask(query));
      });
      await page.goto('./story.html');
    });
  },
});

const figure = (page, name) => page.locator(`#figure-${name}`);
const reading = (page, name) => figure(page, name).locator('.reading');

/** Brings a figure into sight and waits until it is there; gives the milliseconds. */
async function see(page, name) {
  const began = performance.now();
  await figure(page, name).evaluate((element) => element.scrollIntoView({ behavior: 'instant', block: 'center' }));
  await expect(figure(page, name)).toHaveAttribute('data-started', '');
  return Math.round(performance.now() - began);
}

/** Presses the main button with the keyboard and waits for the end. */
async function finish(page, name, words) {
  await figure(page, name).locator('.primary').focus();
  await page.keyboard.press('Space');
  await expect(figure(page, name)).toHaveAttribute('data-ended', '');
  await expect(reading(page, name)).toHaveText(words);
  // Those who do not see the picture are told the same, beside it and as news.
  const said = await reading(page, name).textContent();
  expect(await figure(page, name).locator('canvas').first().getAttribute('aria-label')).toContain(said);
  await expect(figure(page, name).getByRole('status')).toHaveText(said);
}

/** Asks for another thing with the keyboard. */
async function ask(page, name, label) {
  await figure(page, name).getByLabel(label, { exact: true }).focus();
  await page.keyboard.press('Space');
}

test('every figure does what its sentence says, by keyboard, a step or a run at a time', async ({ page, story }) => {
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await story();
  await see(page, 'ink');
  const started = await page.evaluate(
    (names) => names.filter((name) => document.getElementById(`figure-${name}`).dataset.started === ''),
    FIGURES,
  );
  expect(started).toEqual(['ink']);

  // Nothing moves unasked.
  await expect(reading(page, 'ink')).toHaveText('Step 0 of 1000: no noise yet.');
  await figure(page, 'ink').getByRole('button', { name: 'One step' }).press('Enter');
  await expect(reading(page, 'ink')).toHaveText(/^Step 100 of 1000/);
  await finish(page, 'ink', /a noise ball. Variance (0.9[5-9]|1.0[0-5]),/);

  await see(page, 'nudge');
  for (const on of [true, false]) {
    if (!on) await ask(page, 'nudge', 'Nudge to the origin');
    await finish(page, 'nudge', /^Step 1000 of 1000/);
    const [measured, formula] = (await reading(page, 'nudge').textContent()).match(/\d+\.\d{3}/g).map(Number);
    expect(formula).toBe(on ? 1 : 11.05);
    expect(Math.abs(measured / formula - 1)).toBeLessThan(0.02);
  }

  await see(page, 'learn');
  await expect(reading(page, 'learn')).toHaveText(/its 5,378 numbers are random/);
  for (let i = 0; i < 5; i++) await figure(page, 'learn').getByRole('button', { name: 'One step' }).press('Enter');
  await expect(reading(page, 'learn')).toHaveText(/^After 150 of 1500 steps of training/);
  const [mistake, least] = (await reading(page, 'learn').textContent()).match(/0\.\d{3}/g).map(Number);
  expect(mistake).toBeGreaterThan(least);
  expect(mistake).toBeLessThan(0.5);

  await see(page, 'cover');
  await finish(page, 'cover', /^8 of 8 modes found/);
  await ask(page, 'cover', '5 × 5 grid');
  await finish(page, 'cover', /^25 of 25 modes found/);
  await ask(page, 'cover', 'Your own');
  await finish(page, 'cover', /^3 of 3 modes found/);
  const pad = figure(page, 'cover').getByRole('application');
  await pad.focus();
  for (let i = 0; i < 12; i++) await page.keyboard.press('ArrowDown');
  for (let i = 0; i < 6; i++) await page.keyboard.press('Space'), await page.keyboard.press('ArrowLeft');
  await finish(page, 'cover', /^4 of 4 modes found/);
  await pad.press('Backspace');
  await expect(reading(page, 'cover')).toHaveText(/1000 points of static; 4 modes/);
  // With the pointer: a dab where it is pressed, a line where it is drawn.
  const box = await pad.boundingBox();
  await page.mouse.move(box.x + 0.1 * box.width, box.y + 0.12 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.4 * box.width, box.y + 0.12 * box.height, { steps: 3 });
  await page.mouse.up();
  await finish(page, 'cover', /^5 of 5 modes found/);
  await figure(page, 'cover').getByRole('button', { name: 'Clear the drawing' }).press('Enter');
  await expect(reading(page, 'cover')).toHaveText('Nothing is drawn yet.');

  // The same drawing is there to walk on.
  await see(page, 'slope');
  await expect(reading(page, 'slope')).toHaveText('Nothing is drawn yet.');
  await ask(page, 'slope', 'Ring of 8');
  await finish(page, 'slope', /^Arrived: (4[89]\d|500) of 500 walkers .* in 8 of 8 modes/);
  await ask(page, 'slope', 'From much noise to little');
  await finish(page, 'slope', /^Arrived: .* in [12] of 8 modes/);

  await see(page, 'guide');
  await finish(page, 'guide', /^Guidance 2.0: (39\d|400) of 400 samples/);
  await figure(page, 'guide').getByRole('slider').focus();
  await page.keyboard.press('Home');
  await finish(page, 'guide', /^Guidance 0.0: (1[5-9]|2[0-4])\d of 400 samples/);

  // None of this needed the engine or a model: they come when they are asked for.
  expect(asked.filter((address) => /\.wasm|safetensors/.test(address))).toEqual([]);
  const sampler = page.locator('#sampler');
  await sampler.evaluate((element) => Object.assign(element, { device: 'cpu', steps: 2, batch: 1 }));
  await sampler.getByRole('button', { name: /^Run/ }).press('Enter');
  await expect(sampler.getByText(/Finished at step/).last()).toBeVisible();

  const squint = page.getByRole('button', { name: 'Squint' });
  await squint.press('Enter');
  await expect(squint).toHaveAttribute('aria-pressed', 'true');
  await expect(page.locator('#film')).toHaveClass(/squinted/);
});

test('figures start at once, run while they are seen, and hold off the screen', async ({ page }) => {
  await page.goto('./story.html');
  const took = { ink: await see(page, 'ink') };
  await expect(figure(page, 'ink').getByRole('button', { name: 'Hold' })).toBeVisible();
  await expect(reading(page, 'ink')).toHaveText(/^Step [1-9]/);
  for (const name of ['nudge', 'learn', 'cover', 'slope', 'guide']) took[name] = await see(page, name);
  console.log(`  milliseconds to start: ${JSON.stringify(took)}`);
  const held = await reading(page, 'ink').textContent();
  await expect(reading(page, 'guide')).toHaveText(/^Step [1-9]/);
  expect(await reading(page, 'ink').textContent()).toBe(held);
  // What takes a while, or asks for something, waits to be asked.
  await expect(figure(page, 'learn').getByRole('button', { name: 'Train it' })).toBeVisible();
});

test('a phone of 320 pixels shows all of it, and paper too', async ({ page, story }) => {
  await page.setViewportSize({ width: 320, height: 640 });
  await story();
  await see(page, 'ink');
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  expect(wide).toBeLessThanOrEqual(320);
  // On paper there is a picture also where nobody has looked yet.
  await page.evaluate(() => dispatchEvent(new Event('beforeprint')));
  const drawn = await page.evaluate(
    (names) =>
      names.filter((name) =>
        [...document.querySelectorAll(`#figure-${name} canvas`)].every((canvas) =>
          canvas
            .getContext('2d')
            .getImageData(0, 0, canvas.width, canvas.height)
            .data.some((value) => value > 0),
        ),
      ),
    FIGURES,
  );
  expect(drawn).toEqual(FIGURES);
  await page.evaluate(() => dispatchEvent(new Event('afterprint')));
});
