/**
 * Debian and Ubuntu packages: installs the missing ones, printing the command first. Elsewhere, or without the
 * right to install, it says what is needed and stops.
 */
import { ask, run, SetupError, step, which } from './shell.mjs';

/** Whether a package of this name can be had from apt here (or is installed already). */
export function aptOffers(name) {
  return Boolean(which('apt-cache')) && /Candidate: (?!\(none\))\S/.test(ask('apt-cache', ['policy', name]).stdout);
}

/** Makes sure that `packages` are installed; `purpose` ends the sentence "… is needed to". */
export function aptInstall(packages, purpose) {
  const missing = packages.filter((name) => !installed(name));
  if (missing.length === 0) return;
  const names = missing.join(' ');
  if (!which('apt-get')) {
    throw new SetupError(
      `Not found: what Debian calls ${names}, needed to ${purpose}.\nInstall it with your system's package manager and run this again.`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw new SetupError(
      `Missing packages, needed to ${purpose}. Install them and run this again:\n  sudo apt-get install --no-install-recommends ${names}`,
    );
  }
  step(`installing ${names}, to ${purpose}`);
  const environment = { DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-q'], { environment });
  run('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...missing], {
    environment,
    advice: 'The lines above say why. Install the packages by hand and run this again.',
  });
}

function installed(name) {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query fills this in itself
  return ask('dpkg-query', ['-W', '-f', '${Status}', name]).stdout === 'install ok installed';
}
