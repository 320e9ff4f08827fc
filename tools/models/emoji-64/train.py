"""Trains emoji-64, a StableDiffusionPipeline that draws 64x64 emoji, in a given number of seconds.

    python train.py --sprites cache/sprites.safetensors --out cache/run --seconds 200

A fifth of the time goes to the autoencoder, nearly all of the rest to the UNet and the text encoder together, on latents
made once. On a GPU each kind of step is captured as one CUDA graph; where that fails, and on a CPU, steps run one by one.
"""

import argparse
import concurrent.futures
import copy
import json
import math
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import time

STARTED = time.monotonic()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

import judge  # noqa: E402
import pictures  # noqa: E402
import words  # noqa: E402

WIDTH = 160  # of the text encoder
STEPS = 1000
LATENT = (4, 16, 16)
SCHEDULER = dict(
    beta_schedule="squaredcos_cap_v2",
    prediction_type="v_prediction",
    clip_sample=False,
    set_alpha_to_one=True,
    steps_offset=1,  # no part in trailing steps, but the pipeline asks for it
    timestep_spacing="trailing",
)
SHOWN = """a red heart|a cat face|a yellow star on blue|a dog face|a panda|a robot|a rocket|a pizza
grinning face|crying face|a ghost|a skull|a unicorn|a fox|a penguin|an octopus
a blue heart on yellow|a green apple|a banana|a birthday cake|a hamburger|a rose|a cactus|a guitar
a lion on green|a rainbow on dark blue|fire on black|a butterfly on pink|a key|an umbrella|a soccer ball|a crown
a dog face with sunglasses|a cat face wearing a crown|a lion with glasses|a rabbit face wearing a top hat|a purple dog face|a green star|a pink rocket|a blue tulip
a cat face and a dog face|a red apple and a banana|a star next to a full moon|a dog face and a balloon|waving hand: dark skin tone|thumbs up: light skin tone|a woman|a police officer
a blue cat face|a pink banana|a purple frog|a green rocket|a teal pizza|a green grinning face|a red butterfly|a yellow octopus
a fox with sunglasses|a panda wearing a crown|a frog with a top hat|a cat face and a red heart|a pizza and a rocket|a panda on red|a rose on teal|a birthday cake on dark blue"""
SHOWN = SHOWN.replace("\n", "|").split("|")  # eight rows of eight; the last two rows are held out of training


def say(*what):
    print(f"{time.monotonic() - STARTED:7.1f} s", *what, flush=True)


# ---- the parts ----


def make_autoencoder():
    return AutoencoderTiny(
        encoder_block_out_channels=(64, 64, 64),
        decoder_block_out_channels=(64, 64, 64),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(2, 2, 1),
        latent_channels=LATENT[0],
    )


def make_unet():
    return UNet2DConditionModel(
        sample_size=LATENT[1],
        in_channels=LATENT[0],
        out_channels=LATENT[0],
        block_out_channels=(128, 128, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=32,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # in this class the number of heads: each is 32 wide
        use_linear_projection=True,
    )


def make_text_encoder(vocabulary):
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary.vocabulary),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=4,
            num_attention_heads=5,
            max_position_embeddings=words.LENGTH,
            bos_token_id=vocabulary.start,
            eos_token_id=vocabulary.end,
            pad_token_id=vocabulary.end,
            hidden_act="quick_gelu",
        )
    )


