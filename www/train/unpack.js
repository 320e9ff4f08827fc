// The training module is kept compressed: as it is, it has some 30 MB, which is more than some hosts take and others send.

/**
 * A response with a gzip file's contents, to compile as they arrive. Where a server said that gzip is only how it sends the file, the
 * browser has unpacked it already, which the first bytes tell: that header is hidden from other sites' scripts.
 *
 * @param {Response} response
 * @param {(bytes: number) => void} [onProgress] called with how many bytes have come
 * @param {() => void} [onEnd] called when all have
 */
export async function unpacked(response, onProgress = () => {}, onEnd = () => {}) {
  const reader = response.body.getReader();
  let come = 0;
  const read = async () => {
    const part = await reader.read();
    if (part.done) onEnd();
    else onProgress((come += part.value.length));
    return part;
  };
  const first = await read();
  const bytes = new ReadableStream({
    start: (controller) => (first.done ? controller.close() : controller.enqueue(first.value)),
    async pull(controller) {
      const { done, value } = await read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  const packed = first.value?.[0] === 0x1f && first.value?.[1] === 0x8b;
  const contents = packed ? bytes.pipeThrough(new DecompressionStream('gzip')) : bytes;
  return new Response(contents, { headers: { 'content-type': 'application/wasm' } });
}
