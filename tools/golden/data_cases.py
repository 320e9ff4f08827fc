"""Small files as people train on, and what must be made of them: tests/fixtures/data_cases.json.

The terminal's tests and the page's both run these (tests/data_cases/mod.rs). Pictures are what Pillow makes of them, arrays what
numpy wrote. Needs `pip install pillow==13.0.0 numpy==2.4.6`; run it from the repository's root.
"""

import base64
import gzip
import io
import json
import struct
import tarfile
import unicodedata
import zipfile
import zlib

import numpy as np
from PIL import Image, ImageOps

cases = []
rng = np.random.default_rng(0)


def case(name, files, count=None, shape=None, pixels=None, names=None, labels=None, left_out=(), notes=(), error=None,
         tolerance=0, **options):
    """`left_out` are pairs of a name and a part of the reason, `notes` parts of sentences, `options` the reader's."""
    expected = dict(error=error) if error else dict(
        count=count if count is not None else len(pixels), shape=shape, names=names or [], labels=labels,
        left_out=[list(pair) for pair in left_out], notes=list(notes), tolerance=tolerance,
        pixels=None if pixels is None else base64.b64encode(np.stack(pixels).astype(np.uint8).tobytes()).decode())
    cases.append(dict(name=name, options=options, expected=expected,
                      files=[[path, base64.b64encode(data).decode()] for path, data in files.items()]))


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(array):
    return encoded(Image.fromarray(np.asarray(array, np.uint8)), 'PNG')


def grey(value, size=8):
    return png(np.full((size, size), value))


def planar(array):
    array = np.asarray(array)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def archive(entries, flags=0, extra=None, method=0):
    """Entries by their names' bytes, which Python's writer would not leave as they are."""
    body, directory = b'', b''
    for name, data in entries:
        more = extra(name) if extra else b''
        common = struct.pack('<HHHHHIIIHH', 20, flags, method, 0, 0, zlib.crc32(data), len(data), len(data), len(name), len(more))
        directory += b'PK\1\2' + struct.pack('<H', 20) + common + struct.pack('<HHHII', 0, 0, 0, 0, len(body)) + name + more
        body += b'PK\3\4' + common + name + more + data
    count = len(entries)
    return body + directory + b'PK\5\6' + struct.pack('<HHHHIIH', 0, 0, count, count, len(directory), len(body), 0)


def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def raw_png(width, height, depth, colour, rows, *chunks):
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b''.join(b'\0' + row for row in rows))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + b''.join(chunks) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


def over_white(rgba):
    rgba = np.asarray(rgba, np.float64)
    return np.rint((rgba[..., :3] * rgba[..., 3:] + 255 * (255 - rgba[..., 3:])) / 255)


# ---- Pictures ----

quadrants = np.zeros((16, 16, 3), np.uint8)
quadrants[:8, :8], quadrants[:8, 8:], quadrants[8:, :8] = [255, 0, 0], [0, 255, 0], [0, 0, 255]
files, pixels = {}, []
for kind, options in [('JPEG', dict(quality=100, subsampling=0)), ('PNG', {}), ('WEBP', dict(lossless=True))]:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = encoded(Image.fromarray(quadrants), kind, exif=exif, **options)
        files[f'{kind}-{orientation}.{kind.lower()}'] = image
        pixels.append(planar(ImageOps.exif_transpose(Image.open(io.BytesIO(image))).convert('RGB')))
case('EXIF turns pictures', files, shape=[3, 16, 16], pixels=pixels, tolerance=3)

