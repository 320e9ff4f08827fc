"""Trains the diffusers checkpoint in model/ on data.npz as recipe.json says, on any number of devices.

    pip install -r requirements.txt
    accelerate launch train.py                         # whatever this machine has
    accelerate launch --cpu --num_processes 2 train.py
    accelerate launch train.py --resume                # after an interruption

Written by `noiseball train --to-accelerate`. The result, in trained/, opens with DDPMPipeline.from_pretrained and goes on in
Noiseball with `noiseball train DATA --from trained`. The batch of the recipe is shared out among the processes.
"""

import argparse
import json
import math
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

HERE = Path(__file__).parent


def decay(average, step):
    """The share of the old average after `step` optimiser steps, from 1."""
    if step <= 1:
        return 0.0
    if "diffusers" in average:
        rule = average["diffusers"]
        return min(1 - step ** -rule["power"], rule["max_decay"])
    d = 0.5 ** (1 / average["half-life"]["steps"])
    return d * (1 - d ** (step - 1)) / (1 - d**step)


def draw_timesteps(count, total, generator):
    """One timestep from each of equal slices: the law of independent draws, with less noise in the loss."""
    at = torch.arange(count, dtype=torch.float64) + torch.rand(count, dtype=torch.float64, generator=generator)
    # A draw just below 1 may be rounded up to the end of the last slice, which is no timestep.
    return (at * total / count).long().clamp(max=total - 1)


