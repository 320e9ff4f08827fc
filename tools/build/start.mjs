/**
 * `npm start`: builds what changed and serves the page from the working tree, so that editing www/ needs only a
 * reload. PORT and HOST choose another address than http://localhost:8080/. Arguments go to cargo.
 */
import { main, root } from '../setup/shell.mjs';
import { serve } from './serve.mjs';
import { buildWasm } from './wasm.mjs';

await main(async () => {
  await buildWasm(process.argv.slice(2));
  const { url } = await serve({ folder: root, only: ['index.html', 'www', 'examples'] });
  console.log(`\nNoiseball is at ${url}  (Ctrl+C stops it)`);
});