colours = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)
wide = rng.integers(0, 65536, (8, 8, 3), dtype=np.uint16)
palette = Image.fromarray(colours[..., :3]).quantize(7)
with_hole = io.BytesIO()
palette.save(with_hole, 'PNG', transparency=3)
files = {
    'a-rgba.png': png(colours),
    'b-grey-alpha.png': png(colours[..., :2]),
    'c-palette.png': with_hole.getvalue(),
    'd-bits.png': encoded(Image.fromarray(colours[..., 0] > 127), 'PNG'),
    'e-16-bit.png': raw_png(8, 8, 16, 2, [row.astype('>u2').tobytes() for row in wide]),
    'f-gamma.png': raw_png(8, 8, 8, 2, [row[:, :3].tobytes() for row in colours], chunk(b'gAMA', struct.pack('>I', 100000))),
    'g-rgb.gif': encoded(palette, 'GIF'),
    'h-rgb.webp': encoded(Image.fromarray(colours[..., :3]), 'WEBP', lossless=True),
    'i-alpha.webp': encoded(Image.fromarray(colours), 'WEBP', lossless=True, exact=True),
}
as_rgba = lambda data: np.asarray(Image.open(io.BytesIO(data)).convert('RGBA'))
case('PNG, GIF and WebP of every kind', files, shape=[3, 8, 8], pixels=[planar(p) for p in [
    over_white(colours), over_white(as_rgba(files['b-grey-alpha.png'])), over_white(as_rgba(files['c-palette.png'])),
    over_white(as_rgba(files['d-bits.png'])), wide >> 8, colours[..., :3], over_white(as_rgba(files['g-rgb.gif'])),
    colours[..., :3], over_white(colours)]])

smooth = np.stack(np.meshgrid(np.arange(16) * 15, np.arange(16) * 15), -1).astype(np.uint8)
smooth = np.concatenate([smooth, 255 - smooth[..., :1]], -1)
files = {
    'a-baseline.jpg': encoded(Image.fromarray(smooth), 'JPEG', quality=95, subsampling=0),
    'b-progressive.jpg': encoded(Image.fromarray(smooth), 'JPEG', quality=95, subsampling=0, progressive=True),
    'c-grey.jpg': encoded(Image.fromarray(smooth[..., 0]), 'JPEG', quality=95),
    'd-cmyk.jpg': encoded(Image.fromarray(smooth).convert('CMYK'), 'JPEG', quality=95),
}
case('JPEG of every kind', files, shape=[3, 16, 16], tolerance=4,
     pixels=[planar(Image.open(io.BytesIO(data)).convert('RGB')) for data in files.values()])

frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in ([10, 10, 10], [200, 0, 0], [0, 0, 250])]
moving = dict(save_all=True, append_images=frames[1:], duration=50, loop=0)
case('each frame of an animation is a picture', {
    'gif/1.gif': encoded(frames[0], 'GIF', **moving), 'webp/1.webp': encoded(frames[0], 'WEBP', lossless=True, **moving)},
    shape=[3, 8, 8], pixels=2 * [planar(f) for f in frames], names=['gif', 'webp'], labels=[0, 0, 0, 1, 1, 1], tolerance=1)

whole = grey(50)
case('what is no picture is left out and named', {
    'a/1.png': whole, 'a/cut.png': whole[:40], 'a/empty.png': b'', 'b/2.png': grey(60), 'b/notes.txt': b'not a picture'},
    shape=[1, 8, 8], pixels=[np.full((1, 8, 8), v) for v in (50, 60)], names=['a', 'b'], labels=[0, 1],
    left_out=[('a/cut.png', ''), ('a/empty.png', 'empty'), ('b/notes.txt', 'no picture')])
case('nothing but text is no data set', {'notes.txt': b'text'}, error='there are no pictures')

# ---- Folders and archives ----

two = dict(shape=[1, 8, 8], names=['cats', 'dogs'])
case('pictures beside the folders of classes', {
    'mixed/1.png': grey(1), 'mixed/cats/2.png': grey(2), 'mixed/dogs/3.png': grey(3)},
    pixels=[np.full((1, 8, 8), v) for v in (2, 3)], labels=[0, 1], left_out=[('mixed/1.png', 'no class')], **two)
case('pictures beside one folder', {'mixed/1.png': grey(1), 'mixed/cats/2.png': grey(2)}, shape=[1, 8, 8],
     pixels=[np.full((1, 8, 8), v) for v in (1, 2)])
case('classes may be ignored', {'1.png': grey(1), 'cats/2.png': grey(2), 'dogs/3.png': grey(3)}, shape=[1, 8, 8],
     pixels=[np.full((1, 8, 8), v) for v in (1, 2, 3)], classes=False)
