// Which device a model runs on, decided in the worker before anything is built.

import { NoiseballError } from './errors.js';

/** @typedef {{kind: 'gpu' | 'cpu', name: string, reason: string | null}} Device */

const WHY = {
  'insecure-context': 'the page is not on https or localhost, so the browser hides WebGPU from it. Serve it over https',
  'no-webgpu': 'this browser has no WebGPU. Use a current Chrome, Edge, Firefox or Safari, or the CPU device',
  'no-adapter': 'the browser has WebGPU but found no graphics adapter that it may use. Use the CPU device',
};

const cards = new WeakSet();
const buffers = new WeakMap();

/** Whether a device is a graphics card, whose driver nobody here has tried. A program in its place is taken only by those who ask for it. */
export function isCard(device) {
  return cards.has(device);
}

/** Bytes of the largest buffer that a network's activations may lie in. */
export function largestBuffer(device) {
  return buffers.get(device) ?? Infinity;
}

/**
 * The devices to try, best first. With 'auto' the CPU takes over where there is no GPU, and says why.
 *
 * @param {'auto' | 'gpu' | 'cpu'} wanted
 * @param {{isSecureContext: boolean, navigator: Navigator}} scope the worker's global scope
 * @returns {Promise<Device[]>}
 */
export async function devicesFor(wanted, scope) {
  if (wanted === 'cpu') return [cpu(null)];
  if (wanted !== 'auto' && wanted !== 'gpu') {
    throw new NoiseballError('invalid-option', `\`device\` is '${wanted}', but it must be 'auto', 'gpu' or 'cpu'`);
  }
  const { adapter, reason } = await findAdapter(scope);
  // A GPU played by the CPU is many times slower than the engine on the CPU itself.
  if (wanted === 'auto' && adapter?.info?.isFallbackAdapter) return [cpu('software-adapter')];
  if (adapter) {
    /** @type {Device} */
    const gpu = { kind: 'gpu', name: adapterName(adapter.info), reason: null };
    if (!adapter.info?.isFallbackAdapter) cards.add(gpu);
    const { maxBufferSize = Infinity, maxStorageBufferBindingSize = Infinity } = adapter.limits ?? {};
    buffers.set(gpu, Math.min(maxBufferSize, maxStorageBufferBindingSize));
    return wanted === 'gpu' ? [gpu] : [gpu, cpu(null)];
  }
  if (wanted === 'gpu') throw new NoiseballError(reason, WHY[reason]);
  return [cpu(reason)];
}

/**
 * The CPU, with the reason why not the GPU (null where the CPU was asked for).
 * @returns {Device}
 */
export function cpu(reason) {
  return { kind: 'cpu', name: 'CPU', reason };
}

/** @returns {Promise<{adapter?: any, reason?: any}>} an adapter, or the key of WHY there is none */
async function findAdapter(scope) {
  if (!scope.isSecureContext) return { reason: 'insecure-context' };
  if (!scope.navigator.gpu) return { reason: 'no-webgpu' };
  try {
    const adapter = await scope.navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    return adapter ? { adapter } : { reason: 'no-adapter' };
  } catch {
    return { reason: 'no-adapter' };
  }
}

function adapterName(info) {
  return info?.description || [info?.vendor, info?.architecture].filter(Boolean).join(' ') || 'GPU';
}
