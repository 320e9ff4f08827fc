/** Playwright: the installed Chromium, and dist/ served below a sub-path, as on many a file host. */
import { defineConfig } from '@playwright/test';
import { chromium, chromiumArguments } from '../../tools/setup/browsers.mjs';
import { root } from '../../tools/setup/shell.mjs';

const port = 8139;
const url = `http://localhost:${port}/some/where/`;

export default defineConfig({
  testDir: '.',
  outputDir: '../../test-results',
  reporter: 'list',
  // A software adapter on two cores: one browser at a time, and patience.
  workers: 1,
  timeout: 300_000,
  expect: { timeout: 120_000 },
  use: {
    baseURL: url,
    launchOptions: { executablePath: chromium().browser, args: chromiumArguments, chromiumSandbox: false },
    trace: 'retain-on-failure',
  },
  webServer: { command: 'node tools/build/serve.mjs dist /some/where/', cwd: root, url, env: { PORT: `${port}` } },
});