case('hidden files', {
    'd/.git/1.png': grey(1), 'd/__MACOSX/cats/2.png': grey(2), 'd/cats/Thumbs.db': b'x', 'd/cats/desktop.ini': b'x',
    'd/cats/3.png': grey(3), 'd/cats/._3.png': b'x', 'd/.DS_Store': b'x', 'd/dogs/4.png': grey(4)},
    pixels=[np.full((1, 8, 8), v) for v in (3, 4)], labels=[0, 1], **two)
case('a model within the data', {
    'd/cats/1.png': grey(1), 'd/dogs/2.png': grey(2), 'd/model/samples.png': grey(3), 'd/model/model_index.json': b'{}',
    'd/model/training-state.safetensors': b'x'},
    pixels=[np.full((1, 8, 8), v) for v in (1, 2)], labels=[0, 1], left_out=[('d/model/', 'trained')], **two)

by_name = lambda *names: archive([(name + sep + f'{i}.png'.encode(), grey(i)) for i, (name, sep) in enumerate(names)])


def as_zip_says(name):
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode('cp437')


two_pixels = dict(shape=[1, 8, 8], pixels=[np.full((1, 8, 8), v) for v in (0, 1)], labels=[0, 1])
case('an archive', {'a.zip': by_name((b'cats', b'/'), (b'dogs', b'/'))}, names=['cats', 'dogs'], **two_pixels)
case('an archive with backslashes', {'a.zip': by_name((b'cats', b'\\'), (b'dogs', b'\\'))}, names=['cats', 'dogs'], **two_pixels)
for encoding, a, b in [('gbk', '猫', '狗'), ('shift_jis', 'ソ', '犬'), ('cp437', 'é', 'ö'), ('utf-8', '猫', '犬')]:
    shown = [as_zip_says(t.encode(encoding)) for t in (a, b)]
    order = sorted(range(2), key=lambda i: shown[i].encode())
    case(f'an archive with names in {encoding}', {'a.zip': by_name((a.encode(encoding), b'/'), (b.encode(encoding), b'/'))},
         shape=[1, 8, 8], pixels=[np.full((1, 8, 8), v) for v in order], names=[shown[i] for i in order], labels=[0, 1])
unicode = lambda name: (lambda text: struct.pack('<HHBI', 0x7075, 5 + len(text), 1, zlib.crc32(name)) + text)(name.decode('gbk').encode())
case("an archive with Info-ZIP's names", {'a.zip': archive(
    [('猫/0.png'.encode('gbk'), grey(0)), ('狗/1.png'.encode('gbk'), grey(1))], extra=unicode)},
    shape=[1, 8, 8], pixels=[np.full((1, 8, 8), v) for v in (1, 0)], names=['狗', '猫'], labels=[0, 1])
case('archives and pictures in one folder', {
    'd/cats/a.zip': archive([(b'1.png', grey(1))]), 'd/cats/b.png': grey(2), 'd/dogs/c.zip': archive([(b'deep/3.png', grey(3))])},
    shape=[1, 8, 8], pixels=[np.full((1, 8, 8), v) for v in (1, 2, 3)], names=['cats', 'deep'], labels=[0, 0, 1])
case('an archive within an archive', {'a.zip': archive([(b'1.png', grey(1)), (b'b.zip', archive([(b'2.png', grey(2))]))])},
     shape=[1, 8, 8], pixels=[np.full((1, 8, 8), 1)], left_out=[('b.zip', 'archive within an archive')])
case('a damaged archive', {'a.zip': archive([(b'1.png', grey(1))])[:-30]}, error='a.zip')
case('a damaged archive in a folder', {'d/a.zip': archive([(b'1.png', grey(1))])[:-30], 'd/2.png': grey(2)}, shape=[1, 8, 8],
     pixels=[np.full((1, 8, 8), 2)], left_out=[('d/a.zip', 'directory')])
case('an encrypted archive', {'a.zip': archive([(b'1.png', grey(1))], flags=1)}, error='encrypted')
one = archive([(b'1.png', grey(1)), (b'2.png', grey(2))])
case('files in an archive that share bytes', {'a.zip': one.replace(struct.pack('<I', 30 + 5 + len(grey(1))) + b'2.png', struct.pack('<I', 0) + b'2.png')},
     error='overlap')

