// PNG files of 8 bits a channel, for figures and tests.

import { crc32, deflateSync } from 'node:zlib';

export const GREY = 0;
export const RGB = 2;

/** `lines` are the rows of pixels, as bytes; fewer than `height` leave the picture cut off. */
export function png(width, height, colourType, lines) {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, colourType], 8);
  const unfiltered = lines.flatMap((line) => [Buffer.from([0]), line]);
  const data = deflateSync(Buffer.concat(unfiltered), { level: 9 });
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