def read_text(encoder, ids):
    """What CLIPTextModel's last_hidden_state is, without its reading of masks, which a CUDA graph cannot hold."""
    encoder = getattr(encoder, "text_model", encoder)
    positions = encoder.embeddings.position_embedding.weight
    rows = encoder.embeddings.token_embedding.weight.index_select(0, ids.flatten())  # its gradient needs no sorting
    x = rows.view(*ids.shape, -1) + positions[: ids.shape[1]]
    for layer in encoder.encoder.layers:
        attention = layer.self_attn
        y = layer.layer_norm1(x)
        q, k, v = (
            project(y).view(*y.shape[:2], attention.num_heads, -1).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + attention.out_proj(y.transpose(1, 2).reshape(x.shape))
        y = layer.mlp.fc1(layer.layer_norm2(x))
        x = x + layer.mlp.fc2(y * torch.sigmoid(1.702 * y))
    return encoder.final_layer_norm(x)


# ---- steps ----


class Trainer:
    """Repeats `loss()` → AdamW on parameters; the whole step is one CUDA graph where that works."""

    def __init__(self, name, modules, loss, device, rate, eager, decay=0.01, average=0.998):
        self.name, self.loss, self.device, self.peak = name, loss, device, rate
        self.counted = 0
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.modules = modules
        self.averages = [p.detach().clone() for p in self.parameters]
        self.keep = average
        self.captured = device.type == "cuda" and not eager
        self.rate = torch.tensor(0.0, device=device)
        self.sum = torch.zeros((), device=device)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.rate if self.captured else 0.0,
            betas=(0.9, 0.99),
            weight_decay=decay,
            **(dict(fused=True, capturable=True) if self.captured else {}),
        )
        self.graph = None
        if self.captured:
            self.capture()
            say(name, "runs as a CUDA graph")

    def step(self):
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self.loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        self.sum.add_(loss.detach())
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, 1 - self.keep)

    def capture(self):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):  # at a rate of 0: they choose kernels and make the optimizer's state
                self.optimizer.zero_grad(set_to_none=True)
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        self.sum.zero_()
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        self.graph = graph

    def set_rate(self, progress):
        warm = min(1.0, progress / 0.03)
        rate = self.peak * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress))) + 1e-6
        self.rate.fill_(rate)
        if not self.captured:
            for group in self.optimizer.param_groups:
                group["lr"] = rate

    def restart_average(self):
        with torch.no_grad():
            torch._foreach_copy_(self.averages, self.parameters)

    def averaged(self):
        """Copies of the modules that hold the averaged weights, float32."""
        copies = [copy.deepcopy(module) for module in self.modules]
        targets = [p for module in copies for p in module.parameters() if p.requires_grad]
        with torch.no_grad():
            for target, average in zip(targets, self.averages):
                target.copy_(average)
        return [module.eval() for module in copies]

    def run(self, until, prepare=None, marks=()):
        """Steps until the clock says `until`; marks = [(progress, function)] are called once each as they pass."""
        begin = time.monotonic()
        marks = sorted([(0.05, self.restart_average), (0.15, self.restart_average), *marks], key=lambda mark: mark[0])
        steps, told, chunk = 0, 0.0, 8 if self.device.type == "cuda" else 1
        while (now := time.monotonic()) < until:
            progress = (now - begin) / (until - begin)
            while marks and progress >= marks[0][0]:
                marks.pop(0)[1]()
            self.set_rate(progress)
            for _ in range(chunk):
                if prepare is not None:
                    prepare()
                if self.graph is not None:
                    self.graph.replay()
                else:
                    self.optimizer.zero_grad(set_to_none=True)
                    self.step()
            steps += chunk
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            if progress >= told:
                mean = self.sum.item() / (steps - self.counted)
                say(f"{self.name}: {steps} steps, loss {mean:.4f}, {(time.monotonic() - begin) / steps * 1e3:.1f} ms a step")
                self.sum.zero_()
                self.counted = steps
                told += 0.1
        say(f"{self.name}: {steps} steps in {time.monotonic() - begin:.1f} s")


class Autoencoder(Trainer):
    def __init__(self, device, batch, rate, eager):
        model = make_autoencoder().to(device, memory_format=torch.channels_last)
        self.pixels = torch.zeros(batch, 3, pictures.SIZE, pictures.SIZE, device=device)

        def loss():
            x = self.pixels.contiguous(memory_format=torch.channels_last)
            z = model.encoder(x)
            spread = z.float().std((0, 2, 3))
            noise = 0.05 * spread.detach().view(1, -1, 1, 1) * torch.randn_like(z)
            y = model.decoder(z + noise).float()
            difference = y - x
            across = difference[..., 1:] - difference[..., :-1]
            down = difference[..., 1:, :] - difference[..., :-1, :]
            fit = difference.abs().mean() + (difference**2).mean() + 0.5 * (across.abs().mean() + down.abs().mean())
            return fit + 0.02 * ((spread - 1) ** 2).mean() + 0.02 * (z.float().mean((0, 2, 3)) ** 2).mean()

        super().__init__("autoencoder", [model], loss, device, rate, eager, average=0.995)

    def train(self, kitchen, columns, count, until):
        batch = len(self.pixels)
        block, place = min(count, 32 * batch) // batch * batch, 0
        made = None

        def prepare():
            nonlocal made, place
            if made is None or place == block:
                made, place = kitchen.compose(columns, torch.randint(0, count, (block,), device=self.device)), 0
            self.pixels.copy_(made[place : place + batch])
            place += batch

        self.run(until, prepare)
        return self.averaged()[0]