cafe = [unicodedata.normalize(form, 'café').encode() for form in ('NFC', 'NFD')]
case('one name written in two ways', {'a.zip': archive([(cafe[0] + b'/1.png', grey(1)), (cafe[1] + b'/2.png', grey(2)), (b'b/3.png', grey(3))])},
     shape=[1, 8, 8], pixels=[np.full((1, 8, 8), v) for v in (3, 2, 1)], names=['b', 'café'], labels=[0, 1, 1])
case('folders whose name is written in two ways', {
    'd/' + cafe[0].decode() + '/1.png': grey(1), 'd/' + cafe[1].decode() + '/2.png': grey(2), 'd/b/3.png': grey(3)},
    shape=[1, 8, 8], pixels=[np.full((1, 8, 8), v) for v in (3, 2, 1)], names=['b', 'café'], labels=[0, 1, 1])
case('names that lead out of an archive', {'a.zip': archive([(b'../x/1.png', grey(1)), (b'../y/2.png', grey(2))])},
     error='2 files were left out, first of all ../x/1.png: its name leads out')
case('an archive of hidden files', {'a.zip': archive([(b'.a/1.png', grey(1)), (b'.b/2.png', grey(2))])},
     error='2 files were left out, first of all .a/1.png: its name is that of a hidden file')
case('names in an archive that begin with a dot', {'a.zip': archive([(b'./cats/1.png', grey(1)), (b'./dogs/2.png', grey(2))])},
     pixels=[np.full((1, 8, 8), v) for v in (1, 2)], labels=[0, 1], **two)
for method, name in [(9, 'Deflate64'), (12, 'bzip2'), (14, 'LZMA'), (93, 'zstd'), (98, 'another way')]:
    case(f'an archive packed by {name}', {'a.zip': archive([(b'1.png', grey(1))], method=method)}, error=f'packed by {name}, and only deflate')
tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode='w', format=tarfile.USTAR_FORMAT) as file:
    info = tarfile.TarInfo('1.png')
    info.size = len(grey(1))
    file.addfile(info, io.BytesIO(grey(1)))
for name, data, error in [
    ('a.tar', tar.getvalue(), 'made by tar'), ('a.tar.gz', gzip.compress(tar.getvalue(), mtime=0), 'made by tar'),
    ('a.7z', b"7z\xbc\xaf'\x1c" + bytes(26), 'made by 7-Zip'), ('a.rar', b'Rar!\x1a\7\1\0' + bytes(26), 'made by RAR'),
    ('a.tif', encoded(Image.fromarray(np.zeros((8, 8), np.uint8)), 'TIFF'), 'TIFF, which is not read; save it as PNG'),
    ('data_batch_1', b'\x80\x04\x95\x20' + bytes(40), 'a Python pickle'), ('a.h5', b'\x89HDF\r\n\x1a\n' + bytes(40), 'HDF5'),
]:
    case(f'a file that is not read: {name}', {name: data}, error=error)

# ---- Arrays ----

colour = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
case('arrays of one picture each', {f'd/{i}.npy': npy(colour[i]) for i in range(2)}, shape=[3, 8, 8],
     pixels=[planar(c) for c in colour], notes=['2 arrays of one picture each, the first of 8×8, colour'])
case('arrays of one picture each, channels first', {f'd/{i}.npy': npy(planar(colour[i])) for i in range(2)}, shape=[3, 8, 8],
     pixels=[planar(c) for c in colour])
case('arrays of one picture each, grey', {f'{c}/{i}.npy': npy(colour[i, ..., 0]) for i, c in enumerate(['a', 'b'])}, shape=[1, 8, 8],
     pixels=[c[None, ..., 0] for c in colour], names=['a', 'b'], labels=[0, 1])
