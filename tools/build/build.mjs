/** `npm run build`: the wasm package and the static site in dist/. Arguments go to cargo. */
import { main } from '../setup/shell.mjs';
import { assembleSite } from './site.mjs';
import { buildWasm } from './wasm.mjs';

await main(async () => {
  await buildWasm(process.argv.slice(2));
  assembleSite();
});
