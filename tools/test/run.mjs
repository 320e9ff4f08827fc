/**
 * `npm test`: every test there is, or the runners named: `npm test -- js web`. A failing runner does not stop the
 * next. The last line is `N passed, N failed`; the exit status is 1 when anything failed.
 *
 * `--without-burn` leaves out the native tests that compare with burn, which takes some ten minutes to compile.
 */
import { main, SetupError } from '../setup/shell.mjs';
import { runners } from './runners.mjs';

await main(async () => {
  const names = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
  const unknown = names.find((name) => !(name in runners));
  if (unknown) throw new SetupError(`There is no test runner "${unknown}". Choose from: ${Object.keys(runners).join(', ')}.`);
  const options = { withoutBurn: process.argv.includes('--without-burn') };

  const closing = [];
  const total = { passed: 0, failed: 0 };
  for (const [name, runner] of Object.entries(runners)) {
    if (names.length > 0 && !names.includes(name)) continue;
    console.log(`\n── ${name} ${'─'.repeat(70 - name.length)}`);
    const start = Date.now();
    const { passed, failed } = await outcome(runner, options);
    total.passed += passed;
    total.failed += failed;
    closing.push(`${name}: ${passed} passed, ${failed} failed (${Math.round((Date.now() - start) / 1000)} s)`);
    console.log(closing.at(-1));
  }
  console.log(`\n${closing.join('\n')}\n${total.passed} passed, ${total.failed} failed`);
  if (total.failed > 0) process.exitCode = 1;
});

/** A runner that cannot be set up has failed, and so has one that ran nothing. */
async function outcome(runner, options) {
  try {
    const { passed, failed } = await runner(options);
    if (passed + failed > 0) return { passed, failed };
    console.error('✗ No test was run.');
  } catch (error) {
    console.error(error instanceof SetupError ? `✗ ${error.message}` : error);
  }
  return { passed: 0, failed: 1 };
}
