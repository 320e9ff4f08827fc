"""Makes fuzz/corpus/ from tests/fixtures/: a few kB for each target, all of it well formed or nearly so, so that the fuzzer
begins behind the first checks. Run it when a target reads its input in another way. What the fuzzer found is kept by hand."""

import json
import pathlib
import shutil
import struct
import zipfile

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
        config = {"sample_size": 8, **case["config"]}
        files = [json.dumps(file, separators=(",", ":")).encode() for file in (config, scheduler)]
        seeds[f"{case['name']}.json"] = b"\0".join([*files, labels, index, shards])
    write("configs", **seeds)


if __name__ == "__main__":
    weights()
    torch()
    configs()
