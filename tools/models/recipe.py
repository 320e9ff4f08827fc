"""The command line of a training: trains, saves a diffusers folder, scores it, and keeps what a model card needs.

Into --out go `model/` (float16 averaged weights), `weights.safetensors` (the same in f32), `report.json` (steps, losses, scores) and `pictures.npz` (u8: contact sheets, the strip of early and late states, samples).
`model/` is there from half time on, so a run that is cut leaves something.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import diffusion
from unet import UNet


def run(*, config, labels, load, score, seconds, batch, rate, warmup, average, label_dropout):
    """`load(path, device)` gives (draw, data), `score(unet, data, count)` a dictionary of scores and the samples' array."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="what the drawing script wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=seconds, help="of training, wall-clock")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--count", type=int, default=2000, help="samples to score")
    parser.add_argument("--eager", action="store_true", help="do not capture the step as a CUDA graph")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.time()

    def log(line):
        print(json.dumps({"at": round(time.time() - start, 1), **line}), flush=True)

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    if cuda:
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # only samples and scores use f32
    torch.manual_seed(args.seed)
    draw, data = load(args.data, device)
    unet = UNet(config).to(device)
    null = len(labels) - 1
    log({"device": torch.cuda.get_device_name() if cuda else "cpu", "torch": torch.__version__,
         "parameters": sum(p.numel() for p in unet.parameters()), "pictures": len(data["images"])})
    pictures, moments = {}, []
    strip_labels = torch.arange(12) % null
    strip_noise = diffusion.noise_for(12, unet, 7, device)

    def eager(labels, noise, **options):
        torch.backends.cudnn.benchmark = False  # a few batches are not worth a search
        made = diffusion.sample(unet, labels, noise, **options)
        torch.backends.cudnn.benchmark = cuda
        return made

    def strip(_, step):
        moments.append(step)
        pictures[f"strip{len(moments):02}"] = diffusion.to_bytes(eager(strip_labels, strip_noise))

    def half(unet):
        diffusion.save_folder(args.out / "model", config, unet.state_dict(), labels)

    averaged, report = diffusion.train(
        unet, draw, seconds=args.seconds, batch=args.batch, rate=args.rate, warmup=warmup, average=average,
        label_dropout=label_dropout, dtype=torch.bfloat16 if cuda else torch.float32, log=log, half=half, strip=strip,
        capture=not args.eager)
    diffusion.save_folder(args.out / "model", config, averaged, labels)
    save_file(averaged, args.out / "weights.safetensors")
    report |= {"batch": args.batch, "rate": args.rate, "warmup": warmup, "average": average, "label_dropout": label_dropout,
               "seed": args.seed, "moments": moments, "device": torch.cuda.get_device_name() if cuda else "cpu"}

    def keep():
        (args.out / "report.json").write_text(json.dumps(report) + "\n")
        np.savez_compressed(args.out / "pictures.npz", **pictures)

    keep()
    log({key: value for key, value in report.items() if key != "history"})
    torch.backends.cudnn.benchmark = False
    sheet = torch.arange(64) * null // 64
    networks = {"float16": diffusion.load_folder(args.out / "model", device), "float32": UNet(config)}
    networks["float32"].load_state_dict(averaged)
    noise = diffusion.noise_for(64, unet, 1, device)
    pictures["sheet"] = diffusion.to_bytes(diffusion.sample(networks["float16"], sheet, noise))
    pictures["sheet_guided"] = diffusion.to_bytes(diffusion.sample(networks["float16"], sheet, noise, guidance=2.0))
    keep()
    report["scores"] = {}
    for name, options in [("float16", {}), ("float16", {"guidance": 1.5}), ("float16", {"guidance": 2.0}),
                          ("float16", {"steps": 50}), ("float32", {})]:
        scores, made = score(networks[name].eval().to(device), data, args.count, **options)
        if name == "float16" and not options:
            pictures["samples"] = diffusion.to_bytes(made)
        title = " ".join([name, *(f"{key} {value}" for key, value in options.items())])
        report["scores"][title] = scores
        log({"scores of": title, **scores})
        keep()
