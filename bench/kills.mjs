/**
 * Kills the tab, and now and then closes the whole browser, at random moments of training and saving, in headless Chromium on the CPU, and
 * goes on each time from what was kept; in the end compares the weights with those of a run that nobody killed:
 *
 *   npm run build && node bench/kills.mjs [kills=50] [steps=150]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from '@playwright/test';
import { serve } from '../tools/build/serve.mjs';
import { chromium as find, chromiumArguments } from '../tools/setup/browsers.mjs';
import { root } from '../tools/setup/shell.mjs';

const [kills, steps] = [Number(process.argv[2] ?? 50), Number(process.argv[3] ?? 150)];
const { url, close } = await serve({ folder: join(root, 'dist') });
const profile = mkdtempSync(join(tmpdir(), 'noiseball-kills-'));
const open = () => chromium.launchPersistentContext(profile, { executablePath: find().browser, args: chromiumArguments, chromiumSandbox: false });
let context = await open();

async function tab() {
  const page = await context.newPage();
  await page.goto(`${url}www/data/digits.json`); // any page of the site: only its modules are wanted
  await page.evaluate(async ({ base, steps }) => {
    globalThis.Noiseball = (await import(`${base}www/noiseball.js`)).Noiseball;
    globalThis.begin = async () => {
      const data = await Noiseball.prepare('digits');
      return Noiseball.train({ data, recipe: (await data.plan({ preset: 'tiny', steps })).recipe, device: 'cpu', name: 'killed' });
    };
    globalThis.finish = async (run) => {
      for await (const event of run) {
        if (event.type === 'failed') throw new Error(event.error.message);
        if (event.type === 'state' && event.state === 'ended') break;
      }
      const { readZip } = await import(`${base}www/zip.js`);
      const files = await readZip(await run.export(), 'the run');
      const weights = await files.find(({ path }) => path.endsWith('.safetensors')).bytes();
      await run.close();
      const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', weights));
      return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    };
  }, { base: url, steps });
  return page;
}

// Kills until there were enough: while it starts, while it trains, or while a pause saves.
for (let kill = 0; kill < kills; kill++) {
  const page = await tab();
  const patience = Math.random() < 0.2 ? Math.random() * 300 : Math.random() * 3000;
  const step = page
    .evaluate(
      async ({ first, patience }) => {
        const kept = await Noiseball.runs();
        if (!first && kept.length !== 1) throw new Error(`${kept.length} runs are kept`);
        globalThis.run = first && kept.length === 0 ? await begin() : await Noiseball.continueRun(kept[0].id);
        const { step } = run.progress;
        await new Promise((resolve) => setTimeout(resolve, patience));
        run.pause();
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 80));
        return step;
      },
      { first: kill === 0, patience: kill === 0 ? 3000 : patience },
    )
    .catch((error) => (/crashed|closed|Target/.test(error.message) ? null : Promise.reject(error)));
  // Half of the time before the page is done by itself.
  const early = kill > 0 && Math.random() < 0.5;
  const from = early ? await Promise.race([step, new Promise((resolve) => setTimeout(resolve, Math.random() * 4000, null))]) : await step;
  if (kill % 10 === 9) {
    await context.close().catch(() => {});
    context = await open();
  } else {
    const session = await context.newCDPSession(page);
    session.send('Page.crash').catch(() => {});
    await page.waitForEvent('crash', { timeout: 30_000 });
    await page.close().catch(() => {});
  }
  await step;
  console.log(`kill ${kill + 1}: ${from === null ? 'before it told where it was' : `it had gone on from step ${from}`}`);
}
const page = await tab();
const [killed, whole] = await page.evaluate(async () => {
  const [kept] = await Noiseball.runs();
  const killed = await finish(await Noiseball.continueRun(kept.id));
  return [killed, await finish(await begin())];
});
await context.close();
await close();
rmSync(profile, { recursive: true, force: true });
console.log(`${kills} kills; the weights after ${steps} steps are ${killed === whole ? 'the same as' : 'NOT THOSE'} of a run that nobody killed`);
process.exitCode = killed === whole ? 0 : 1;
