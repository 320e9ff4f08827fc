"""text_pipelines.json: whole pipelines of several networks, from a prompt and a seed to latents and the picture before it is clamped.

The networks are tiny and their weights are streams: `tensors` lists a part's names and shapes, and the value of NAME is that of the
stream `PART.NAME`. Each pipeline is saved and opened again by diffusers before it is run. Beside the ends a case has what lies between:
the random draws in order, what encoder and U-Net are given first, and what guidance makes of what the U-Net returns.
"""

import functools
import hashlib
import json
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelImg2ImgPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from PIL import Image
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import fixture
import stream
from tokens import EMOJI_64

SD = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
OFFSET = dict(steps_offset=1, set_alpha_to_one=False)


def filled(part: str, model: torch.nn.Module) -> torch.nn.Module:
    state = model.state_dict()
    model.load_state_dict({key: stream.parameter(f"{part}.{key}", value.shape) for key, value in state.items()})
    return model.eval()


def unet(**config) -> UNet2DConditionModel:
    defaults = dict(
        sample_size=4,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=24,
        attention_head_dim=2,
    )
    return filled("unet", UNet2DConditionModel(**{**defaults, **config}))


def unet_2(**config) -> UNet2DConditionModel:
    return unet(use_linear_projection=True, **{"attention_head_dim": (2, 4), **config})


def unet_xl(**config) -> UNet2DConditionModel:
    config = dict(
        sample_size=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=56,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
        **config,
    )
    return filled("unet", UNet2DConditionModel(**config))


def kl(**config) -> AutoencoderKL:
    config = dict(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=8,
        **config,
    )
    return filled("vae", AutoencoderKL(**config))


def tiny() -> AutoencoderTiny:
    widths = dict(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8))
    return filled("vae", AutoencoderTiny(**widths, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)))


def vq() -> VQModel:
    config = dict(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        num_vq_embeddings=8,
        sample_size=8,
    )
    return filled("vqvae", VQModel(**config))


def clip(part="text_encoder", width=24, kind=CLIPTextModel, **config) -> torch.nn.Module:
    config = dict(
        vocab_size=2560,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=2558,
        eos_token_id=2559,
        pad_token_id=2559,
        **config,
    )
    return filled(part, kind(CLIPTextConfig(**config)))


def tokenizer(**config) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(EMOJI_64, **config)


