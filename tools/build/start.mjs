/**
 * `npm start`: builds what changed and serves the page from the working tree, so that editing www/ needs only a
 * reload. The page is there as soon as the sampling module is; the others are built while it is served, and the page
 * says so to those who want them before. PORT and HOST choose another address than http://localhost:8080/.
 * `-- --without-training` leaves it out. Other arguments go to cargo.
 */
import { main, root, step } from '../setup/shell.mjs';
import { serve } from './serve.mjs';
import { PAGES } from './site.mjs';
import { buildText, buildTraining, buildWasm } from './wasm.mjs';

await main(async () => {
  const cargoArguments = process.argv.slice(2).filter((argument) => argument !== '--without-training');
  await buildWasm(cargoArguments);
  const { url } = await serve({ folder: root, only: [...PAGES, 'sw.js', 'www', 'examples'] });
  console.log(`\nNoiseball is at ${url}  (Ctrl+C stops it)\n`);
  for (const [what, build] of [
    ['models that take words', buildText],
    ...(process.argv.includes('--without-training') ? [] : [['training', buildTraining]]),
  ]) {
    try {
      await build(cargoArguments);
      step(`${what}: ready too, at ${url}`);
    } catch (error) {
      console.error(`\n✗ The page goes on without ${what}: ${error.message}`);
    }
  }
});
