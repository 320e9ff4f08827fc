/**
 * Kills the tab, and now and then closes the whole browser, in headless Chromium on the CPU: from the start of a run to its end, while it
 * starts, trains, saves, is paused or ends. Each time it goes on from what was kept; in the end it compares the weights with those of a
 * run that nobody killed:
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
const open = () =>
  chromium.launchPersistentContext(profile, { executablePath: find().browser, args: chromiumArguments, chromiumSandbox: false });
let context = await open();

async function tab() {
  const page = await context.newPage();
  await page.goto(`${url}www/data/digits.js`); // any page of the site: only its modules are wanted
  await page.evaluate(
    async ({ base, steps }) => {
      globalThis.training = await import(`${base}www/training.js`);
      globalThis.begin = async () => {
        const data = await training.prepare('digits');
        return training.train({ data, recipe: (await data.plan({ preset: 'tiny', steps })).recipe, device: 'cpu', name: 'killed' });
      };
      globalThis.finish = async (run) => {
        for await (const event of run) {
          if (event.type === 'failed') throw new Error(event.error.message);
          if (event.type === 'state' && event.state === 'ended') break;
        }
        const { readZip } = await import(`${base}www/zip.js`);
        const files = await readZip(await run.export(), 'the run');
        const weights = new Uint8Array(await files.find(({ path }) => path.endsWith('.safetensors')).file.arrayBuffer());
        await run.close();
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', weights));
        return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      };
    },
    { base: url, steps },
  );
  return page;
}

/** How the kills come about, in turn; the last tenth of them while the run ends. */
const MOMENTS = ['paused', 'starting', 'training', 'saving'];
const told = []; // {moment, at}: the step that a kill was at, null where it was not told any more

for (let kill = 0; kill < kills; kill++) {
  const page = await tab();
  const moment = kill >= 0.9 * kills ? 'ending' : MOMENTS[kill % MOMENTS.length];
  // Evenly over the run; what a kill without a save takes away is trained again.
  const until = moment === 'ending' ? steps : Math.ceil((steps * (kill + Math.random())) / (0.9 * kills));
  const reached = page
    .evaluate(
      async ({ first, moment, until }) => {
        const kept = await training.runs();
        if (!first && kept.length !== 1) throw new Error(`${kept.length} runs are kept`);
        const run = first ? await begin() : await training.continueRun(kept[0].id);
        for await (const { step, state } of run) if (moment === 'starting' || step >= until || state === 'ended') break;
        const paused = ['paused', 'saving'].includes(moment) && run.pause();
        if (moment === 'paused') await paused;
        else if (moment !== 'training') await new Promise((resolve) => setTimeout(resolve, Math.random() * 500));
        return run.progress.step;
      },
      { first: kill === 0, moment, until },
    )
    .catch((error) => (/crashed|closed|Target/.test(error.message) ? null : Promise.reject(error)));
  const given = moment === 'starting' ? new Promise((resolve) => setTimeout(resolve, Math.random() * 4000, null)) : reached;
  const at = await Promise.race([reached, given]);
  if (kill % 10 === 9) {
    await context.close().catch(() => {});
    context = await open();
  } else {
    const session = await context.newCDPSession(page);
    session.send('Page.crash').catch(() => {});
    await page.waitForEvent('crash', { timeout: 30_000 });
    await page.close().catch(() => {});
  }
  await reached;
  told.push({ moment, at });
  console.log(`kill ${kill + 1}: ${moment}, ${at === null ? 'before it told where it was' : `at step ${at}`}`);
}
const page = await tab();
const [killed, whole] = await page.evaluate(async () => {
  const [kept] = await training.runs();
  const killed = await finish(await training.continueRun(kept.id));
  return [killed, await finish(await begin())];
});
await context.close();
await close();
rmSync(profile, { recursive: true, force: true });
console.log(
  `${kills} kills; the weights after ${steps} steps are ${killed === whole ? 'the same as' : 'NOT THOSE'} of a run that nobody killed`,
);
const count = (has) => told.filter(has).length;
console.log([...MOMENTS, 'ending'].map((name) => `${name}: ${count(({ moment }) => moment === name)}`).join(', '));
const quarters = [0, 1, 2, 3].map((i) => count(({ at }) => at !== null && Math.min(3, Math.floor((4 * at) / steps)) === i));
console.log(`by quarters of the run ${quarters.join(', ')}; not told ${count(({ at }) => at === null)}`);
process.exitCode = killed === whole ? 0 : 1;