def sd(kind, scheduler, network=None, vae=None, text=None, words=None):
    return kind(
        unet=network or unet(),
        vae=vae or kl(),
        text_encoder=text or clip(),
        tokenizer=words or tokenizer(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd_2(scheduler):
    text = clip(hidden_act="gelu")
    return sd(StableDiffusionPipeline, scheduler, unet_2(), text=text, words=tokenizer(pad_token="!"))


def xl(scheduler, zeros=True, kind=StableDiffusionXLPipeline, network=None):
    second = clip("text_encoder_2", 32, CLIPTextModelWithProjection, hidden_act="gelu", projection_dim=20)
    return kind(
        unet=network or unet_xl(),
        vae=kl(),
        text_encoder=clip(),
        text_encoder_2=second,
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(pad_token="!"),
        scheduler=scheduler,
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )


def dit():
    config = dict(num_attention_heads=2, attention_head_dim=8, num_layers=2, sample_size=4, in_channels=4, out_channels=8)
    # The label of no class is 1000 whatever this says, so it cannot be less.
    network = DiTTransformer2DModel(**config, num_embeds_ada_norm=1000, activation_fn="gelu-approximate", norm_type="ada_norm_zero")
    return DiTPipeline(transformer=filled("transformer", network), vae=kl(), scheduler=DDIMScheduler(clip_sample=False))


def ldm(vae):
    network = UNet2DModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=8,
    )
    scheduler = DDIMScheduler(**{**SD, "beta_start": 0.0015, "beta_end": 0.0195}, clip_sample=False)
    return LDMPipeline(vqvae=vae, unet=filled("unet", network), scheduler=scheduler)


def image(key: str, *shape: int) -> torch.Tensor:
    """A picture in [0, 1]."""
    return stream.tensor(f"image:{key}", shape, 0.5) + 0.5


def border(height: int, width: int) -> torch.Tensor:
    """A mask with values just below 0.5 and at it."""
    mask = torch.zeros(1, 1, height, width)
    mask[..., width // 2 :] = 1
    mask[..., 0, :] = 0.49
    mask[..., -1, :] = 0.5
    return mask


def picture(key: str, height: int, width: int) -> Image.Image:
    values = np.round(255 * image(key, height, width, 3).numpy().astype(np.float64)).astype(np.uint8)
    return Image.fromarray(values)


TEXT = StableDiffusionPipeline
TO_IMAGE = StableDiffusionImg2ImgPipeline
INPAINT = StableDiffusionInpaintPipeline
CAT = "a cat face"


def cases():
    """Name, pipeline, arguments of the call, seed or seeds."""
    pndm = lambda: PNDMScheduler(**SD, **OFFSET, skip_prk_steps=True)
    ddim = lambda **more: DDIMScheduler(**SD, **OFFSET, clip_sample=False, **more)
    euler = lambda **more: EulerDiscreteScheduler(**SD, steps_offset=1, **more)
    yield "sd1", sd(TEXT, pndm()), dict(prompt=CAT, num_inference_steps=4), 0
    yield "sd1_negative", sd(TEXT, ddim()), dict(prompt="a red heart", negative_prompt="blurry!", guidance_scale=4.0, num_inference_steps=3), 1
    several = dict(prompt=[CAT, "a yellow star on blue"], negative_prompt=["a dog", ""], num_images_per_prompt=2)
    yield "sd1_several", sd(TEXT, ddim()), dict(**several, num_inference_steps=2), 2
    yield "sd1_several_seeds", sd(TEXT, ddim()), dict(prompt=[CAT, "a fox"], num_inference_steps=3, eta=0.5), [5, 6]
    yield "sd1_unguided", sd(TEXT, ddim()), dict(prompt=CAT, negative_prompt="ignored", guidance_scale=1.0, num_inference_steps=3), 3
    yield "sd1_rescaled", sd(TEXT, ddim()), dict(prompt=CAT, guidance_rescale=0.7, num_inference_steps=3), 4
    yield "sd1_wide", sd(TEXT, ddim()), dict(prompt=CAT, height=16, width=8, num_inference_steps=2), 5
    yield "sd1_ancestral", sd(TEXT, EulerAncestralDiscreteScheduler(**SD, steps_offset=1)), dict(prompt=CAT, num_inference_steps=3), 6
    yield "sd1_dpm", sd(TEXT, DPMSolverMultistepScheduler(**SD)), dict(prompt="a cat " * 30, num_inference_steps=4), 7
    yield "sd1_offset_set", sd(TEXT, DDIMScheduler(**SD)), dict(prompt=CAT, num_inference_steps=3), 8
    yield "sd1_fused_lcm", sd(TEXT, LCMScheduler(**SD)), dict(prompt=CAT, guidance_scale=1.5, num_inference_steps=3), 9
    yield "turbo", sd(TEXT, euler(timestep_spacing="trailing"), unet_2(), tiny()), dict(prompt=CAT, guidance_scale=0.0, num_inference_steps=1), 10
    yield "tiny", sd(TEXT, ddim(), unet(mid_block_type=None)), dict(prompt=CAT, num_inference_steps=2), 11
    yield "sd2", sd_2(pndm()), dict(prompt="wow! a cat", num_inference_steps=3), 12
    yield "sd2_v", sd_2(ddim(prediction_type="v_prediction")), dict(prompt=CAT, num_inference_steps=3), 13
    yield "lcm", sd(LatentConsistencyModelPipeline, LCMScheduler(**SD), unet(time_cond_proj_dim=16)), dict(prompt=CAT, num_inference_steps=4), 14
    yield "xl", xl(euler()), dict(prompt=CAT, num_inference_steps=3), 15
    yield "xl_negative", xl(euler()), dict(prompt=CAT, prompt_2="a fox", negative_prompt="a dog", height=8, width=16, num_inference_steps=2), 16
    yield "xl_encoded_empty", xl(ddim(), False), dict(prompt=CAT, guidance_scale=3.0, num_inference_steps=2), 17
    init = image("init", 1, 3, 8, 8)
    yield "to_image", sd(TO_IMAGE, pndm()), dict(prompt=CAT, image=init, strength=0.6, num_inference_steps=5), 18
    yield "to_image_ddim", sd(TO_IMAGE, ddim()), dict(prompt=CAT, image=init, strength=0.58, num_inference_steps=5, num_images_per_prompt=2), 19
    yield "to_image_tiny", sd(TO_IMAGE, euler(), vae=tiny()), dict(prompt=CAT, image=init, num_inference_steps=4), 20
    yield "to_image_resized", sd(TO_IMAGE, ddim()), dict(prompt=CAT, image=picture("wide", 11, 21), strength=0.5, num_inference_steps=4), 21
    mask = dict(mask_image=border(8, 8), num_inference_steps=3)
    yield "inpaint", sd(INPAINT, pndm(), unet(in_channels=9)), dict(prompt=CAT, image=init, **mask), 22
    yield "inpaint_weak", sd(INPAINT, ddim(), unet(in_channels=9)), dict(prompt=CAT, image=init, strength=0.7, **mask), 23
    yield "inpaint_four", sd(INPAINT, ddim()), dict(prompt=CAT, image=init, **mask), 24
    yield "inpaint_four_weak", sd(INPAINT, euler()), dict(prompt=CAT, image=init, strength=0.7, **mask), 25
    to_image, inpaint = StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline
    yield "xl_to_image", xl(euler(), kind=to_image), dict(prompt=CAT, image=init, strength=0.5, num_inference_steps=4), 30
    yield "xl_inpaint_four", xl(ddim(), kind=inpaint), dict(prompt=CAT, image=init, strength=0.7, **mask), 31
    yield "xl_inpaint", xl(euler(), kind=inpaint, network=unet_xl(in_channels=9)), dict(prompt=CAT, image=init, strength=1.0, **mask), 32
    lcm = sd(LatentConsistencyModelImg2ImgPipeline, LCMScheduler(**SD), unet(time_cond_proj_dim=16))
    yield "lcm_to_image", lcm, dict(prompt=CAT, image=init, strength=0.6, num_inference_steps=3), 33
    yield "dit", dit(), dict(class_labels=[207, 7], num_inference_steps=3), 26
    yield "dit_unguided", dit(), dict(class_labels=[1], guidance_scale=1.0, num_inference_steps=2), 27
    yield "ldm_vq", ldm(vq()), dict(batch_size=1, num_inference_steps=3), 71
    yield "ldm_kl", ldm(kl()), dict(batch_size=2, num_inference_steps=3), 29


class Recording:
    """What a pipeline does, seen from its parts and from torch.randn."""

    def __init__(self, pipeline):
        self.found = dict(draws=[], encoded=[], evaluations=[], outputs=[], decoded=[], stepped=[], text=[])
        self.pipeline = pipeline
        network = getattr(pipeline, "unet", None) or pipeline.transformer
        vae = getattr(pipeline, "vae", None) or pipeline.vqvae
        self.wrap(torch, "randn", lambda args, kwargs, out: self.found["draws"].append(out.clone()))
        self.wrap(vae, "encode", lambda args, kwargs, out: self.found["encoded"].append((args[0], self.code(out))))
        self.wrap(vae, "decode", lambda args, kwargs, out: self.found["decoded"].append((args[0], out[0])))
        self.wrap(network, "forward", lambda args, kwargs, out: self.found["evaluations"].append((args, kwargs, out[0])))
        self.wrap(pipeline.scheduler, "step", lambda args, kwargs, out: self.found["stepped"].append((args[0].clone(), args[1])))

    @staticmethod
    def code(out):
        return out.latent_dist.parameters if hasattr(out, "latent_dist") else out.latents

    def wrap(self, owner, name, record):
        method = getattr(owner, name)

        # Pipelines look at a step's signature for what it takes: `eta`, `generator`.
        @functools.wraps(method)
        def recorded(*args, **kwargs):
            out = method(*args, **kwargs)
            record(args, kwargs, out)
            return out

        setattr(owner, name, recorded)


def generators(seed):
    if isinstance(seed, list):
        return [torch.Generator().manual_seed(one) for one in seed]
    return torch.Generator().manual_seed(seed)


def rounded(values: torch.Tensor) -> dict:
    return dict(shape=list(values.shape), values=(values.double() * 1e6).round() / 1e6)


def json_of(path: Path) -> dict:
    """Infinity is a word, as JSON has no number for it."""
    return {key: value for key, value in json.loads(path.read_text(), parse_constant=str).items() if key not in ("_name_or_path", "transformers_version")}


def part_of(folder: Path) -> dict:
    """A network's config, and the names and shapes of its tensors."""
    file = next(folder.glob("*.safetensors"))
    with safe_open(file, "pt") as tensors:
        shapes = {key: list(tensors.get_slice(key).get_shape()) for key in tensors.keys()}
    return dict(config=json_of(folder / "config.json"), tensors=shapes)


def argument(value):
    """An argument as the fixture names it: pictures by their stream."""
    if isinstance(value, torch.Tensor):
        return dict(shape=list(value.shape), values=(value.double() * 1e6).round() / 1e6)
    if isinstance(value, Image.Image):
        return dict(picture=[value.height, value.width], bytes=list(value.tobytes()))
    return value


def run(name, pipeline, arguments, seed, parts: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save_pretrained(folder)
        kept = {}
        for directory in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
            if (directory / "config.json").exists():
                part = part_of(directory)
                digest = hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:6]
                kept[directory.name] = f"{directory.name}-{digest}"
                parts[kept[directory.name]] = part
        index = json_of(Path(folder) / "model_index.json")
        scheduler = json_of(Path(folder) / "scheduler" / "scheduler_config.json")
        pads = {part: getattr(pipeline, part).pad_token for part in ("tokenizer", "tokenizer_2") if getattr(pipeline, part, None)}
        # It is asked for by its class, as the configs call themselves what they are.
        pipeline = type(pipeline).from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    recording = Recording(pipeline)
    randn = torch.randn
    with torch.no_grad():
        try:
            pipeline(**arguments, generator=generators(seed), output_type="np")
        finally:
            torch.randn = randn
    found = recording.found
    args, kwargs, first = found["evaluations"][0]
    between = dict(
        timesteps=[float(t) for t in pipeline.scheduler.timesteps],
        stepped_timesteps=[float(t) for _, t in found["stepped"]],
        draws=[dict(shape=list(draw.shape), first=draw.flatten()[:4]) for draw in found["draws"]],
        evaluations=len(found["evaluations"]),
        input=rounded(args[0] if args else kwargs["hidden_states"]),
        output=rounded(first),
        guided=rounded(found["stepped"][0][0]),
        encoded=[dict(image=rounded(image), code=rounded(code)) for image, code in found["encoded"]],
    )
    cond = kwargs.get("timestep_cond")
    if cond is not None:
        between["timestep_cond"] = rounded(cond)
    added = kwargs.get("added_cond_kwargs")
    if added:
        between["time_ids"] = rounded(added["time_ids"])
        between["pooled"] = rounded(added["text_embeds"])
    if kwargs.get("encoder_hidden_states") is not None:
        # Of each sequence the first and the last position.
        between["text"] = rounded(kwargs["encoder_hidden_states"][:, [0, -1]])
    if kwargs.get("class_labels") is not None:
        between["labels"] = kwargs["class_labels"].tolist()
    latents, pictures = found["decoded"][-1]
    assert pictures.abs().max() < 100 and latents.isfinite().all(), name
    if isinstance(getattr(pipeline, "vqvae", None), VQModel):
        check_margin(pipeline.vqvae, latents)
    return dict(
        name=name,
        seed=seed,
        arguments={key: argument(value) for key, value in arguments.items()},
        model_index=index,
        scheduler=scheduler,
        parts=kept,
        pads=pads,
        between=between,
        latents=rounded(latents),
        picture=rounded(pictures),
    )


def check_margin(model: VQModel, latents: torch.Tensor) -> None:
    """No pixel is so near to two codes that rounding decides."""
    rows = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    nearest = torch.cdist(rows, model.quantize.embedding.weight).sort(dim=1).values
    margin = ((nearest[:, 1] - nearest[:, 0]) / rows.norm(dim=1)).min()
    assert margin > 1e-3, margin


def make() -> None:
    diffusers.utils.logging.set_verbosity_error()
    parts = {}
    found = [run(*case, parts) for case in cases()]
    fixture.write("text_pipelines.json", dict(parts=parts, cases=found))
