// ZIP archives, for the package and the tests.

import { crc32, deflateRawSync } from 'node:zlib';

/** A ZIP archive of {path, bytes, pack?}; `flags` and `crc` make it one that is not readable. */
export function zip(files) {
  const [locals, entries] = [[], []];
  let offset = 0;
  for (const { path, bytes, pack = false, flags = 0, crc = crc32(bytes) } of files) {
    const [name, data] = [Buffer.from(path), pack ? deflateRawSync(bytes) : bytes];
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(flags, 2);
    common.writeUInt16LE(pack ? 8 : 0, 4);
    common.writeUInt32LE(crc, 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(bytes.length, 18);
    common.writeUInt16LE(name.length, 22);
    locals.push(Buffer.from('PK\x03\x04'), common, name, data);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    entries.push(Buffer.from('PK\x01\x02'), Buffer.from([20, 0]), common, tail, name);
    offset += 30 + name.length + data.length;
  }
  const directory = Buffer.concat(entries);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(files.length, 4);
  end.writeUInt16LE(files.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, directory, Buffer.from('PK\x05\x06'), end]);
}
