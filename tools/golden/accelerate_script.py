"""Tries src/train/accelerate/train.py at its edges: seeds, the last timestep, few pictures, classes, resuming, a kill.

    python tools/golden/accelerate_script.py    # with torch, diffusers and accelerate; a minute on a CPU

It is run by hand after a change of the script: the tests that `npm test` runs need no Python.
"""

import importlib.util
import itertools
import json
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

ROOT = tempfile.TemporaryDirectory(prefix="accelerate-")
NUMBERS = itertools.count()
SCRIPT = Path(__file__).resolve().parents[2] / "src" / "train" / "accelerate" / "train.py"


def load(folder=SCRIPT.parent):
    """The script as a module that believes to lie in `folder`."""
    spec = importlib.util.spec_from_file_location("train", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.HERE = folder
    return module


def folder(pictures=20, channels=1, classes=0, batch=8, floats=False, unet={}, scheduler={}, **recipe):
    """What `noiseball train --to-accelerate` writes, small."""
    made = Path(ROOT.name) / str(next(NUMBERS))
    net = UNet2DModel(
        sample_size=8, in_channels=channels, block_out_channels=[8], layers_per_block=1, norm_num_groups=4,
        down_block_types=["DownBlock2D"], up_block_types=["UpBlock2D"], add_attention=False,
        num_class_embeds=classes + 1 if classes else None, **{"out_channels": channels, **unet},
    )
    DDPMPipeline(net, DDPMScheduler(**{"prediction_type": "v_prediction", **scheduler})).save_pretrained(made / "model")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (pictures, channels, 8, 8), dtype=np.uint8)
    arrays = dict(images=images.astype(np.float32) / 127.5 - 1 if floats else images)
    if classes:
        arrays["labels"] = random.integers(0, classes, pictures).astype(np.uint32)
    np.savez(made / "data.npz", **arrays)
    rule = dict(learning_rate=1e-3, betas=[0.9, 0.999], weight_decay=0.0, epsilon=1e-8, warmup=2, clip=1.0)
    average = {"half-life": {"steps": 10.0}}
    base = dict(seed=0, steps=4, batch=batch, accumulate=1, flip=True, objective="simple", average=average, optimiser=rule,
                label_dropout=0.1 if classes else 0.0)
    (made / "recipe.json").write_text(json.dumps({**base, **recipe}))
    return made


def run(made, *arguments):
    """The script, in this process: what it prints last, or how it ends."""
    for state in (AcceleratorState, PartialState):
        state._reset_state()
    GradientState._reset_state()
    with mock.patch.object(sys, "argv", ["train.py", *arguments]):
        load(made).main()


def refused(made, *arguments):
    try:
        run(made, *arguments)
    except SystemExit as stop:
        assert stop.code == 2, stop.code
        return
    raise AssertionError(f"not refused: {arguments}")


def change(made, **changes):
    recipe = json.loads((made / "recipe.json").read_text())
    (made / "recipe.json").write_text(json.dumps({**recipe, **changes}))


def timesteps_stay_in_the_table():
    train = load()
    generator = torch.Generator().manual_seed(0)
    highest = float(np.nextafter(1.0, 0.0))
    for count in (1, 2, 3, 7, 32, 64, 128, 256, 1000, 65536):
        for total in (1, 2, 10, 999, 1000, 100_000):
            for draw in (0.0, 0.5, 1 - 2**-24, highest):
                with mock.patch.object(train.torch, "rand", lambda n, dtype, **_: torch.full((n,), draw, dtype=dtype)):
                    t = train.draw_timesteps(count, total, generator)
                assert t.min() >= 0 and t.max() <= total - 1, (count, total, draw)
    t = torch.cat([train.draw_timesteps(64, 1000, generator) for _ in range(2000)])
    assert abs(t.double().mean() - 499.5) < 1 and len(t.unique()) == 1000


