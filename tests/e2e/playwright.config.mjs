/**
 * Playwright: every spec in the installed Chromium and the installed Firefox, on dist/ served below a sub-path, as
 * on many a file host. `npm test -- e2e` builds dist/ first.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { defineConfig } from '@playwright/test';
import { chromium, chromiumArguments, firefox, firefoxPreferences } from '../../tools/setup/browsers.mjs';
import { root } from '../../tools/setup/shell.mjs';

// Chosen once: Playwright's worker processes read this file again and inherit the environment.
process.env.NOISEBALL_E2E_PORT ??= await freePort();
const port = process.env.NOISEBALL_E2E_PORT;
const url = `http://localhost:${port}/some/where/`;

export default defineConfig({
  testDir: '.',
  outputDir: '../../test-results',
  reporter: 'list',
  // A software adapter on two cores: one Chromium and one Firefox at a time, and patience.
  workers: 2,
  timeout: 600_000,
  expect: { timeout: 300_000 },
  use: {
    baseURL: url,
    // Only the test of the page without a network has one: what others route would pass it by.
    serviceWorkers: 'block',
    trace: 'retain-on-failure',
  },
  projects: [
    {
      name: 'chromium',
      workers: 1,
      use: {
        browserName: 'chromium',
        launchOptions: { executablePath: chromium().browser, args: chromiumArguments, chromiumSandbox: false },
      },
    },
    {
      // An ordinary Firefox, through WebDriver BiDi. Playwright after 1.64 wants commands that its ESR lacks. Tests that need
      // what this driver has not (downloads, chosen folders, emulated preferences) are skipped here, each with its reason.
      name: 'firefox',
      workers: 1,
      use: {
        browserName: 'firefox',
        channel: 'moz-firefox',
        launchOptions: { executablePath: firefox(), firefoxUserPrefs: firefoxPreferences },
      },
    },
  ],
  webServer: { command: 'node tools/build/serve.mjs dist /some/where/', cwd: root, url, env: { PORT: port } },
});

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return `${port}`;
}
