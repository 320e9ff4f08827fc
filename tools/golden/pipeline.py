"""pipeline.json: whole runs of the checkpoints, from a seed to the last sample before it is clamped to an image."""

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.utils import logging

import fixture
from checkpoints import FOLDER


def case(name, checkpoint, sampler, steps, seed, batch=1, eta=None, labels=None, guidance_scale=None):
    """A list of seeds is a list of generators, one an image."""
    return dict(
        name=name,
        checkpoint=checkpoint,
        sampler=sampler,
        steps=steps,
        seed=seed,
        batch=batch,
        eta=eta,
        labels=labels,
        guidance_scale=guidance_scale,
    )


CASES = [
    case("a_ddpm", "layout-a", "DDPM", 10, seed=0),
    case("a_ddpm_batch", "layout-a", "DDPM", 10, seed=42, batch=3),
    case("a_ddpm_generators", "layout-a", "DDPM", 4, seed=[1, 2], batch=2),
    case("a_ddim", "layout-a", "DDIM", 8, seed=0, eta=0.0),
    case("a_ddim_eta_1", "layout-a", "DDIM", 8, seed=42, batch=3, eta=1.0),
    case("b_ddpm", "layout-b", "DDPM", 10, seed=7),
    case("b_ddpm_batch", "layout-b", "DDPM", 10, seed=2**32 + 5, batch=3),
    case("b_ddim", "layout-b", "DDIM", 8, seed=7, eta=0.0),
    case("b_ddim_eta_1", "layout-b", "DDIM", 8, seed=7, eta=1.0),
    case("f16_ddim", "f16-variant", "DDIM", 8, seed=0, eta=0.0),
    case("bf16_ddim", "bf16", "DDIM", 8, seed=0, eta=0.0),
    case("class_ddpm", "class-conditional", "DDPM", 10, seed=3, batch=3, labels=[0, 4, 5]),
    case("class_ddpm_guided", "class-conditional", "DDPM", 10, seed=3, batch=2, labels=[1, 3], guidance_scale=2.5),
    case("class_ddim_guided", "class-conditional", "DDIM", 8, seed=4, labels=[2], eta=0.0, guidance_scale=2.5),
]
NULL_LABEL = 5


def load(case: dict):
    """The network in f32 whatever the file's type, and the scheduler of the sampler's class."""
    folder = FOLDER / case["checkpoint"]
    flat = not (folder / "unet").exists()
    network = UNet2DModel.from_pretrained(
        folder if flat else folder / "unet",
        variant="fp16" if case["checkpoint"] == "f16-variant" else None,
    )
    assert network.dtype == torch.float32
    scheduler = {"DDPM": DDPMScheduler, "DDIM": DDIMScheduler}[case["sampler"]]
    return network, scheduler.from_pretrained(folder if flat else folder / "scheduler")


def generators(seed):
    if isinstance(seed, list):
        return [torch.Generator().manual_seed(one) for one in seed]
    return torch.Generator().manual_seed(seed)


def with_pipeline(case: dict) -> torch.Tensor:
    network, scheduler = load(case)
    pipeline = {"DDPM": DDPMPipeline, "DDIM": DDIMPipeline}[case["sampler"]](network, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    samples = []
    step = pipeline.scheduler.step

    def record(*args, **kwargs):
        result = step(*args, **kwargs)
        samples.append(result.prev_sample)
        return result

    pipeline.scheduler.step = record
    images = pipeline(
        batch_size=case["batch"],
        generator=generators(case["seed"]),
        num_inference_steps=case["steps"],
        output_type="pt",
        **({} if case["eta"] is None else dict(eta=case["eta"])),
    ).images
    assert len(samples) == case["steps"]
    assert torch.equal(images, (samples[-1] / 2 + 0.5).clamp(0, 1))
    return samples[-1]


def with_labels(case: dict) -> torch.Tensor:
    """The loop of the pipelines, which cannot pass labels. Guidance: null + scale * (label - null)."""
    network, scheduler = load(case)
    generator = generators(case["seed"])
    x = torch.randn([case["batch"], 3, 8, 8], generator=generator)
    labels = torch.tensor(case["labels"])
    scheduler.set_timesteps(case["steps"])
    for t in scheduler.timesteps:
        output = network(x, t, class_labels=labels).sample
        if case["guidance_scale"] is not None:
            null = network(x, t, class_labels=torch.full_like(labels, NULL_LABEL)).sample
            output = null + case["guidance_scale"] * (output - null)
        eta = {} if case["eta"] is None else dict(eta=case["eta"])
        x = scheduler.step(output, t, x, generator=generator, **eta).prev_sample
    return x


def run(case: dict) -> dict:
    with torch.no_grad():
        output = with_pipeline(case) if case["labels"] is None else with_labels(case)
    return dict(**case, output_shape=list(output.shape), output=output)


def make() -> None:
    logging.set_verbosity_error()
    fixture.write("pipeline.json", dict(cases=[run(case) for case in CASES]))
