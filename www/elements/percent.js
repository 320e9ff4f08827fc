/** 0.004 → '0.4 %', so that little is not none. */
export function percent(share) {
  const hundredths = share * 100;
  return `${hundredths > 0 && hundredths < 1 ? hundredths.toFixed(1) : Math.round(hundredths)} %`;
}
