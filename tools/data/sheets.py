"""Makes the data sets that the page ships, each a sheet of tiles in one PNG with its facts in a JSON file beside it.

    python3 sheets.py digits  scikit_learn-….whl    # or the digits.csv.gz that is in it
    python3 sheets.py faces   ../models/pixel-faces-16/cache/faces.safetensors

Writes ../../www/data/NAME.png and NAME.json: {name, count, tile, columns, channels, names, labels, about, licence, source}, where
tile i is at column i % columns of row i // columns and labels[i] is its position in names. Needs Python 3.11 alone.
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


def png(path, width, height, channels, rows):
    """Writes 8-bit grey or RGB; rows are bytes objects of width * channels. Rows are stored as they are or as differences
    to the one above, whichever is smaller."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    above = bytes(width * channels)
    plain, differences = bytearray(), bytearray()
    for row in rows:
        plain += b"\x00" + row
        differences += b"\x02" + bytes((a - b) % 256 for a, b in zip(row, above))
        above = row
    packed = min((zlib.compress(bytes(data), 9) for data in (plain, differences)), key=len)
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def sheet(name, images, size, channels, labels, names, **facts):
    """images: bytes [size, size, channels] each."""
    lines = -(-len(images) // COLUMNS)
    images = images + [bytes(size * size * channels)] * (lines * COLUMNS - len(images))
    stride = size * channels
    rows = (
        b"".join(image[y * stride : (y + 1) * stride] for image in images[line * COLUMNS : (line + 1) * COLUMNS])
        for line in range(lines)
        for y in range(size)
    )
    OUT.mkdir(exist_ok=True)
    png(OUT / f"{name}.png", COLUMNS * size, lines * size, channels, rows)
    record = dict(name=facts.pop("title"), count=len(labels), tile=size, columns=COLUMNS, channels=channels, **facts)
    record.update(names=names, labels=labels)
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    (OUT / f"{name}.json").write_text(text + "\n", encoding="utf-8")


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
        1,
        [row[64] for row in rows],
        [str(i) for i in range(10)],
        title="Handwritten digits",
        about="1,797 digits that 13 people wrote, 8 × 8 pixels of 17 greys",
        licence="CC BY 4.0",
        source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (test set), UCI Machine Learning "
        "Repository, 1998, as scikit-learn packages it",
    )


def faces(source, count=2000):
    file = Path(source).read_bytes()
    length = struct.unpack("<Q", file[:8])[0]
    header = json.loads(file[8 : 8 + length])
    tensor = lambda name: memoryview(file)[8 + length :][slice(*header[name]["data_offsets"])]
    pixels, labels = tensor("images"), tensor("labels")
    # Of the sixteen classes of the shipped model the two that a small network shows soonest: hats and glasses.
    names = ["bare", "glasses", "hat", "hat and glasses"]
    label = lambda i: (labels[i] >> 2 & 1) + 2 * (labels[i] >> 3 & 1)
    sheet(
        "faces",
        [bytes(pixels[768 * i : 768 * (i + 1)]) for i in range(count)],
        16,
        3,
        [label(i) for i in range(count)],
        names,
        title="Pixel faces",
        about="2,000 made-up faces, 16 × 16 pixels in colour",
        licence="CC0 1.0",
        source="DiceBear's pixel-art set (@dicebear/pixel-art 9), drawn by tools/models/pixel-faces-16",
    )


if __name__ == "__main__":
    {"digits": digits, "faces": faces}[sys.argv[1]](sys.argv[2])