case('one picture or three?', {'a.npy': npy(planar(colour[0]))}, error='one picture of 3 channels, or 3 pictures')
case('a list of flat pictures?', {'a.npy': npy(np.zeros((400, 64), np.uint8))}, error='is it one picture, or 400 pictures of 64 numbers')
for shape in [(30, 64), (20, 768), (64, 30)]:
    case(f'a list of flat pictures? {shape}', {'a.npy': npy(np.zeros(shape, np.uint8))},
         error=f'is it one picture, or {shape[0]} pictures of {shape[1]} numbers')
case('flat pictures with labels', {'a.npz': npz(x=np.zeros((5, 12), np.uint8), y=np.arange(5) % 2)}, error='or 5 pictures of 12 numbers')
case('flat pictures in two files', {'d/a.npy': npy(np.zeros((30, 64), np.uint8)), 'd/b.npy': npy(np.zeros((30, 64), np.uint8))},
     error='or 30 pictures of 64 numbers')
bits = rng.random((6, 8, 8)) > 0.5
for name, array in [('truth values', bits), ('zeros and ones', bits.astype(np.uint8)), ('zeros and ones of 64 bits', bits.astype(np.int64))]:
    case(f'{name} are black and white', {'a.npy': npy(array)}, shape=[1, 8, 8], pixels=[255 * b[None] for b in bits],
         notes=['6 pictures of 8×8, grey'])
shades = rng.integers(0, 256, (5, 8, 8), dtype=np.uint8)
shades[0, 0, :2] = [0, 255]
halves = (shades / 255).astype(np.float16)
for name, array, expected in [
    ('uint16', (shades.astype(np.uint16) * 257), shades), ('int64', shades.astype(np.int64), shades),
    ('big-endian uint16', (shades.astype('>u2') * 257).astype('>u2'), shades),
    ('float32 from 0 to 1', (shades / 255).astype(np.float32), shades),
    ('float16 from 0 to 1', halves, np.floor(halves.astype(np.float64) * 255 + 0.5)),
    ('big-endian float64 from -1 to 1', (shades / 127.5 - 1).astype('>f8'), shades),
    ('float32 from 0 to 255', shades.astype(np.float32), shades), ('Fortran order', np.asfortranarray(shades), shades),
    ('channels first', np.repeat(shades[:, None], 3, 1), shades), ('channels last', shades[..., None], shades),
]:
    case(f'an array of {name}', {'a.npy': npy(array)}, shape=[1, 8, 8], pixels=[p[None] for p in expected])
