/**
 * What every script here shares: where the project is, finding and running programs, and saying plainly what
 * happens. `step` prints progress, `SetupError` is a failure the reader can act on (printed without a stack).
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root folder. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A failure with a reason and, on the following lines, what to do about it. */
export class SetupError extends Error {}

/** Prints one line of progress. */
export function step(text) {
  console.log(`• ${text}`);
}

/** The folders of a PATH-like string. */
export function folders(path = process.env.PATH ?? '') {
  return path.split(delimiter).filter(Boolean);
}

/** The full path of the first of `names` found in `path`, or undefined. */
export function which(names, path = process.env.PATH) {
  const endings = process.platform === 'win32' ? ['.exe', '.cmd', ''] : [''];
  for (const name of [names].flat()) {
    for (const folder of folders(path)) {
      const found = endings.map((ending) => join(folder, name + ending)).find(existsSync);
      if (found) return found;
    }
  }
  return undefined;
}

/** Runs a program silently: `{ ok, stdout, stderr }`, with `ok` false when it is missing or fails. */
export function ask(program, args, options = {}) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: root, encoding: 'utf8', ...options });
  return { ok: status === 0, stdout: stdout ?? '', stderr: stderr ?? '' };
}

/**
 * Prints a command, runs it showing its output, and throws a SetupError with `advice` when it fails.
 * `environment` is laid over this process's own.
 */
export function run(program, args, { cwd = root, environment = {}, advice = '' } = {}) {
  console.log(`  $ ${[program, ...args].join(' ')}`);
  const env = { ...process.env, ...environment };
  const { status, error } = spawnSync(program, args, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) {
    const reason = error?.code === 'ENOENT' ? 'was not found' : `failed (${error?.message ?? `exit status ${status}`})`;
    throw new SetupError([`\`${program} ${args[0] ?? ''}\` ${reason}.`, advice].filter(Boolean).join('\n'));
  }
}

/** Like `run`, but keeps a copy of the output and never throws: resolves to `{ status, output }`. */
export function watch(program, args, { cwd = root, environment = {} } = {}) {
  console.log(`  $ ${[program, ...args].join(' ')}`);
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd, env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const copy = (to) => (chunk) => {
      output += chunk;
      to.write(chunk);
    };
    child.stdout.on('data', copy(process.stdout));
    child.stderr.on('data', copy(process.stderr));
    child.on('error', (error) => resolve({ status: 1, output: `${output}\n${error.message}` }));
    child.on('close', (status) => resolve({ status: status ?? 1, output }));
  });
}

/** The version of a crate in Cargo.lock: the tools must match what the code was locked to. */
export function lockedVersion(crate, lock = readFileSync(join(root, 'Cargo.lock'), 'utf8')) {
  const found = lock.match(new RegExp(`^name = "${crate}"\\r?\\nversion = "([^"]+)"`, 'm'));
  if (!found) throw new SetupError(`Cargo.lock has no package named ${crate}.`);
  return found[1];
}

/** Runs a script's main function, turning a SetupError into plain words and exit status 1. */
export async function main(script) {
  try {
    await script();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`\n✗ ${error.message}`);
    process.exitCode = 1;
  }
}
