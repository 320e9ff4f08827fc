// Times, sizes and counts in words.

/** 83000 → '1 min 23 s' */
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return roughly(milliseconds);
}

/** A time that is only estimated, to the minute above two: 4569000 → '1 h 16 min' */
export function roughly(milliseconds) {
  if (milliseconds < 119_500) return duration(milliseconds);
  const minutes = Math.round(milliseconds / 60_000);
  if (minutes < 60) return `${minutes} min`;
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  if (hours < 24) return rest > 0 ? `${hours} h ${rest} min` : `${hours} h`;
  const days = Math.round(hours / 24);
  return days === 1 ? '1 day' : `${days} days`;
}

/** 4194304 → '4.2 MB' */
export function bytes(count) {
  return scaled(count, ['B', 'kB', 'MB', 'GB']);
}

/** 1234567 → '1.2 million' */
export function amount(count) {
  return scaled(count, ['', 'thousand', 'million', 'billion', 'trillion']).trim();
}

function scaled(count, units) {
  let power = 0;
  while (count >= 999.5 && power < units.length - 1) {
    count /= 1000;
    power++;
  }
  return `${power > 0 && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[power]}`;
}
