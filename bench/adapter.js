/** What the browser tells of its graphics adapter; null where there is none. */
export async function adapter() {
  const info = (await navigator.gpu?.requestAdapter())?.info;
  return info ? [info.vendor, info.architecture, info.device, info.description].filter(Boolean).join(' ') || 'WebGPU, unnamed' : null;
}
