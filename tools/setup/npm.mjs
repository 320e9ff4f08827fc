/** The npm packages that tests use (building and serving need none): installed when package-lock.json changed. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, step } from './shell.mjs';

/** Makes node_modules agree with package-lock.json. */
export function npmPackages() {
  const stamp = join(root, 'node_modules', '.noiseball-lock');
  const lock = createHash('sha256').update(readFileSync(join(root, 'package-lock.json'))).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  step('installing npm packages');
  const arguments_ = ['ci', '--no-audit', '--no-fund'];
  // Under `npm test` npm says where it is itself, which spares Windows a shell.
  const npm = process.env.npm_execpath;
  run(npm ? process.execPath : 'npm', npm ? [npm, ...arguments_] : arguments_);
  writeFileSync(stamp, lock);
}
