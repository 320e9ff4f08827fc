"""What the trainings in these folders share: the diffusion process, the training loop, DDIM, folders, scores, pictures."""

import copy
import json
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from unet import UNet

STEPS = 1000  # of the diffusion process
SCHEDULER = {
    "_class_name": "DDPMScheduler", "_diffusers_version": "0.42.1", "beta_end": 0.02,
    "beta_schedule": "squaredcos_cap_v2", "beta_start": 0.0001, "clip_sample": True, "clip_sample_range": 1.0,
    "dynamic_thresholding_ratio": 0.995, "num_train_timesteps": STEPS, "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": False, "sample_max_value": 1.0, "steps_offset": 0, "thresholding": False,
    "timestep_spacing": "trailing", "trained_betas": None, "variance_type": "fixed_small",
}
INDEX = {
    "_class_name": "DDPMPipeline", "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"],
}


def kept_signal():
    """alpha-bar f32 [1000] of the cosine schedule (Nichol and Dhariwal 2021), each beta at most 0.999."""

    def level(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - level((i + 1) / STEPS) / level(i / STEPS), 0.999) for i in range(STEPS)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float32), 0)


class Run:
    """Weights, averaged weights and AdamW's two moments, each in one flat f32 vector, and the step that moves them.

    The network that is differentiated is a copy in `dtype`; the step uses no number that lives on the host, so that on a
    GPU it can be captured once and replayed. `draw(batch)` gives images f32 in [-1, 1] and labels i64, on the device.
    """

    def __init__(self, unet, draw, batch, *, dtype, channels_last, label_dropout, betas=(0.9, 0.99), decay=0.01):
        device = next(unet.parameters()).device
        self.draw, self.batch, self.betas, self.decay, self.label_dropout = draw, batch, betas, decay, label_dropout
        self.dtype = dtype
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.unet = unet
        self.flat = torch.cat([self.flatten(p.detach()) for p in unet.parameters()])
        self.averaged, self.first, self.second = self.flat.clone(), *torch.zeros(2, self.flat.numel(), device=device)
        self.fast = copy.deepcopy(unet).to(dtype)
        self.fast_flat = self.flat.to(dtype)
        for p, view in zip(self.fast.parameters(), self.views(self.fast_flat)):
            p.data = view
        kept = kept_signal().to(device)
        self.signal, self.noise = kept.sqrt(), (1 - kept).sqrt()
        self.slices = torch.arange(batch, device=device)
        self.rate, self.weight = torch.zeros((), device=device), torch.zeros((), device=device)
        self.losses = torch.zeros((), device=device)  # the sum since it was last read
        self.graph = None

    def flatten(self, value):
        """The values in the order in which the fast network stores them."""
        if value.dim() == 4 and self.layout == torch.channels_last:
            value = value.permute(0, 2, 3, 1)
        return value.reshape(-1)

    def views(self, flat):
        """The flat vector as a list of tensors, one a parameter."""
        parts = flat.split([p.numel() for p in self.unet.parameters()])
        shaped = []
        for part, p in zip(parts, self.unet.parameters()):
            if p.dim() == 4 and self.layout == torch.channels_last:
                o, i, h, w = p.shape
                shaped.append(part.view(o, h, w, i).permute(0, 3, 1, 2))
            else:
                shaped.append(part.view(p.shape))
        return shaped

    @torch.no_grad()
    def weights(self, flat):
        """The eager f32 network with these weights."""
        for p, view in zip(self.unet.parameters(), self.views(flat)):
            p.copy_(view)
        return self.unet

    def loss(self):
        """Mean squared error of v; one timestep from each of `batch` equal slices of 0..999."""
        images, labels = self.draw(self.batch)
        device = images.device
        t = ((self.slices + torch.rand(self.batch, device=device)) * (STEPS / self.batch)).long().clamp(max=STEPS - 1)
        signal, sigma = self.signal[t][:, None, None, None], self.noise[t][:, None, None, None]
        noise = torch.randn_like(images)
        null = self.unet.config["num_class_embeds"] - 1
        labels = torch.where(torch.rand(self.batch, device=device) < self.label_dropout, null, labels)
        noisy = (signal * images + sigma * noise).to(self.dtype).contiguous(memory_format=self.layout)
        return F.mse_loss(self.fast(noisy, t, labels).float(), signal * noise - sigma * images)

    def step(self):
        loss = self.loss()
        gradients = torch.autograd.grad(loss, list(self.fast.parameters()))
        with torch.no_grad():
            gradient = torch.cat([self.flatten(g) for g in gradients]).float()
            gradient.mul_((1 / (gradient.norm() + 1e-6)).clamp(max=1))  # norm clipped at 1
            self.first.lerp_(gradient, 1 - self.betas[0])
            self.second.mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
            # AdamW; `rate` holds the bias correction too.
            self.flat.mul_(1 - self.rate * self.decay).sub_(self.rate * self.first / (self.second.sqrt() + 1e-8))
            self.averaged.lerp_(self.flat, self.weight)
            self.fast_flat.copy_(self.flat)
            self.losses.add_(loss.detach())

    def set(self, step, rate, average):
        """Learning rate and decay of the average for step 1, 2, ...; fill_ carries them in the launch: no wait, no race."""
        correction = math.sqrt(1 - self.betas[1] ** step) / (1 - self.betas[0] ** step)
        self.rate.fill_(rate * correction)
        self.weight.fill_(1 - min(average, step / (step + 9)))

    def capture(self):
        """Captures the step as a CUDA graph. Its warm-up moves nothing: the rate is 0 and the moments are put back."""
        kept = [v.clone() for v in (self.first, self.second)]
        self.rate.fill_(0.0)
        self.weight.fill_(0.0)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(4):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        torch.cuda.synchronize()
        self.graph = graph
        graph.replay()
        torch.cuda.synchronize()
        start = time.time()
        for _ in range(20):
            graph.replay()
        torch.cuda.synchronize()
        took = (time.time() - start) / 20
        self.first.copy_(kept[0])
        self.second.copy_(kept[1])
        self.losses.zero_()
        return took

    def advance(self):
        self.graph.replay() if self.graph else self.step()


