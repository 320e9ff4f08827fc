"""pipelines.json: whole runs of checkpoints with every scheduler, from a seed to the last sample.

Each scheduler is made of the checkpoint's scheduler_config.json, as `from_pretrained` makes it, and of what a case adds.
"""

import importlib
import inspect

import torch
from diffusers import ConsistencyModelPipeline, UNet2DModel
from diffusers.pipelines.deprecated.score_sde_ve.pipeline_score_sde_ve import ScoreSdeVePipeline
from diffusers.utils import logging

import diffusers
import fixture
from checkpoints import FOLDER
from solvers import MODULES

CHECKPOINTS = {"layout-a": None, "layout-b": None, "class-conditional": 4}
SMALL = dict(final_sigmas_type="sigma_min")

# Each: class, steps, options of a run, what the config adds.
CASES = [
    ("DDPMScheduler", 8, {}, {}),
    ("DDIMScheduler", 8, {}, {}),
    ("DDIMScheduler", 8, dict(eta=0.7), {}),
    ("EulerDiscreteScheduler", 8, {}, {}),
    ("EulerAncestralDiscreteScheduler", 8, {}, {}),
    ("HeunDiscreteScheduler", 5, {}, {}),
    ("LMSDiscreteScheduler", 8, {}, {}),
    ("DPMSolverMultistepScheduler", 8, {}, {}),
    ("DPMSolverMultistepScheduler", 8, {}, dict(algorithm_type="sde-dpmsolver++")),
    ("DPMSolverMultistepScheduler", 8, {}, dict(algorithm_type="dpmsolver", **SMALL)),
    ("DPMSolverSinglestepScheduler", 8, {}, {}),
    ("UniPCMultistepScheduler", 8, {}, {}),
    ("DEISMultistepScheduler", 8, {}, {}),
    ("KDPM2DiscreteScheduler", 5, {}, {}),
    ("KDPM2AncestralDiscreteScheduler", 5, {}, {}),
    ("PNDMScheduler", 8, {}, dict(skip_prk_steps=True)),
    ("LCMScheduler", 4, {}, {}),
    ("TCDScheduler", 4, {}, {}),
    ("EDMEulerScheduler", 8, {}, {}),
    ("EDMDPMSolverMultistepScheduler", 8, {}, dict(algorithm_type="sde-dpmsolver++")),
    ("FlowMatchEulerDiscreteScheduler", 8, {}, {}),
    ("FlowMatchEulerDiscreteScheduler", 8, {}, dict(stochastic_sampling=True)),
    ("FlowMatchHeunDiscreteScheduler", 5, {}, {}),
    ("IPNDMScheduler", 8, {}, {}),
    ("CMStochasticIterativeScheduler", 4, {}, dict(num_train_timesteps=40)),
    ("SASolverScheduler", 8, {}, {}),
]


def network(checkpoint: str) -> UNet2DModel:
    folder = FOLDER / checkpoint
    return UNet2DModel.from_pretrained(folder / "unet" if (folder / "unet").exists() else folder)


def loop(checkpoint: str, class_name: str, steps: int, options: dict, config: dict, seed: int) -> torch.Tensor:
    folder, label = FOLDER / checkpoint, CHECKPOINTS[checkpoint]
    unet = network(checkpoint)
    module = importlib.import_module(MODULES.get(class_name) or getattr(diffusers, class_name).__module__)
    kept = folder / "scheduler" if (folder / "scheduler").exists() else folder
    scheduler = getattr(module, class_name).from_pretrained(kept, **config)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn([1, 3, 8, 8], generator=generator) * getattr(scheduler, "init_noise_sigma", 1.0)
    labels = None if label is None else torch.tensor([label])
    if "generator" in inspect.signature(scheduler.step).parameters:
        options = dict(generator=generator, **options)
    for t in scheduler.timesteps:
        given = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(unet(given, t, class_labels=labels).sample, t, x, **options).prev_sample
    return x


def with_pipeline(checkpoint: str, kind, step: str, result: str, batch: int, steps: int, **options) -> torch.Tensor:
    """A pipeline's own loop; what its scheduler's method `step` gave last."""
    pipeline = kind.from_pretrained(FOLDER / checkpoint)
    pipeline.set_progress_bar_config(disable=True)
    samples, method = [], getattr(pipeline.scheduler, step)

    def record(*args, **kwargs):
        found = method(*args, **kwargs)
        samples.append(getattr(found, result))
        return found

    setattr(pipeline.scheduler, step, record)
    generator = torch.Generator().manual_seed(5)
    pipeline(batch_size=batch, num_inference_steps=steps, generator=generator, output_type="np", **options)
    return samples[-1]


def make() -> None:
    logging.set_verbosity_error()
    cases = []

    def add(output, **case):
        cases.append(dict(output=(output * 1e5).round() / 1e5, **case))

    with torch.no_grad():
        for n, (class_name, steps, options, config) in enumerate(CASES):
            for checkpoint, label in CHECKPOINTS.items():
                output = loop(checkpoint, class_name, steps, options, config, n)
                labels = None if label is None else [label]
                case = dict(checkpoint=checkpoint, steps=steps, options=options, seed=n, batch=1, labels=labels)
                add(output, config=dict(_class_name=class_name, **config), **case)
        for steps, labels in [(1, [417, 3]), (2, [0, 999])]:
            output = with_pipeline(
                "consistency", ConsistencyModelPipeline, "step", "prev_sample", 2, steps, class_labels=labels
            )
            add(output, checkpoint="consistency", steps=steps, options={}, seed=5, batch=2, labels=labels, config={})
        for checkpoint in ["score-sde", "ncsnpp"]:
            for batch, options in [(1, {}), (2, dict(norms="batch"))]:
                output = with_pipeline(checkpoint, ScoreSdeVePipeline, "step_pred", "prev_sample_mean", batch, 6)
                add(output, checkpoint=checkpoint, steps=6, options=options, seed=5, batch=batch, labels=None, config={})
    fixture.write("pipelines.json", dict(cases=cases))