def loss_on(unet, scheduler, objective, x0, noise, t, labels):
    m = unet(scheduler.add_noise(x0, noise, t), t, labels, return_dict=False)[0]
    m = m[:, : x0.shape[1]]  # a learned variance stands behind the prediction
    kind = scheduler.config.prediction_type
    target = {"epsilon": noise, "sample": x0, "v_prediction": scheduler.get_velocity(x0, noise, t)}[kind]
    error = (m - target).square().flatten(1).mean(1)
    bar = scheduler.alphas_cumprod.to(x0.device)[t]
    snr = bar / (1 - bar)
    wanted = snr.clamp(max=objective["min-snr"]["gamma"]) if isinstance(objective, dict) else snr
    if kind == "sample":
        error = error * wanted
    elif isinstance(objective, dict):
        # No signal is left at zero terminal SNR, and there 0 / 0 would be the weight of an epsilon.
        error = error * wanted / (snr.clamp(min=torch.finfo(snr.dtype).tiny) if kind == "epsilon" else snr + 1)
    return error.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "trained")
    parser.add_argument("--save-every", type=int, default=500, help="steps")
    parser.add_argument("--resume", action="store_true", help="go on from the last save")
    args = parser.parse_args()
    state, partial, before = (args.out / name for name in ("state", "state.partial", "state.before"))
    if args.save_every < 1:
        parser.error("--save-every must be 1 or more")
    if not args.resume and (state.exists() or before.exists()):
        parser.error(f"{args.out} holds a run already: go on with it with --resume, or choose another folder with --out")
    if args.resume and not (state.exists() or before.exists()):
        parser.error(f"{args.out} holds no run to go on with: leave --resume out")
    recipe = json.loads((HERE / "recipe.json").read_text())
    rule = recipe["optimiser"]

    accelerator = Accelerator()
    # Not accelerate's set_seed: it seeds NumPy too, whose seeds end at 2**32 - 1, and nothing here draws from that.
    torch.manual_seed(recipe["seed"] + accelerator.process_index)
    unet = UNet2DModel.from_pretrained(HERE / "model", subfolder="unet")
    scheduler = DDPMScheduler.from_pretrained(HERE / "model", subfolder="scheduler")
    averaged = UNet2DModel.from_pretrained(HERE / "model", subfolder="unet").requires_grad_(False)

    arrays = np.load(HERE / "data.npz")
    images = torch.from_numpy(arrays["images"])
    labels = torch.from_numpy(arrays["labels"].astype(np.int64)) if "labels" in arrays else torch.zeros(len(images), dtype=torch.long)
    classes = unet.config.num_class_embeds
    each = max(1, recipe["batch"] // accelerator.num_processes)
    # Fewer images than a batch has are taken several times, so that every batch is whole.
    rounds = math.ceil(each * accelerator.num_processes / len(images))
    sampler = RandomSampler(images, num_samples=rounds * len(images))
    loader = DataLoader(TensorDataset(images, labels), batch_size=each, sampler=sampler, drop_last=True)
    parts = min(recipe["accumulate"], each)

    optimiser = torch.optim.AdamW(unet.parameters(), lr=rule["learning_rate"], betas=tuple(rule["betas"]),
                                  weight_decay=rule["weight_decay"], eps=rule["epsilon"])
    # accelerate steps the rate once for each process.
    rate = get_cosine_schedule_with_warmup(optimiser, rule["warmup"] * accelerator.num_processes,
                                           recipe["steps"] * accelerator.num_processes)
    unet, optimiser, loader, rate = accelerator.prepare(unet, optimiser, loader, rate)
    averaged.to(accelerator.device)

    step = 0
    if args.resume:
        if accelerator.is_main_process and not state.exists():
            before.rename(state)  # the last save was killed between its two renames
        accelerator.wait_for_everyone()
        accelerator.load_state(state)
        # The recipe's rate and number of steps, which may have been changed since.
        schedule = rate.scheduler
        schedule.base_lrs = [rule["learning_rate"] for _ in schedule.base_lrs]
        for group, peak, factor in zip(optimiser.param_groups, schedule.base_lrs, schedule.lr_lambdas):
            group["lr"] = peak * factor(schedule.last_epoch)
        step = json.loads((state / "step.json").read_text())
        averaged.load_state_dict(torch.load(state / "averaged.pt", map_location=accelerator.device))
    generator = torch.Generator().manual_seed(recipe["seed"] + 1000 * step + accelerator.process_index)

    def save():
        """At any moment of it, a whole state is on the disk."""
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(partial)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            torch.save(averaged.state_dict(), partial / "averaged.pt")
            (partial / "step.json").write_text(json.dumps(step))
            if state.exists():
                shutil.rmtree(before, ignore_errors=True)
                state.rename(before)
            partial.rename(state)
            shutil.rmtree(before, ignore_errors=True)
            DDPMPipeline(averaged, scheduler).save_pretrained(args.out)
            for name in ("labels.json", "README.md"):
                if (HERE / "model" / name).exists():
                    shutil.copy(HERE / "model" / name, args.out / name)
        accelerator.wait_for_everyone()

    losses = []
    while step < recipe["steps"]:
        for pixels, label in loader:
            x0 = pixels.float() / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels.float()
            if recipe["flip"]:
                flipped = torch.rand(len(x0), generator=generator).to(x0.device) < 0.5
                x0 = torch.where(flipped[:, None, None, None], x0.flip(3), x0)
            if classes is None:
                label = None
            elif recipe["label_dropout"] > 0:
                dropped = torch.rand(len(x0), generator=generator).to(x0.device) < recipe["label_dropout"]
                label = torch.where(dropped, classes - 1, label)
            noise = torch.randn(x0.shape, generator=generator).to(x0.device)
            t = draw_timesteps(len(x0), scheduler.config.num_train_timesteps, generator).to(x0.device)
            loss = 0.0
            for part in torch.arange(len(x0), device=x0.device).chunk(parts):
                label_part = None if label is None else label[part]
                last = part[-1] == len(x0) - 1
                # Processes share their gradients after the last part.
                with nullcontext() if last else accelerator.no_sync(unet):
                    one = loss_on(unet, scheduler, recipe["objective"], x0[part], noise[part], t[part], label_part)
                    one = one * (len(part) / len(x0))
                    accelerator.backward(one)
                loss += one.item()
            accelerator.clip_grad_norm_(unet.parameters(), rule["clip"])
            optimiser.step()
            rate.step()
            optimiser.zero_grad()
            step += 1
            share = 1 - decay(recipe["average"], step)
            with torch.no_grad():
                for old, new in zip(averaged.parameters(), accelerator.unwrap_model(unet).parameters()):
                    old.lerp_(new.detach(), share)
            losses.append(loss)
            if not math.isfinite(losses[-1]):
                raise SystemExit(f"the loss of step {step} is {losses[-1]}: lower the learning rate and go on with --resume")
            if step % 50 == 0:
                accelerator.print(f"step {step} of {recipe['steps']}: loss {sum(losses) / len(losses):.4f}")
                losses.clear()
            if step % args.save_every == 0 or step == recipe["steps"]:
                save()
            if step == recipe["steps"]:
                break
    accelerator.end_training()


if __name__ == "__main__":
    main()