def prepare(unet, draw, batch, log, capture, **options):
    """The faster of the two memory layouts, captured; or, where that cannot be done or is not wanted, an eager run."""
    runs = []
    if capture and next(unet.parameters()).is_cuda:
        for channels_last in (True, False):
            try:
                run = Run(unet, draw, batch, channels_last=channels_last, **options)
                took = run.capture()
                log({"channels_last": channels_last, "step_ms": round(1000 * took, 3)})
                runs.append((took, run))
            except Exception as error:  # a layout that cannot be captured is no reason to train nothing
                log({"channels_last": channels_last, "not captured": repr(error)[:300]})
    if runs:
        return min(runs, key=lambda pair: pair[0])[1]
    return Run(unet, draw, batch, channels_last=True, **options)


def train(unet, draw, *, seconds, batch, rate, warmup, average, label_dropout, dtype, log, half, strip, capture,
          every=25):
    """Trains for `seconds` of wall-clock time, captures included; the rate falls along a cosine to 0 with the time.

    `half(unet)` is called once, with the averaged weights, in the middle. `strip(unet, step)` is called at some ten steps
    spaced logarithmically, with the weights as they then are. Returns the averaged weights and a report.
    """
    start = time.time()
    run = prepare(unet, draw, batch, log, capture, dtype=dtype, label_dropout=label_dropout)
    trained = time.time()
    step, history, marks, saved = 0, [], None, False
    while True:
        elapsed = time.time() - start
        progress = min(elapsed / seconds, 1.0)
        if progress >= 1.0:
            break
        run.set(step + 1, rate * min((step + 1) / warmup, 1.0) * 0.5 * (1 + math.cos(math.pi * progress)), average)
        run.advance()
        step += 1
        if marks is None and step == 8:  # how many steps there will be, so where the strip's moments are
            torch.cuda.synchronize() if run.graph else None
            total = step + max((seconds - (time.time() - start)) / ((time.time() - trained) / step), 20)
            marks = sorted({round(10 * (total / 10) ** (i / 9)) for i in range(9)})
        if marks and step >= marks[0]:
            marks = [m for m in marks if m > step] or [math.inf]
            strip(run.weights(run.flat), step)
        if step % every == 0:  # the host runs ahead of the GPU by no more than this
            loss = run.losses.item() / every
            run.losses.zero_()
            history.append([step, round(time.time() - start, 2), round(loss, 5)])
            if len(history) % 20 == 1:
                log({"step": step, "seconds": history[-1][1], "loss": history[-1][2]})
            if not math.isfinite(loss):
                raise RuntimeError(f"the loss is not finite at step {step}")
        if not saved and progress >= 0.5:
            saved = True
            half(run.weights(run.averaged))
    strip(run.weights(run.flat), step)
    tail = [loss for _, _, loss in history[-max(len(history) // 50, 1) :]] or [math.nan]
    report = {"steps": step, "images": step * batch, "seconds": round(time.time() - start, 1), "captured": bool(run.graph),
              "channels_last": run.layout == torch.channels_last, "dtype": str(dtype), "loss": round(sum(tail) / len(tail), 5),
              "history": history}
    names = [name for name, _ in unet.named_parameters()]
    return {n: v.cpu().contiguous().clone() for n, v in zip(names, run.views(run.averaged))}, report


def save_folder(folder, config, weights, labels):
    """Writes a diffusers folder, its weights as float16, with the page's labels.json; the last label means 'any'."""
    (folder / "unet").mkdir(parents=True, exist_ok=True)
    (folder / "scheduler").mkdir(exist_ok=True)
    save_file({n: w.detach().cpu().half().contiguous() for n, w in weights.items()},
              folder / "unet/diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    names = {"labels": labels, "null_label": len(labels) - 1}
    for path, value in [("model_index.json", INDEX), ("unet/config.json", config),
                        ("scheduler/scheduler_config.json", SCHEDULER), ("labels.json", names)]:
        (folder / path).write_text(json.dumps(value, indent=2) + "\n")


def load_folder(folder, device="cpu"):
    """The network of a folder, in f32."""
    unet = UNet(json.loads((folder / "unet/config.json").read_text()))
    unet.load_state_dict(load_file(folder / "unet/diffusion_pytorch_model.safetensors"))
    return unet.float().eval().to(device)


@torch.no_grad()
def sample(unet, labels, noise, steps=20, guidance=1.0, part=500):
    """DDIM (eta 0, trailing timesteps, x0 clipped) from noise f32 [count, ...]: images f32 in [-1, 1], on noise's device."""
    kept = kept_signal().tolist()
    times = [round(STEPS - i * STEPS / steps) - 1 for i in range(steps)]
    made = []
    for x, label in zip(noise.split(part), labels.to(noise.device).split(part)):
        for t in times:
            level, before = kept[t], kept[t - STEPS // steps] if t >= STEPS // steps else 1.0
            index = torch.full((len(x),), t, device=x.device)
            v = unet(x, index, label)
            if guidance != 1.0:
                bare = unet(x, index, torch.full_like(label, unet.config["num_class_embeds"] - 1))
                v = bare + guidance * (v - bare)
            clean = (level**0.5 * x - (1 - level) ** 0.5 * v).clamp(-1, 1)
            noise_in = level**0.5 * v + (1 - level) ** 0.5 * x
            x = before**0.5 * clean + (1 - before) ** 0.5 * noise_in
        made.append(x.clamp(-1, 1))
    return torch.cat(made)


def noise_for(count, unet, seed, device="cpu"):
    c, size = unet.config["in_channels"], unet.config["sample_size"]
    return torch.randn(count, c, size, size, generator=torch.Generator().manual_seed(seed)).to(device)


class Judge(nn.Module):
    """Images [batch, channels, size, size] -> features [batch, 128] and one list of scores for each attribute."""

    def __init__(self, channels, size, sizes, widths=(32, 64, 128)):
        super().__init__()
        layers = []
        for before, after in zip((channels, *widths), widths):  # each halves the picture
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        cells = (size >> len(widths)) ** 2
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * cells, 128), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(128, count) for count in sizes)

    def forward(self, images):
        features = self.body(images)
        return features, [head(features) for head in self.heads]


def save_judge(judge, path, names):
    """float16: what is committed is the judge, so every score is by the rounded weights."""
    weights = {n: w.half().contiguous() if w.is_floating_point() else w for n, w in judge.state_dict().items()}
    save_file(weights, path, metadata={"attributes": json.dumps(names)})


def load_judge(path, channels, size, sizes, device="cpu", **options):
    judge = Judge(channels, size, sizes, **options)
    judge.load_state_dict(load_file(path))
    return judge.float().eval().to(device)


@torch.no_grad()
def judgements(judge, images):
    """Features f64 [count, 128] and the found attributes i64 [count, attributes], on the CPU."""
    device = next(judge.parameters()).device
    parts = [judge(part.to(device)) for part in images.split(500)]
    found = torch.cat([torch.stack([head.argmax(1) for head in heads], 1) for _, heads in parts])
    return torch.cat([features for features, _ in parts]).double().cpu(), found.cpu()


def frechet(a, b):
    """Frechet distance between Gaussians fitted to features [count, width]: |m_a - m_b|^2 + tr(A + B - 2 (AB)^(1/2))."""
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    # tr (AB)^(1/2) from the eigenvalues of the similar, symmetric A^(1/2) B A^(1/2).
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return (mean + cov_a.trace() + cov_b.trace() - 2 * cross).item()


def nearest(images, others, count):
    """The `count` pictures nearest to each by root-mean-square pixel difference in 0..255: (differences, indices)."""
    best = []
    for part in images.flatten(1).split(50):
        distance = torch.cdist(part, others.flatten(1))
        best.append(distance.topk(count, largest=False))
    scale = 127.5 / images[0].numel() ** 0.5
    return torch.cat([d for d, _ in best]).cpu() * scale, torch.cat([i for _, i in best]).cpu()


def to_bytes(images):
    """f32 [count, channels, size, size] in [-1, 1] -> u8 [count, size, size, channels]."""
    return ((images / 2 + 0.5) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def from_bytes(pixels):
    """The other way."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def save_grid(images, columns, path, scale=4, gap=1, colours=256):
    """Images row by row, `scale` times enlarged without smoothing, in a PNG of at most 256 colours."""
    from PIL import Image

    pixels = to_bytes(images)
    (rows, size), channels = (len(pixels) // columns, pixels.shape[1] + gap), pixels.shape[3]
    grid = np.full((rows * size + gap, columns * size + gap, channels), 255, np.uint8)
    for i, face in enumerate(pixels):
        y, x = gap + (i // columns) * size, gap + (i % columns) * size
        grid[y : y + size - gap, x : x + size - gap] = face
    picture = Image.fromarray(grid.squeeze(2) if channels == 1 else grid)
    if channels == 3:
        picture = picture.quantize(colours, dither=Image.Dither.NONE)
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(path, optimize=True)
