// Frames of the filmstrip as they are kept: facts, and bytes. Those of pictures have {width, height, pictures}, those of points
// and bits {channels, values}.

/** A frame without its numbers. */
export function factsOf({ pictures: _pictures, values: _values, ...facts }) {
  return facts;
}

export function bytesOf({ pictures, values }) {
  return new Uint8Array((pictures ?? values).buffer);
}

/** The frame of these facts; the bytes have a buffer of their own. */
export function frameOf(facts, { buffer }) {
  return facts.channels ? { ...facts, values: new Float32Array(buffer) } : { ...facts, pictures: new Uint8ClampedArray(buffer) };
}
