"""Makes data sets that the page ships, each a sheet of tiles in grey in one PNG with its facts in a JSON file beside it.

    python3 sheets.py digits  scikit_learn-….whl    # or the digits.csv.gz that is in it
    python3 sheets.py kanji   misaki_gothic.ttf     # from Debian's fonts-misaki

Writes ../../www/data/NAME.png and NAME.js, whose default export is {name, count, tile, columns, names, labels, about, licence, source}, where
tile i is at column i % columns of row i // columns and labels[i] is its position in names; a set without classes has neither
names nor labels. Needs Python 3.11 alone.
"""

import gzip
import json
import struct
import sys
import zipfile
import zlib
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent.parent / "www" / "data"
COLUMNS = 50


def png(path, width, height, rows, bits=8):
    """Writes grey; rows are bytes objects of width numbers of so many bits. Rows are stored as they are or as
    differences to the one above, whichever is smaller."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    above = bytes(width * bits // 8)
    plain, differences = bytearray(), bytearray()
    for row in rows:
        plain += b"\x00" + row
        differences += b"\x02" + bytes((a - b) % 256 for a, b in zip(row, above))
        above = row
    packed = min((zlib.compress(bytes(data), 9) for data in (plain, differences)), key=len)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def sheet(name, images, size, labels=None, names=None, bits=8, **facts):
    """images: [size, size] each, numbers of so many bits packed into bytes."""
    lines = -(-len(images) // COLUMNS)
    stride = size * bits // 8
    count = len(images)
    images = images + [bytes(size * stride)] * (lines * COLUMNS - count)
    rows = (
        b"".join(image[y * stride : (y + 1) * stride] for image in images[line * COLUMNS : (line + 1) * COLUMNS])
        for line in range(lines)
        for y in range(size)
    )
    OUT.mkdir(exist_ok=True)
    png(OUT / f"{name}.png", COLUMNS * size, lines * size, rows, bits)
    record = dict(name=facts.pop("title"), count=count, tile=size, columns=COLUMNS, **facts)
    if labels:
        record.update(names=names, labels=labels)
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    (OUT / f"{name}.js").write_text(f"export default {text};\n", encoding="utf-8")


def digits(source):
    if zipfile.is_zipfile(source):
        packed = zipfile.ZipFile(source).read("sklearn/datasets/data/digits.csv.gz")
    else:
        packed = Path(source).read_bytes()
    rows = [[int(float(v)) for v in line.split(",")] for line in gzip.decompress(packed).decode().splitlines()]
    images = [bytes(round(v * 255 / 16) for v in row[:64]) for row in rows]
    sheet(
        "digits",
        images,
        8,
        [row[64] for row in rows],
        [str(i) for i in range(10)],
        title="Handwritten digits",
        about="1,797 digits that 13 people wrote, 8 × 8 pixels of 17 greys",
        licence="CC BY 4.0",
        source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (test set), UCI Machine Learning "
        "Repository, 1998, as scikit-learn packages it",
    )


def kanji(source):
    glyphs, characters = bitmaps(Path(source).read_bytes())
    # CJK unified ideographs and their compatibility forms; 々 and its like are signs, not kanji.
    wanted = [c for c in sorted(characters) if 0x4E00 <= c <= 0x9FFF or 0xF900 <= c <= 0xFAFF]
    images = dict.fromkeys(glyphs.get(characters[c], bytes(8)) for c in wanted)
    images.pop(bytes(8), None)
    count = len(images)
    sheet(
        "kanji",
        list(images),
        8,
        bits=1,
        title="Tiny kanji",
        about=f"{count:,} kanji of the Misaki Gothic font, 8 × 8 pixels of black and white",
        licence="Unlimited permission to use, copy and distribute, with or without modification, commercially or not",
        source="Misaki font, © 2002-2021 Num Kadoma, as Debian's fonts-misaki 20210505 has it",
    )


def bitmaps(font, size=8):
    """The bitmaps embedded in a TrueType font, {glyph: bytes of one row each}, and its {character: glyph}. Of the formats in
    OpenType's EBLC, EBDT and cmap those that this font has."""
    u = lambda form, at: struct.unpack_from(">" + form, font, at)
    tables = {font[at : at + 4]: u("I", at + 8)[0] for at in range(12, 12 + 16 * u("H", 4)[0], 16)}
    locations, data, cmap = (tables[name] for name in (b"EBLC", b"EBDT", b"cmap"))
    first, _, count = u("III", locations + 8)
    ascender = u("b", locations + 8 + 16)[0]
    glyphs = {}

    def glyph(number, metrics, bits):
        height, width, left, top = u("BBbb", metrics)
        rows = [0] * size
        for y in range(height):
            for x in range(width):
                at = y * width + x
                bit = font[bits + at // 8] >> (7 - at % 8) & 1
                rows[ascender - top + y] |= bit << (7 - left - x)
        glyphs[number] = bytes(rows)

    for i in range(count):
        start, end, more = u("HHI", locations + first + 8 * i)
        index = locations + first + more
        index_format, image_format, offset = u("HHI", index)
        numbers = range(start, end + 1)
        if (index_format, image_format) == (2, 5):  # of one size, with common metrics and nothing between them
            length = u("I", index + 8)[0]
            for number in numbers:
                glyph(number, index + 12, data + offset + (number - start) * length)
        elif index_format in (1, 3) and image_format == 2:  # each with its own metrics
            form, width = {1: ("I", 4), 3: ("H", 2)}[index_format]
            offsets = [u(form, index + 8 + width * i)[0] for i in range(len(numbers) + 1)]
            for number, at, after in zip(numbers, offsets, offsets[1:]):
                if after > at:
                    glyph(number, data + offset + at, data + offset + at + 5)
        else:
            raise ValueError(f"bitmaps of the formats {index_format} and {image_format}")

    encodings = [u("HHI", cmap + 4 + 8 * i) for i in range(u("H", cmap + 2)[0])]
    table = next(cmap + at for platform, encoding, at in encodings if (platform, encoding) == (3, 1))
    segments = u("H", table + 6)[0] // 2
    ends, starts, deltas, ranges = (table + 14 + 2 * segments * i + (2 if i else 0) for i in range(4))
    characters = {}
    for i in range(segments):
        end, start, delta, away = (u("H", part + 2 * i)[0] for part in (ends, starts, deltas, ranges))
        for c in range(start, end + 1):
            number = u("H", ranges + 2 * i + away + 2 * (c - start))[0] if away else c
            characters[c] = (number + delta) % 65536 if number else 0
    return glyphs, characters


if __name__ == "__main__":
    {"digits": digits, "kanji": kanji}[sys.argv[1]](sys.argv[2])
