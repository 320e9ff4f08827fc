"""Trains the class-conditional 16x16 UNet on the faces that draw.mjs drew and saves it in diffusers' folder layout.

    python train.py --minutes 80 --workers 2

The schedule is in wall-clock time: the learning rate warms up, then falls along a cosine to zero at `--minutes`, however
many steps fit. Each worker is one process with one thread and its own batch; gradients are averaged at every step, so
the result does not depend on which worker is slower. `--folder` is replaced every few minutes by the averaged (EMA)
weights as float16; interrupted training continues from `<folder>/../state.pt`.
"""

import argparse
import copy
import json
import math
import os
import shutil
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors import safe_open

HERE = Path(__file__).parent
CLASSES = 16
NULL_LABEL = CLASSES  # the last row of the class embedding: "any face"


def load_faces(path):
    """Returns images u8 [count, 3, 16, 16] and labels i64 [count] in 0..15."""
    with safe_open(path, "pt") as file:
        return file.get_tensor("images").permute(0, 3, 1, 2).contiguous(), file.get_tensor("labels").long()


def build_unet():
    """A three-level UNet (16, 8 and 4 px) with attention at 8 px and in the middle."""
    unet = UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 48, 96),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=16,
        norm_num_groups=8,
        attn_norm_num_groups=8,
        act_fn="silu",
        resnet_time_scale_shift="scale_shift",
        num_class_embeds=CLASSES + 1,
    )
    # Residual branches and the output start at zero (Ho et al. 2020): the first steps are spent learning, not unlearning.
    for name, module in unet.named_modules():
        if name.endswith(("conv2", "to_out.0")) or name == "conv_out":
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    torch.nn.init.normal_(unet.class_embedding.weight, std=0.02)
    return unet


def build_scheduler():
    """Cosine betas with v-prediction: defined at t = 999, so few steps may start from pure noise (trailing spacing)."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=True,
        timestep_spacing="trailing",
    )


def loss_on(unet, scheduler, images, labels):
    """Mean squared error of v over images f32 [batch, 3, 16, 16] in [-1, 1] and labels i64 [batch]."""
    batch = len(images)
    # One timestep from each of `batch` equal slices of 0..999: the same law as uniform draws, with less noise in the loss.
    t = ((torch.randperm(batch) + torch.rand(batch)) * (1000 / batch)).long().clamp(max=999)
    noise = torch.randn_like(images)
    noisy = scheduler.add_noise(images, noise, t)
    return F.mse_loss(unet(noisy, t, labels, return_dict=False)[0], scheduler.get_velocity(images, noise, t))


def save_folder(unet, scheduler, folder):
    """Replaces the diffusers folder (layout A, float16) as a whole, so that a reader never sees half of one."""
    partial, old = folder.with_name(folder.name + ".partial"), folder.with_name(folder.name + ".old")
    shutil.rmtree(partial, ignore_errors=True)
    DDPMPipeline(copy.deepcopy(unet).half().eval(), scheduler).save_pretrained(partial)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def worker(rank, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{args.folder.parent}/rendezvous", rank=rank, world_size=args.workers)
    torch.manual_seed(args.seed)  # every worker starts from the same weights ...
    scheduler = build_scheduler()
    unet = UNet2DModel.from_pretrained(args.start, subfolder="unet").float() if args.start else build_unet()
    ema = copy.deepcopy(unet).requires_grad_(False)
    optimiser = torch.optim.AdamW(unet.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    step, seen, elapsed = 0, 0, 0.0  # `seen` counts faces, over all workers
    state_path = args.folder.parent / "state.pt"
    if state_path.exists():
        state = torch.load(state_path)
        unet.load_state_dict(state["unet"])
        ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        step, seen, elapsed = state["step"], state["seen"], state["elapsed"]
    torch.manual_seed(args.seed + 1 + rank + 1000 * step)  # ... and then draws its own noise
    images, labels = load_faces(args.faces)
    parameters = list(unet.parameters())
    averaged = list(ema.parameters())
    start = time.time() - elapsed
    saved, losses = elapsed, []
    order = iter(())
    while True:
        try:
            index = next(order)
        except StopIteration:
            order = iter(torch.randperm(len(images)).split(args.batch)[:-1])
            index = next(order)
        x = images[index].float() / 127.5 - 1
        y = torch.where(torch.rand(len(index)) < args.label_dropout, NULL_LABEL, labels[index])
        loss = loss_on(unet, scheduler, x, y)
        optimiser.zero_grad()
        loss.backward()

        # One message a step: gradients and loss (averaged), and rank 0's clock, which sets everyone's learning rate.
        clock = torch.tensor([time.time() - start if rank == 0 else 0.0])
        message = torch.cat([p.grad.flatten() for p in parameters] + [loss.detach()[None], clock])
        dist.all_reduce(message)
        elapsed = message[-1].item()
        losses.append(message[-2].item() / args.workers)
        gradients = message[:-2].div_(args.workers).split([p.numel() for p in parameters])
        for p, g in zip(parameters, gradients):
            p.grad = g.view_as(p)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        progress = min(elapsed / (60 * args.minutes), 1.0)
        warm, fall = min(step / args.warmup, 1.0), 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = args.lr * warm * fall
        optimiser.step()
        step, seen = step + 1, seen + args.batch * args.workers
        decay = min(args.ema, step / (step + 9))
        torch._foreach_lerp_(averaged, parameters, 1 - decay)

        done = progress >= 1.0
        if rank == 0 and step % 100 == 0:
            line = {"step": step, "faces": seen, "minutes": round(elapsed / 60, 2),
                    "loss": round(sum(losses) / len(losses), 5), "lr": round(group["lr"], 6)}
            print(json.dumps(line), flush=True)
            losses.clear()
        if rank == 0 and (done or elapsed - saved > 60 * args.save_every):
            saved = elapsed
            save_folder(ema, scheduler, args.folder)
            state = {"unet": unet.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict(),
                     "step": step, "seen": seen, "elapsed": elapsed}
            torch.save(state, state_path.with_suffix(".partial"))
            os.replace(state_path.with_suffix(".partial"), state_path)
            print(json.dumps({"saved": str(args.folder.name), "step": step, "minutes": round(elapsed / 60, 2)}), flush=True)
        if done:
            break
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, default=HERE / "cache/faces.safetensors")
    parser.add_argument("--folder", type=Path, default=HERE / "cache/run/model", help="where the diffusers folder goes")
    parser.add_argument("--start", type=Path, help="a diffusers folder whose weights to begin with")
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32, help="faces a worker a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=200, help="steps")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--label-dropout", type=float, default=0.1)
    parser.add_argument("--save-every", type=float, default=3, help="minutes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    (args.folder.parent / "rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(worker, (args,), nprocs=args.workers)


if __name__ == "__main__":
    main()
