/**
 * `npm run setup`: everything that building needs. `npm run setup -- --tests` adds what `npm test` needs.
 * `npm start`, `npm run build` and `npm test` do the same themselves; this is for doing it ahead of time.
 */
import { webDrivers } from './browsers.mjs';
import { wasmBindgen, wasmPack } from './cargo-tools.mjs';
import { npmPackages } from './npm.mjs';
import { wasmEnvironment } from './rust.mjs';
import { main, step } from './shell.mjs';

await main(async () => {
  await wasmEnvironment();
  step(`wasm-bindgen: ${wasmBindgen()}`);
  if (process.argv.includes('--tests')) {
    step(`wasm-pack: ${wasmPack()}`);
    webDrivers();
    npmPackages();
  }
  step('ready');
});
