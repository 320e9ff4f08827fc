"""Makes fuzz/corpus/ from tests/fixtures/: a few kB for each target, all of it well formed or nearly so, so that the fuzzer
begins behind the first checks. It needs numpy and Pillow. Run it when a target reads its input in another way. What the fuzzer found is kept by hand."""

import gzip
import io
import json
import pathlib
import shutil
import struct
import zipfile

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parent
FIXTURES = ROOT.parent / "tests" / "fixtures"


def write(target: str, **seeds: bytes) -> None:
    folder = ROOT / "corpus" / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, seed in seeds.items():
        (folder / name).write_bytes(seed)


def header(**tensors) -> bytes:
    return json.dumps({name: dict(dtype=d, shape=s, data_offsets=o) for name, (d, s, o) in tensors.items()}).encode()


def weights() -> None:
    """Mode 0x80: the header's length is made from the header."""
    two = header(a=("F16", [2, 2], [0, 8]), b=("F32", [1], [8, 12])) + b"\0" + bytes(12)
    old = b'{"__metadata__":{"format":"pt"},"mid_block.attentions.0.query.weight":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    whole = (FIXTURES / "torch" / "linear.safetensors").read_bytes()
    write(
        "weights",
        two=b"\x83" + two,
        old=b"\xff" + old + b"\0\x80\x3f",
        empty=b"\x80{}",
        none=b"\x80" + header(x=("F64", [3, 0], [0, 0])),
        formats=b"\x87" + header(i=("I64", [1], [0, 8]), q=("F4", [4], [8, 10]), z=("BOOL", [2], [10, 12])) + b"\0" + bytes(12),
        file=b"\x1f" + whole,
        length=b"\x07" + struct.pack("<Q", 99_999_999) + b"{",
    )


def torch() -> None:
    """Mode 0x80: the rest is a pickle."""
    files = {path.stem: path.read_bytes() for path in sorted((FIXTURES / "torch").glob("*.bin"))}
    pickles = {}
    for name in ["tensors", "protocol4", "nested", "two", "module"]:
        with zipfile.ZipFile(FIXTURES / "torch" / f"{name}.bin") as archive:
            pickles[f"pickle_{name}"] = b"\xff" + archive.read(f"{name}/data.pkl")
    whole = {name: b"\x7f" + files[name] for name in ["nested", "two", "legacy", "script"]}
    reduce = b"\x80\x80\x02cposix\nsystem\nX\x04\0\0\0echo\x85R."
    write("torch", reduce=reduce, **pickles, **whole)


def configs() -> None:
    cases = json.loads((FIXTURES / "unet.json").read_text())["cases"]
    schedules = json.loads((FIXTURES / "schedulers.json").read_text())["cases"]
    labels = b'{"labels":["a","b"],"null_label":1}'
    index = b'{"_class_name":"DDPMPipeline","unet":["diffusers","UNet2DModel"],"scheduler":["diffusers","DDPMScheduler"]}'
    shards = b'{"metadata":{"total_size":8},"weight_map":{"a":"m-2.safetensors","b":"m-1.bin"}}'
    seeds = {}
    for at, case in enumerate(cases):
        schedule = schedules[at * len(schedules) // len(cases)]
        scheduler = {"_class_name": schedule["class"], **schedule["config"]}
        config = {**case["config"], "sample_size": 8}
        files = [json.dumps(file, separators=(",", ":")).encode() for file in (config, scheduler)]
        seeds[f"{case['name']}.json"] = b"\0".join([*files, labels, index, shards])
    write("configs", **seeds)


def picture(mode: str = "RGB", size: int = 12) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pictures() -> None:
    frames = dict(save_all=True, append_images=[picture(size=12).rotate(90)], duration=50)
    exif = Image.Exif()
    exif[0x112] = 6
    png, jpeg, webp, gif = b"\0", b"\x01", b"\x02", b"\x03"
    write(
        "pictures",
        png=png + saved(picture(), "PNG"),
        png_palette=png + saved(picture().quantize(8), "PNG"),
        png_alpha=png + saved(picture("LA"), "PNG"),
        png_bits=png + saved(picture("1"), "PNG"),
        png_16=png + saved(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999), "PNG"),
        jpeg=jpeg + saved(picture(), "JPEG"),
        jpeg_grey=jpeg + saved(picture("L"), "JPEG"),
        jpeg_progressive=jpeg + saved(picture(), "JPEG", progressive=True, exif=exif),
        jpeg_cmyk=jpeg + saved(picture("CMYK"), "JPEG"),
        webp=webp + saved(picture(), "WEBP", exif=exif),
        webp_lossless=webp + saved(picture("RGBA"), "WEBP", lossless=True),
        webp_frames=webp + saved(picture(), "WEBP", **frames),
        gif=gif + saved(picture("P"), "GIF"),
        gif_frames=gif + saved(picture("P", 8), "GIF", save_all=True, append_images=[picture("P", 8).rotate(90)]),
    )


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def arrays() -> None:
    bytes_ = np.arange(2 * 8 * 8, dtype=np.uint8)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4, 4), }\n"
    write(
        "arrays",
        header=b"\x80" + header + b"\0" + np.linspace(-1, 1, 32, dtype=np.float32).tobytes(),
        bytes=b"\0" + npy(bytes_.reshape(2, 8, 8)),
        colours=b"\0" + npy(np.resize(bytes_, (2, 3, 8, 8))),
        bools=b"\0" + npy(bytes_.reshape(2, 8, 8) % 2 == 0),
        big=b"\0" + npy(bytes_.reshape(2, 8, 8).astype(">f8")),
        half=b"\0" + npy(np.asfortranarray(bytes_.reshape(2, 8, 8).astype(np.float16))),
        texts=b"\0" + npy(np.array(["a", "bc"])),
        idx=b"\x01" + idx(bytes_.reshape(2, 8, 8)),
        gz=b"\x02" + gzip.compress(npy(bytes_.reshape(2, 8, 8)), mtime=0),
        idx_gz=b"\x03" + gzip.compress(idx(bytes_.reshape(2, 8, 8)), mtime=0),
    )


def archives() -> None:
    small = saved(picture(size=8), "PNG")
    images, labels = npy(np.arange(128, dtype=np.uint8).reshape(2, 8, 8)), npy(np.array([3, 5]))

    def entries(*files) -> bytes:
        return b"".join(name + b"\0" + struct.pack("<H", len(data)) + data for name, data in files)

    def zipped(method: int, *files) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in files:
                archive.writestr(zipfile.ZipInfo(name.decode()), data, method)
        return file.getvalue()

    folders = [(b"cats/a.png", small), (b"dogs/b.png", small), (b"readme.txt", b"no picture")]
    arrays = [(b"images.npy", images), (b"labels.npy", labels)]
    write(
        "archives",
        folders=b"\x80" + entries(*folders),
        arrays=b"\x81" + entries(*arrays),
        names=b"\x80" + entries((b"a\\b.png", small), (b"../c.png", small), (b"\xc3\x28/d.png", small), (b"__MACOSX/e.png", b"")),
        stored=b"\0" + zipped(zipfile.ZIP_STORED, *folders),
        deflated=b"\0" + zipped(zipfile.ZIP_DEFLATED, *folders),
        npz=b"\x01" + zipped(zipfile.ZIP_DEFLATED, *arrays),
    )


if __name__ == "__main__":
    weights()
    torch()
    configs()
    pictures()
    arrays()
    archives()
