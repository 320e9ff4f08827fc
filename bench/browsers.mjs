/** The cases in browsers: steers bench.html, in turns between the sides. */
import { chromium, firefox } from '@playwright/test';
import { chromium as findChromium, chromiumArguments, firefox as findFirefox, firefoxPreferences } from '../tools/setup/browsers.mjs';
import { step } from '../tools/setup/shell.mjs';
import { summary } from './summary.mjs';

const SIDES = [
  ['noiseball', 'gpu'],
  ['ort', 'gpu'],
  ['noiseball', 'cpu'],
  ['ort', 'cpu'],
];

/** Relative to PyTorch's result after two steps. */
const TOLERANCE = 1e-3;

/** For a browser to start, or a page to have its first picture: an adapter in software may take minutes over its shaders. */
const timeout = 600_000;

export function launch(browser) {
  return browser === 'chromium'
    ? chromium.launch({ timeout, executablePath: findChromium().browser, args: chromiumArguments, chromiumSandbox: false })
    : firefox.launch({ timeout, channel: 'moz-firefox', executablePath: findFirefox(), firefoxUserPrefs: firefoxPreferences });
}

/** Each model and batch on each side. */
export async function inBrowser(name, url, { models, batches, devices, rounds, budget }, keep) {
  const browser = await launch(name);
  const version = browser.version();
  for (const model of models) {
    // Milliseconds of a step at the batch before, by side: what a larger one must be expected to take.
    const before = new Map();
    for (const batch of batches) {
      step(`${name} ${version}: ${model}, batch ${batch}`);
      const page = await (await browser.newContext()).newPage();
      await page.goto(`${url}bench/bench.html`);
      await page.waitForFunction(() => globalThis.ready);
      const adapter = await page.evaluate(() => globalThis.adapter());
      const common = { where: name, browser: `${name} ${version}`, model, batch };
      const cases = await verified(page, { model, batch, devices, budget, before });
      for (let round = 0; round < rounds; round += 1) {
        for (const one of cases) {
          if (one.error || one.spent + one.spent / (one.times.length / 2 + 1) > 1000 * budget) continue;
          const times = await page.evaluate(([side, device, b]) => globalThis.run(side, device, b), [one.side, one.device, batch]);
          one.times.push(...times);
          one.spent += sum(times);
        }
      }
      for (const { side, device, times, first, error, off } of cases) {
        // Where there was time for the first run alone, its last step is what there is.
        const milliseconds = error ? undefined : summary(times.length > 0 ? times : first.slice(-1));
        if (milliseconds) before.set(`${side} ${device}`, milliseconds.median / batch);
        keep({ ...common, side, device, adapter: device === 'gpu' ? adapter : 'CPU, one thread', milliseconds, off, error });
        console.log(`  ${side} ${device}: ${error ?? `${milliseconds.median.toFixed(1)} ms a step, ${milliseconds.runs} steps`}`);
      }
      await page.evaluate(() => globalThis.dispose()).catch(() => {});
      await page.context().close();
    }
  }
  await browser.close();
}

/** The sides that load the model and repeat PyTorch's run, each with the times of that. */
async function verified(page, { model, batch, devices, budget, before }) {
  const cases = [];
  for (const [side, device] of SIDES.filter(([, device]) => devices.includes(device))) {
    const expected = (2 * batch * (before.get(`${side} ${device}`) ?? 0)) / 1000;
    const one = { side, device, times: [], spent: 0 };
    cases.push(one);
    if (expected > 2 * budget) {
      one.error = `left out: two steps would take ${Math.round(expected)} s`;
      continue;
    }
    try {
      await page.evaluate((arguments_) => globalThis.load(...arguments_), [side, device, model]);
      const { times, off } = await page.evaluate((arguments_) => globalThis.verify(...arguments_), [side, device, batch, TOLERANCE]);
      Object.assign(one, { first: times, spent: sum(times), off });
    } catch (error) {
      one.error = error.message.split('\n')[0].slice(0, 200);
    }
  }
  return cases;
}

/** From opening a page to the first finished picture, in two steps, with everything cached that a browser caches. */
export async function coldStarts(url, model, { devices, rounds }, keep) {
  const browser = await launch('chromium');
  const found = new Map(SIDES.filter(([, device]) => devices.includes(device)).map((side) => [side, []]));
  const context = await browser.newContext();
  // The first visits fill the caches.
  for (let round = 0; round <= rounds; round += 1) {
    for (const [[side, device], times] of found) {
      const page = await context.newPage();
      await page.goto(`${url}bench/bench.html?side=${side}&device=${device}&model=${model}`);
      await page.waitForFunction(() => globalThis.coldStart, undefined, { timeout });
      const time = await page.evaluate(() => globalThis.coldStart);
      if (round > 0) times.push(time);
      await page.close();
    }
  }
  for (const [[side, device], times] of found) {
    const milliseconds = summary(times);
    keep({ where: 'cold', browser: `chromium ${browser.version()}`, side, device, model, batch: 1, milliseconds });
    console.log(`  cold start, ${side} ${device}: ${milliseconds.median.toFixed(0)} ms`);
  }
  await browser.close();
}

function sum(times) {
  return times.reduce((total, time) => total + time, 0);
}