@torch.no_grad()
def encode(model, kitchen, columns, latents, device, chunk):
    """Fills in every recipe's latents, of unit variance, and returns the factor that this took."""
    count = len(latents)
    error = []
    for begin in range(0, count, chunk):
        rows = torch.arange(begin, min(count, begin + chunk), device=device)
        x = kitchen.compose(columns, rows)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            z = model.encoder(x.contiguous(memory_format=torch.channels_last))
            if begin < 2 * chunk:
                error.append(((model.decoder(z).float().clamp(-1, 1) - x) ** 2).mean() / 4)
        latents[rows] = z.to(latents.dtype)
    sample = latents[: 20 * chunk].float()
    factor = 1 / sample.std().item()
    say(f"latents: factor {factor:.4f}, channels' means {sample.mean((0, 2, 3)).tolist()}, deviations {sample.std((0, 2, 3)).tolist()}")
    say(f"autoencoder: {-10 * math.log10(torch.stack(error).mean().item()):.2f} dB")
    latents *= factor
    return factor


class Denoiser(Trainer):
    def __init__(self, latents, ids, vocabulary, device, batch, rate, eager):
        unet = make_unet().to(device, memory_format=torch.channels_last).train()
        text = make_text_encoder(vocabulary).to(device).train()
        alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod.to(device).float()
        signal, noise_level = alphas.sqrt(), (1 - alphas).sqrt()
        nothing = torch.tensor(vocabulary.encode(""), device=device)
        count = len(latents)

        def loss():
            rows = torch.randint(0, count, (batch,), device=device)
            z = latents[rows].float()
            dropped = torch.rand(batch, 1, device=device) < 0.1
            caption = torch.where(dropped, nothing, ids[rows].long())
            t = torch.randint(0, STEPS, (batch,), device=device)
            a, s = signal[t].view(-1, 1, 1, 1), noise_level[t].view(-1, 1, 1, 1)
            noise = torch.randn_like(z)
            x = (a * z + s * noise).contiguous(memory_format=torch.channels_last)
            out = unet(x, t, read_text(text, caption), return_dict=False)[0]
            return F.mse_loss(out.float(), a * noise - s * z)

        super().__init__("denoiser", [unet, text], loss, device, rate, eager)


# ---- what is kept ----


