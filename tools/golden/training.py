"""training.json: ten training steps as diffusers' train_unconditional.py does them: AdamW, clipping, cosine, EMAModel.

Of every parameter are kept the first step's gradient, and the change of the weight and of its average over the run, each
as its norm and its product with a fixed direction.
"""

import math

import torch
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel

import fixture
import stream
import unet

STEPS, TOTAL, WARMUP, RATE = 10, 30, 4, 2e-3
LINEAR = dict(beta_schedule="linear", prediction_type="epsilon")
ATTENTION = dict(resnet_time_scale_shift="scale_shift", attention_head_dim=8)

CASES = [
    dict(name="epsilon", scheduler=LINEAR, unet={}),
    dict(name="v_classes", scheduler=dict(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"),
         unet=dict(num_class_embeds=4, **ATTENTION)),
    dict(name="x0", scheduler=dict(beta_schedule="scaled_linear", prediction_type="sample"), unet=dict(act_fn="mish")),
    dict(name="min_snr", gamma=5.0, scheduler=LINEAR, unet=dict(base=unet.SMALL)),
    dict(name="hybrid", scheduler=dict(variance_type="learned_range", **LINEAR), unet=dict(out_channels=6, **ATTENTION)),
]


def normal_cdf(z):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def bound_term(scheduler, output, x0, x, t):
    """The variational bound's term in bits a dimension (Nichol and Dhariwal 2021), the mean held fixed; in f64."""
    channels = x0.shape[1]
    m, v = output[:, :channels].detach().double(), output[:, channels:].double()
    x0, x = x0.double(), x.double()
    bars = scheduler.alphas_cumprod.double()
    one = torch.ones(1, dtype=torch.float64)
    now, before = bars[t], torch.cat([one, bars])[t]
    betas = 1 - bars / torch.cat([one, bars[:-1]])
    variances = betas * (1 - torch.cat([one, bars[:-1]])) / (1 - bars)
    variances[0] = variances[1]
    column = lambda values: values.reshape(-1, 1, 1, 1)
    beta, small, now, before = column(betas[t]), column(variances[t].log()), column(now), column(before)
    log_variance = (v + 1) / 2 * beta.log() + (1 - v) / 2 * small
    mean_of = lambda start: before.sqrt() * beta / (1 - now) * start + (1 - beta).sqrt() * (1 - before) / (1 - now) * x
    mean = mean_of((x - (1 - now).sqrt() * m) / now.sqrt())
    divergence = 0.5 * (log_variance - small + (small - log_variance).exp() + (mean_of(x0) - mean) ** 2 * (-log_variance).exp() - 1)
    inverse = (-0.5 * log_variance).exp()
    upper, lower = normal_cdf(inverse * (x0 - mean + 1 / 255)), normal_cdf(inverse * (x0 - mean - 1 / 255))
    log = lambda p: p.clamp(min=1e-12).log()
    likelihood = torch.where(x0 < -0.999, log(upper), torch.where(x0 > 0.999, log(1 - lower), log(upper - lower)))
    terms = torch.where(column(t) == 0, -likelihood, divergence)
    return terms.flatten(1).mean(1) / math.log(2)


def losses(case, scheduler, model, x0, noise, t, labels):
    x = scheduler.add_noise(x0, noise, t)
    output = model(x, t, labels).sample
    m = output[:, : x0.shape[1]]
    kind = scheduler.config.prediction_type
    target = {"epsilon": noise, "sample": x0, "v_prediction": scheduler.get_velocity(x0, noise, t)}[kind]
    error = (m - target).square().flatten(1).mean(1)
    # In f64: diffusers' f32 leaves three digits of 1 - alpha_bar at the first timesteps.
    bar = (1 - scheduler.betas.double()).cumprod(0)[t]
    snr = (bar / (1 - bar)).float()
    if "gamma" in case:
        return error * snr.clamp(max=case["gamma"]) / snr
    if kind == "sample":
        return error * snr
    if scheduler.config.variance_type == "learned_range":
        return error + bound_term(scheduler, output, x0, x, t) * scheduler.config.num_train_timesteps / 1000
    return error


def sketch(values, key):
    """The norm and the product with the direction of `key`."""
    values = values.double().flatten()
    return torch.stack([values.norm(), values @ torch.from_numpy(stream.u(f"probe:{key}", values.numel()))])


def run(case):
    model, config, inputs = unet.build(unet.case(case["name"], **case["unet"]))
    model.train()
    shape = [4, *inputs[0].shape[1:]]
    scheduler = DDPMScheduler(**case["scheduler"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.95, 0.999), weight_decay=1e-2, eps=1e-8)
    rate = get_cosine_schedule_with_warmup(optimiser, WARMUP, TOTAL)
    average = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    start = {key: p.detach().clone() for key, p in model.named_parameters()}
    record = dict(name=case["name"], config=config, scheduler=dict(scheduler.config), gamma=case.get("gamma"),
                  sample_shape=shape, rate=RATE, warmup=WARMUP, total=TOTAL, timesteps=[], losses=[])
    if "num_class_embeds" in case["unet"]:
        record["labels"] = []
    for step in range(STEPS):
        # Clamped, so that some pixels are exactly black or white.
        x0 = stream.tensor(f"images:{step}", shape, 1.25).clamp(-1, 1)
        noise = stream.tensor(f"noise:{step}", shape, 1.75)
        t = torch.tensor([step * 37 % 250, 250 + step * 91 % 250, 999 - step * 53 % 300, 0 if step % 3 == 0 else 500 + step])
        labels = torch.tensor([step % 4, 3, 1, (step + 2) % 4]) if "labels" in record else None
        each = losses(case, scheduler, model, x0, noise, t, labels)
        optimiser.zero_grad()
        each.mean().backward()
        if step == 0:
            record["gradients"] = {key: sketch(p.grad, key) for key, p in model.named_parameters()}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        average.step(model.parameters())
        record["timesteps"].append(t.tolist())
        record["losses"].append(each)
        if labels is not None:
            record["labels"].append(labels.tolist())
    record["weights"] = {key: sketch(p.detach() - start[key], key) for key, p in model.named_parameters()}
    record["averages"] = {
        key: sketch(p - start[key], key) for (key, _), p in zip(model.named_parameters(), average.shadow_params)
    }
    return record


def make() -> None:
    fixture.write("training.json", dict(cases=[run(case) for case in CASES]))