case('numbers from 0 to 16', {'a.npy': npy((shades // 16).astype(np.float64))}, error='which is black and which white')
for name, array in [
    ('floats around 0', shades / 255 - 0.5), ('per cent', shades / 2.55), ('floats a little below 0', shades / 255 - 0.02),
    ('integers from 0 to 16', (shades // 16 + 1) % 17), ('integers from 0 to 2', shades.astype(np.uint8) % 3), ('4 bits', shades // 17),
]:
    case(f'which is white? {name}', {'a.npy': npy(array)}, error='which is black and which white')
case('numbers that are all the same', {'a.npy': npy(np.full((2, 8, 8), 7, np.uint8))}, shape=[1, 8, 8], pixels=2 * [np.full((1, 8, 8), 7)])
bright = shades // 4 + 191
case('lists of floats on one scale', {
    'd/test.npy': npy((bright / 127.5 - 1).astype(np.float32)), 'd/train.npy': npy((shades / 127.5 - 1).astype(np.float32))},
    shape=[1, 8, 8], pixels=[p[None] for p in [*bright, *shades]], notes=['test.npy: 5 pictures of 8×8, grey, -1 to 1'])
case('lists of floats on two scales', {'d/test.npy': npy(shades / 255), 'd/train.npy': npy(shades.astype(np.float64))},
     error='all of them on one scale')
case('lists of bytes on two scales', {'d/test.npy': npy(shades // 128), 'd/train.npy': npy(shades)}, error='all of them on one scale')
case('numbers that are none', {'a.npy': npy(np.full((5, 8, 8), np.nan, np.float32))}, error='not finite')
case('Python objects', {'a.npy': b'\x93NUMPY\1\0' + struct.pack('<H', 60) + b"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }".ljust(59) + b'\n'},
     error='Python objects')
case('an array that is cut off', {'a.npy': npy(shades)[:-1]}, error='cut off')
case('two arrays in one file', {'a.npy': npy(shades) + npy(shades)}, error='more than one array may have been saved into it')
case('a type without its order of bytes', {'a.npy': npy(shades).replace(b"'|u1'", b"'u1' ")}, shape=[1, 8, 8], pixels=[p[None] for p in shades])
case('one array of one picture', {'a.npy': npy(shades[0][..., None])}, shape=[1, 8, 8], pixels=[shades[0][None]],
     notes=['a.npy: one picture of 8×8, grey'])
case('transparent arrays', {'a.npy': npy(colours[None])}, shape=[3, 8, 8], pixels=[planar(over_white(colours))])

numbers = np.array([2, 0, 1, 2, 0])
words = np.array(['red', 'green', 'blue', 'red', 'green'])
for name, labels in [('in a column', numbers[:, None].astype(np.uint8)), ('in a deep column', numbers[:, None, None]), ('one-hot', np.eye(3, dtype=np.int64)[numbers]),
                     ('as floats', numbers.astype(np.float32)), ('plain', numbers)]:
    case(f'labels {name}', {'a.npz': npz(images=shades, labels=labels)}, shape=[1, 8, 8], pixels=[p[None] for p in shades],
         names=['0', '1', '2'], labels=numbers.tolist(), notes=['images.npy: 5 pictures of 8×8, grey', 'classes by labels.npy'])
for dtype in ['U', 'S']:
    case(f'labels as text, {dtype}', {'d/x.npy': npy(shades), 'd/y.npy': npy(words.astype(dtype))}, shape=[1, 8, 8],
         pixels=[p[None] for p in shades], names=['blue', 'green', 'red'], labels=[2, 1, 0, 2, 1])
case('labels that may be ignored', {'a.npz': npz(images=shades, labels=numbers)}, shape=[1, 8, 8], pixels=[p[None] for p in shades], classes=False)
case('labels by the name of their pictures', {'a.npz': npz(
    train_images=shades, train_labels=numbers[:, None], val_images=shades, val_labels=numbers[::-1, None])}, shape=[1, 8, 8],
    pixels=[p[None] for p in shades] * 2, names=['0', '1', '2'], labels=[*numbers.tolist(), *numbers[::-1].tolist()])
case('labels and other numbers', {'a.npz': npz(images=shades, labels=numbers, weights=numbers * 2)}, shape=[1, 8, 8],
     pixels=[p[None] for p in shades], names=['0', '1', '2'], labels=numbers.tolist(), left_out=[('weights.npy', 'not used')])
case('which labels?', {'a.npz': npz(images=shades, fine_labels=numbers, coarse_labels=numbers // 2)},
     error='coarse_labels.npy, fine_labels.npy have 5 labels each: which are the classes')
case('attributes are no classes', {'a.npz': npz(images=shades, attributes=rng.random((5, 6)))}, shape=[1, 8, 8],
     pixels=[p[None] for p in shades], left_out=[('attributes.npy', 'neither whole numbers')])
objects = b'\x93NUMPY\1\0' + struct.pack('<H', 60) + b"{'descr': '|O', 'fortran_order': False, 'shape': (5,), }".ljust(59) + b'\n'
for name, labels, error in [
    ('too few', npy(numbers[:4]), 'it has 4 labels for 5 pictures'), ('too many', npy(np.arange(6)), 'it has 6 labels for 5 pictures'),
    ('in a row', npy(numbers[None]), 'it has 1 label for 5 pictures'), ('of NaN', npy(np.array([0, 1, np.nan, 1, 0])), 'label 2 is NaN'),
    ('of fractions', npy(numbers + 0.5), 'label 0 is 2.500'), ('of Python objects', objects, 'it holds Python objects'),
    ('soft', npy(np.eye(3)[numbers] * 0.9 + 0.03), 'nor one-hot'), ('one-hot, too few', npy(np.eye(3)[numbers[:4]]), 'it has 4 labels for 5 pictures'),
]:
    case(f'labels that cannot be used, {name}', {'d/x.npy': npy(shades), 'd/y.npy': labels}, error=error)
case('the only numbers beside are too few', {'d/x.npy': npy(shades.repeat(2, 0)), 'd/v.npy': npy(np.arange(9))}, error='it has 9 labels for 10 pictures')
case('numbers of the channels are no labels', {'a.npz': npz(images=shades, mean=np.array([0.5, 0.4, 0.3]))}, shape=[1, 8, 8],
     pixels=[p[None] for p in shades], left_out=[('mean.npy', 'not used')])
case("labels of too few pictures beside others' numbers", {'a.npz': npz(images=shades, labels=numbers[:4], ids=np.arange(5))},
     error='labels.npy seems to hold the labels of images.npy, but it has 4 labels for 5 pictures')
case('labels of one part only', {'a.npz': npz(x_train=shades, y_train=numbers, x_test=shades[::-1])}, shape=[1, 8, 8],
     pixels=[p[None] for p in shades], names=['0', '1', '2'], labels=numbers.tolist(), left_out=[('x_test.npy and 4 more', 'no class')])
case('one label for all', {'a.npz': npz(x=shades, y=np.full(5, 7))}, shape=[1, 8, 8], pixels=[p[None] for p in shades],
     notes=['y.npy labels all of them 7, and one label alone makes no classes'])
case('the names of classes are no labels', {'a.npz': npz(x=shades, y=numbers, class_names=words)}, shape=[1, 8, 8],
     pixels=[p[None] for p in shades], names=['0', '1', '2'], labels=numbers.tolist(), left_out=[('class_names.npy', 'not used')])
for name, arrays in [
    ('masks', dict(images=np.repeat(shades[..., None], 3, -1), masks=bits[:5])), ('depth', dict(rgb=np.repeat(shades[..., None], 3, -1), depth=shades / 255)),
    ('a mean', dict(images=np.repeat(shades[..., None], 3, -1), mean=np.repeat(shades[0][..., None], 3, -1))),
    ('positions', dict(arr_0=shades, arr_1=shades)), ('masks of parts', dict(train_images=shades, train_masks=shades)),
    ('parts of two sizes', dict(train=shades, test=shades[:, :4, :4])), ('maps of labels', dict(images=shades, labels=bits[:5])),
]:
    case(f'which are the pictures? {name}', {'a.npz': npz(**arrays)}, error='which are the pictures to train on')
case('numbered parts of one set', {'a.npz': npz(data_1=shades, data_2=shades)}, shape=[1, 8, 8], pixels=[p[None] for p in shades] * 2)
case('lists of pictures in folders of classes', {'d/cats/a.npy': npy(shades[:2]), 'd/dogs/b.npy': npy(shades)}, shape=[1, 8, 8],
     pixels=[p[None] for p in [*shades[:2], *shades]], names=['cats', 'dogs'], labels=[0, 0, 1, 1, 1, 1, 1])
case('an NPZ in a folder', {'d/data.npz': npz(x=shades, y=numbers)}, shape=[1, 8, 8], pixels=[p[None] for p in shades],
     names=['0', '1', '2'], labels=numbers.tolist())

idx = lambda array: struct.pack('>HBB', 0, 8, array.ndim) + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes()
dark = (shades // 16).astype(np.uint8)
case("MNIST's files", {'d/train-images-idx3-ubyte': idx(dark), 'd/train-labels-idx1-ubyte.gz': gzip.compress(idx(numbers.astype(np.uint8)), mtime=0)},
     shape=[1, 8, 8], pixels=[p[None] for p in dark], names=['0', '1', '2'], labels=numbers.tolist())
case('more pictures than a file can hold', {'a-idx3-ubyte': struct.pack('>HBBIII', 0, 8, 3, 4_000_000, 28, 28) + bytes(1000)}, error='cut off')
case('sizes that overflow', {'a.npy': b'\x93NUMPY\1\0' + struct.pack('<H', 90) + b"{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 16), }".ljust(89) + b'\n'},
     error='overflow')

with open('tests/fixtures/data_cases.json', 'w', encoding='utf-8', newline='\n') as file:
    file.write('[\n' + ',\n'.join(json.dumps(c, ensure_ascii=False) for c in cases) + '\n]\n')
print(len(cases), 'cases')
