// A PNG of 8-bit grey, for figures.

import { crc32, deflateSync } from 'node:zlib';

/** `pixels` is [height, width]; each becomes a square of `scale` pixels. */
export function pngOfGrey(pixels, width, height, scale = 1) {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width * scale, 0);
  header.writeUInt32BE(height * scale, 4);
  header[8] = 8;
  const rows = [];
  for (let y = 0; y < height * scale; y++) {
    const row = Buffer.alloc(1 + width * scale);
    for (let x = 0; x < width * scale; x++) row[1 + x] = pixels[Math.floor(y / scale) * width + Math.floor(x / scale)];
    rows.push(row);
  }
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.concat(rows), { level: 9 })), chunk('IEND', Buffer.alloc(0))]);
}