def save(folder, autoencoder, factor, unet, text, vocabulary):
    """A diffusers folder with float16 weights."""
    folder = pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    parts = dict(vae=autoencoder, unet=unet, text_encoder=text)
    for name, module in parts.items():
        module = copy.deepcopy(module).to("cpu", torch.float16, memory_format=torch.contiguous_format)
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()
        if name == "vae":
            module.register_to_config(scaling_factor=factor)
        module.save_pretrained(folder / name, safe_serialization=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    vocabulary.save(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


@torch.no_grad()
def sample(autoencoder, factor, unet, text, vocabulary, captions, device, guidance, steps, seed=0):
    scheduler = DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(steps)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        ids = torch.tensor([vocabulary.encode(caption) for caption in [*[""] * len(captions), *captions]], device=device)
        states = read_text(text, ids)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(len(captions), *LATENT, generator=generator).to(device)
        for t in scheduler.timesteps:
            out = unet(torch.cat([x, x]), t.to(device), states, return_dict=False)[0].float()
            without, given = out.chunk(2)
            x = scheduler.step(without + guidance * (given - without), t, x).prev_sample
        y = autoencoder.decoder(x / factor)
    return ((y.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def sheet(path, pixels, columns=8, scale=2):
    pixels = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=200).repeat(scale, 1).repeat(scale, 2)
    rows = [np.concatenate(pixels[row : row + columns], 1) for row in range(0, len(pixels), columns)]
    Image.fromarray(np.concatenate(rows, 0)).save(path)


def cook(seed, count):
    recipes = pictures.Cook(cook.emoji, seed).make(count)
    recipes.captions = []  # the ids are enough, and travel faster
    return recipes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sprites", default="cache/sprites.safetensors")
    parser.add_argument("--out", default="cache/run", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--recipes", type=int, default=640_000)
    parser.add_argument("--batch", type=int, default=320)
    parser.add_argument("--autoencoder-batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--autoencoder-rate", type=float, default=1e-3)
    parser.add_argument("--eager", action="store_true", help="no CUDA graphs")
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--shown", type=int, default=64)
    parser.add_argument("--score", type=float, default=14, help="of the seconds, those kept for the judge; 0 for none")
    parser.add_argument("--judged", type=int, default=256, help="pictures drawn of each kind of caption for the judge")
    parser.add_argument("--after-save", help="a command run when a folder has been saved; {} is its stage, half or end")
    args = parser.parse_args()
    deadline = STARTED + args.seconds
    args.out.mkdir(parents=True, exist_ok=True)

    emoji = cook.emoji = pictures.Emoji(args.sprites)
    vocabulary = emoji.words
    say(f"{len(emoji.about)} sprites, {len(vocabulary.vocabulary)} tokens")
    # The cooks are forked here, before anything touches the GPU, and find the sprites in place.
    pool = concurrent.futures.ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("fork"))
    cooked = [pool.submit(cook, 1000 + seed, args.recipes // 64) for seed in range(64)]

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
        say(torch.cuda.get_device_name(), torch.__version__)

    # Both trainers are built before either is used: a graph that cannot be captured is found out at once.
    count = args.recipes // 64 * 64
    latents = torch.zeros(count, *LATENT, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32, device=device)
    ids = torch.zeros(count, words.LENGTH, dtype=torch.int16, device=device)
    try:
        denoiser = Denoiser(latents, ids, vocabulary, device, args.batch, args.rate, args.eager)
        autoencoder = Autoencoder(device, args.autoencoder_batch, args.autoencoder_rate, args.eager)
    except Exception as error:
        if args.eager or device.type != "cuda":
            raise
        # After a failed capture the generator's state is not to be trusted, so all begins again, step by step.
        say("no CUDA graph here, starting again without:", repr(error)[:3000])
        pool.shutdown(wait=False, cancel_futures=True)
        left = deadline - time.monotonic()
        os.execv(sys.executable, [sys.executable, "-u", *sys.argv, "--eager", "--seconds", f"{left:.0f}"])

    kitchen = pictures.Kitchen(emoji, device)
    first = pictures.Recipes.join([done.result() for done in cooked[:8]])
    until = time.monotonic() + 0.2 * args.seconds
    autoencoder = autoencoder.train(kitchen, kitchen.upload(first), len(first.ids), until)
    recipes = pictures.Recipes.join([done.result() for done in cooked])
    pool.shutdown()
    columns = kitchen.upload(recipes)
    ids.copy_(columns["ids"])
    factor = encode(autoencoder, kitchen, columns, latents, device, args.chunk)
    say("encoded")

    def keep(stage, unet, text):
        save(args.out / "model", autoencoder, factor, unet, text, vocabulary)
        say("saved", stage)
        if args.after_save:
            subprocess.run(args.after_save.replace("{}", stage), shell=True, check=False)

    def halfway(unet, text):
        try:
            keep("half", unet, text)
        except Exception as error:
            say("the half-way copy failed:", repr(error))

    reserve = min(11.0, 0.12 * args.seconds) + args.score
    denoiser.run(deadline - reserve, marks=[(0.5, lambda: halfway(*denoiser.averaged()))])
    unet, text = denoiser.averaged()
    for name, module in dict(autoencoder=autoencoder, unet=unet, text=text).items():
        say(f"{name}: {sum(p.numel() for p in module.parameters()) / 1e6:.3f} M parameters")
    keep("end", unet, text)
    captions = SHOWN[: args.shown]
    for guidance, steps in ((4.0, 25), (4.0, 8), (2.0, 25)):
        if time.monotonic() > deadline - args.score - 1:
            break
        shown = sample(autoencoder, factor, unet, text, vocabulary, captions, device, guidance, steps)
        sheet(args.out / f"shown-g{guidance:g}-s{steps}.png", shown)

    def draw(captions, guidance=3.0):
        parts = [captions[i : i + 128] for i in range(0, len(captions), 128)]
        return np.concatenate(
            [sample(autoencoder, factor, unet, text, vocabulary, part, device, guidance, 16, seed) for seed, part in enumerate(parts)]
        )

    left = deadline - time.monotonic()
    if args.score and left > 4:
        try:
            table = judge.score(kitchen, emoji, columns, draw, device, 0.6 * left, count=args.judged)
            (args.out / "score.json").write_text(json.dumps(table, indent=2) + "\n")
            for kind, figures in table.items():
                say(f"{kind}: {figures}")
        except Exception as error:  # the model is there already
            say("the judge failed:", repr(error))
    say("done")


if __name__ == "__main__":
    main()
