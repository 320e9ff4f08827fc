/**
 * `npm run package`: what is given to others, in packages/, with its contents and sizes:
 *
 *   noiseball-VERSION.tgz   the npm package
 *   noiseball-dist.zip      the site, which works when unpacked on any file host
 *
 * `-- --without-training` leaves burn out, and with it the page's training. Other arguments go to cargo.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { main, root, SetupError, step } from '../setup/shell.mjs';
import { zip } from '../zip.mjs';
import { assembleSite, checkSize, DIST } from './site.mjs';
import { buildText, buildTraining, buildWasm } from './wasm.mjs';

const OUT = join(root, 'packages');
/** Already compressed: packing them again only costs the reader time. */
const PACKED = /\.(png|gif|webm|gz|woff2|safetensors)$/;

await main(async () => {
  const cargoArguments = process.argv.slice(2).filter((argument) => argument !== '--without-training');
  const training = !process.argv.includes('--without-training');
  await buildWasm(cargoArguments);
  await buildText(cargoArguments);
  if (training) await buildTraining(cargoArguments);
  assembleSite().forEach(checkSize);
  rmSync(OUT, { recursive: true, force: true });
  mkdirSync(OUT);
  packSite();
  packPackage();
});

function packSite() {
  const paths = readdirSync(DIST, { recursive: true })
    .filter((path) => statSync(join(DIST, path)).isFile())
    .map((path) => path.replaceAll('\\', '/'))
    .sort();
  const files = paths.map((path) => ({ path, bytes: readFileSync(join(DIST, path)), pack: !PACKED.test(path) }));
  const archive = join(OUT, 'noiseball-dist.zip');
  writeFileSync(archive, zip(files));
  list(
    archive,
    files.map(({ path, bytes }) => ({ path, size: bytes.length })),
  );
}

function packPackage() {
  const npm = process.env.npm_execpath;
  const args = [...(npm ? [npm] : []), 'pack', '--json', '--ignore-scripts', '--pack-destination', OUT];
  const { status, stdout } = spawnSync(npm ? process.execPath : 'npm', args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new SetupError('`npm pack` failed; the lines above say why.');
  const [{ filename, files }] = JSON.parse(stdout);
  list(join(OUT, filename), files);
}

/** Says what is in an archive: the larger files by name, the others together. */
function list(archive, files) {
  const size = (bytes) => `${(bytes / 1000).toFixed(bytes < 10_000 ? 1 : 0)} kB`.padStart(11);
  step(`${relative(root, archive)}: ${size(statSync(archive).size).trim()}, ${files.length} files`);
  const large = files.filter((file) => file.size >= 50_000).sort((a, b) => b.size - a.size);
  const rest = files.filter((file) => file.size < 50_000);
  for (const { path, size: bytes } of large) console.log(`${size(bytes)}  ${path}`);
  console.log(`${size(rest.reduce((sum, file) => sum + file.size, 0))}  in ${rest.length} files of less than 50 kB`);
}
