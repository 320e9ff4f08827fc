/**
 * `npm run build`: the wasm packages and the static site in dist/. `-- --without-training` leaves burn out, and with it the
 * page's training. Other arguments go to cargo.
 */
import { main } from '../setup/shell.mjs';
import { assembleSite } from './site.mjs';
import { buildText, buildTraining, buildWasm } from './wasm.mjs';

await main(async () => {
  const cargoArguments = process.argv.slice(2).filter((argument) => argument !== '--without-training');
  await buildWasm(cargoArguments);
  await buildText(cargoArguments);
  if (!process.argv.includes('--without-training')) await buildTraining(cargoArguments);
  assembleSite();
});