def weights_are_finite_at_zero_terminal_snr():
    train = load()
    for kind in ("epsilon", "sample", "v_prediction"):
        scheduler = DDPMScheduler(prediction_type=kind, rescale_betas_zero_snr=True)
        for objective in ("simple", {"min-snr": {"gamma": 5.0}}):
            t = torch.tensor([0, 500, 999])
            x0, noise = torch.full((3, 1, 2, 2), 0.5), torch.ones(3, 1, 2, 2)
            loss = train.loss_on(lambda x, *_, **__: (x,), scheduler, objective, x0, noise, t, None)
            assert loss.isfinite(), (kind, objective)


def whole(made, steps=4):
    """The run has ended: its result opens, and its state is of the last step."""
    pipeline = DDPMPipeline.from_pretrained(made / "trained")
    assert all(value.isfinite().all() for value in pipeline.unet.state_dict().values())
    assert json.loads((made / "trained" / "state" / "step.json").read_text()) == steps
    left = {path.name for path in (made / "trained").iterdir()}
    assert not left & {"state.partial", "state.before"}, left


def runs_of_every_kind():
    for seed in (0, 2**32 - 1, 2**32, 4294967301, 2**53 - 1):
        made = folder(seed=seed, steps=1)
        run(made)
        whole(made, 1)
    for options in (
        dict(batch=1),
        dict(pictures=1, batch=1),
        dict(pictures=1, batch=8),  # one picture, eight times
        dict(pictures=3, batch=8, accumulate=4),
        dict(pictures=9, batch=8, accumulate=2),  # the last batch of an epoch would have one picture
        dict(channels=3, floats=True),
        dict(classes=2, label_dropout=1.0),
        dict(classes=1, pictures=2, label_dropout=0.0),
        dict(objective={"min-snr": {"gamma": 5.0}}, scheduler=dict(prediction_type="epsilon", rescale_betas_zero_snr=True)),
        dict(objective={"min-snr": {"gamma": 5.0}}, scheduler=dict(prediction_type="sample")),
        dict(average={"diffusers": {"power": 0.75, "max_decay": 0.9999}}),
        dict(unet=dict(out_channels=2)),  # it learns its variance
        dict(scheduler=dict(num_train_timesteps=1)),
    ):
        made = folder(**options)
        run(made, "--save-every", "2")
        whole(made)


def parts_of_a_batch_make_the_same_step():
    made = folder(steps=3, seed=5)
    results = []
    for accumulate in (1, 2, 8):
        change(made, accumulate=accumulate)
        run(made, "--out", str(made / f"by-{accumulate}"))
        net = DDPMPipeline.from_pretrained(made / f"by-{accumulate}").unet
        results.append(torch.cat([value.flatten() for value in net.state_dict().values()]))
    for other in results[1:]:
        assert (other - results[0]).abs().max() < 1e-4, (other - results[0]).abs().max()


def a_run_goes_on():
    made = folder(steps=4)
    refused(made, "--resume")
    refused(made, "--save-every", "0")
    run(made)
    refused(made)
    change(made, steps=6, optimiser=dict(learning_rate=5e-4, betas=[0.9, 0.999], weight_decay=0.0, epsilon=1e-8, warmup=2, clip=1.0))
    run(made, "--resume")
    whole(made, 6)
    run(made, "--resume")  # nothing is left to do
    whole(made, 6)
    # Killed between the two renames of a save, with half of another one beside it.
    state = made / "trained" / "state"
    state.rename(made / "trained" / "state.before")
    (made / "trained" / "state.partial").mkdir()
    refused(made)
    change(made, steps=7)
    run(made, "--resume")
    whole(made, 7)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for check in (timesteps_stay_in_the_table, weights_are_finite_at_zero_terminal_snr, runs_of_every_kind, parts_of_a_batch_make_the_same_step,
                  a_run_goes_on):
        check()
        print(f"{check.__name__}: right")
