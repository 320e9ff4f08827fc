/** npm packages, which building and serving do without: those of tests, and in bench/ those of the benchmark. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, step } from './shell.mjs';

/** Makes a folder's node_modules agree with its package-lock.json: installs when that has changed. */
export function npmPackages(folder = '.') {
  const cwd = join(root, folder);
  const stamp = join(cwd, 'node_modules', '.noiseball-lock');
  const lock = createHash('sha256')
    .update(readFileSync(join(cwd, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  step(`installing npm packages${folder === '.' ? '' : ` of ${folder}`}`);
  const arguments_ = ['ci', '--no-audit', '--no-fund'];
  // Under `npm test` npm says where it is itself, which spares Windows a shell.
  const npm = process.env.npm_execpath;
  run(npm ? process.execPath : 'npm', npm ? [npm, ...arguments_] : arguments_, { cwd });
  writeFileSync(stamp, lock);
}
