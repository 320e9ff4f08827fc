"""schedulers.json: traces of DDPMScheduler and DDIMScheduler on a made-up model and made-up noise."""

from unittest import mock

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm

import fixture
import stream

SHAPE = [2, 1, 2, 3]
LONG = 13  # longer traces keep the first three steps, the middle one and the last three


def ddpm(name, steps=10, shape=SHAPE, model_scale=1.0, **config):
    return dict(name="ddpm_" + name, scheduler=DDPMScheduler, steps=steps, shape=shape, model_scale=model_scale, config=config, step={})


def ddim(name, steps=10, eta=0.0, clipped=False, shape=SHAPE, model_scale=1.0, **config):
    step = dict(eta=eta, use_clipped_model_output=clipped)
    return dict(name="ddim_" + name, scheduler=DDIMScheduler, steps=steps, shape=shape, model_scale=model_scale, config=config, step=step)


TRAILING = dict(timestep_spacing="trailing")
LINSPACE = dict(timestep_spacing="linspace")
ZERO_SNR = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing")
THRESHOLD = dict(thresholding=True, dynamic_thresholding_ratio=0.9, num_train_timesteps=100)
TRAINED = dict(trained_betas=[0.01, 0.02, 0.04, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5], num_train_timesteps=10)
COSINE = dict(beta_schedule="squaredcos_cap_v2")
LATENT = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)

CASES = [
    ddpm("defaults"),
    # Spacings
    ddpm("leading_13", 13),
    ddpm("linspace_13", 13, **LINSPACE),
    ddpm("trailing_13", 13, **TRAILING),
    ddpm("leading_1", 1),
    ddpm("linspace_1", 1, **LINSPACE),
    ddpm("trailing_1", 1, **TRAILING),
    ddpm("leading_50", 50),
    ddpm("linspace_250", 250, **LINSPACE),
    ddpm("all_1000", 1000),
    ddpm("all_20", 20, num_train_timesteps=20),
    ddpm("all_20_trailing", 20, num_train_timesteps=20, **TRAILING),
    ddpm("of_100", num_train_timesteps=100),
    ddpm("steps_offset", steps_offset=1),  # noise on the last step too: t = 1
    ddpm("steps_offset_large", 5, steps_offset=1, variance_type="fixed_large"),
    # Betas
    ddpm("beta_ends", num_train_timesteps=60, beta_start=0.001, beta_end=0.1),
    ddpm("scaled_linear", **LATENT),
    ddpm("cosine", **COSINE),
    ddpm("cosine_100_no_clip", num_train_timesteps=100, clip_sample=False, prediction_type="v_prediction", **COSINE),
    ddpm("sigmoid", beta_schedule="sigmoid"),
    ddpm("laplace", beta_schedule="laplace"),
    ddpm("laplace_learned_range", 7, beta_schedule="laplace", variance_type="learned_range", **TRAILING),
    ddpm("laplace_zero_snr_v", 7, beta_schedule="laplace", prediction_type="v_prediction", **ZERO_SNR),
    ddpm("trained_betas", 5, **TRAINED),
    ddpm("zero_snr_v", prediction_type="v_prediction", **ZERO_SNR),
    ddpm("zero_snr_epsilon_clip", **ZERO_SNR),  # x0 is infinite at first; the clip saves it
    ddpm("zero_snr_cosine_v", 7, prediction_type="v_prediction", **ZERO_SNR, **COSINE),
    # Predictions and clipping
    ddpm("sample", prediction_type="sample", model_scale=1.5),
    ddpm("v", prediction_type="v_prediction"),
    ddpm("no_clip", clip_sample=False, num_train_timesteps=200),
    ddpm("sample_no_clip", prediction_type="sample", clip_sample=False, model_scale=1.5),
    ddpm("v_no_clip", prediction_type="v_prediction", clip_sample=False),
    ddpm("clip_half", clip_sample_range=0.5),
    ddpm("threshold_1", sample_max_value=1.0, **THRESHOLD),
    ddpm("threshold_2.5", sample_max_value=2.5, **THRESHOLD),
    ddpm("threshold_half", sample_max_value=0.5, **THRESHOLD),  # below 1, it is what images are divided by
    ddpm("threshold_null", sample_max_value=None, **THRESHOLD),
    ddpm("threshold_ratio_0", sample_max_value=2.5, **{**THRESHOLD, "dynamic_thresholding_ratio": 0.0}),
    ddpm("one_timestep", 1, num_train_timesteps=1),
    ddpm("clip_null", clip_sample=None, num_train_timesteps=200),
    ddpm("threshold_2.5_sample", sample_max_value=2.5, prediction_type="sample", model_scale=2.2, **THRESHOLD),
    # Variances
    ddpm("fixed_small_log", variance_type="fixed_small_log"),
    ddpm("fixed_large", variance_type="fixed_large"),
    ddpm("fixed_large_log", variance_type="fixed_large_log"),
    ddpm("fixed_large_trailing", 5, variance_type="fixed_large", **TRAILING),  # ends at t = 199: full noise
    ddpm("fixed_small_trailing", 5, variance_type="fixed_small", **TRAILING),  # ends at t = 199: noise of 1e-10
    ddpm("learned", variance_type="learned"),
    ddpm("learned_range", variance_type="learned_range"),
    ddpm("learned_range_trailing_cosine", 7, variance_type="learned_range", **TRAILING, **COSINE),
    ddim("defaults"),
    # Spacings: DDIM steps to t - T div N, whatever the list says
    ddim("leading_13_eta_1", 13, eta=1.0),
    ddim("linspace_13", 13, **LINSPACE),
    ddim("linspace_13_eta_1", 13, eta=1.0, **LINSPACE),
    ddim("trailing_13", 13, **TRAILING),
    ddim("trailing_10_eta_half", eta=0.5, **TRAILING),
    ddim("leading_1", 1),
    ddim("linspace_1", 1, **LINSPACE),
    ddim("trailing_1_eta_1", 1, eta=1.0, **TRAILING),
    ddim("leading_50", 50),
    ddim("all_20_eta_1", 20, eta=1.0, num_train_timesteps=20),
    ddim("of_100", num_train_timesteps=100),
    ddim("steps_offset", steps_offset=1),
    ddim("last_alpha", set_alpha_to_one=False),
    ddim("last_alpha_offset_eta_1", eta=1.0, set_alpha_to_one=False, steps_offset=1, clip_sample=False, **LATENT),
    # Stochasticity
    ddim("eta_half", eta=0.5),
    ddim("eta_1", eta=1.0),
    ddim("clipped", clipped=True),
    ddim("clipped_eta_1", eta=1.0, clipped=True),
    # Betas
    ddim("scaled_linear", **LATENT),
    ddim("cosine", **COSINE),
    ddim("one_timestep", 1, num_train_timesteps=1, set_alpha_to_one=None),
    ddim("trained_betas", 5, eta=0.5, **TRAINED),
    ddim("zero_snr_v", prediction_type="v_prediction", **ZERO_SNR),
    ddim("zero_snr_v_eta_half", eta=0.5, prediction_type="v_prediction", **ZERO_SNR),
    ddim("zero_snr_v_eta_1", eta=1.0, prediction_type="v_prediction", **ZERO_SNR),
    ddim("zero_snr_epsilon_clip", **ZERO_SNR),
    # Predictions and clipping
    ddim("sample", prediction_type="sample", model_scale=1.5),
    ddim("sample_clipped", clipped=True, prediction_type="sample", model_scale=1.5),
    ddim("v", prediction_type="v_prediction"),
    ddim("v_clipped_no_clip", clipped=True, prediction_type="v_prediction", clip_sample=False),
    ddim("no_clip", clip_sample=False, num_train_timesteps=200),
    ddim("clip_half_clipped", clipped=True, clip_sample_range=0.5),
    ddim("threshold_1", sample_max_value=1.0, **THRESHOLD),
    ddim("threshold_2.5", sample_max_value=2.5, **THRESHOLD),
    ddim("threshold_2.5_v_clipped", clipped=True, sample_max_value=2.5, prediction_type="v_prediction", model_scale=2.5, **THRESHOLD),
]

NOT_A_NUMBER = {
    "ddpm_fixed_large_log": "it takes the square root of a logarithm",
    "ddim_zero_snr_v_eta_1": "1 - alpha_prev - sd^2 is zero at first, and rounds below zero under the square root",
}

FORWARD = [
    dict(name="linear", config={}),
    dict(name="cosine", config=COSINE),
    dict(name="zero_snr", config=dict(rescale_betas_zero_snr=True)),
]


def model_output(case: dict, index: int) -> torch.Tensor:
    """What the model says at a step. Learned variances take twice the channels; "learned" ones must not be negative."""
    variance = case["config"].get("variance_type", "")
    batch, channels, *size = case["shape"]
    if not variance.startswith("learned"):
        return stream.tensor(f"model:{case['name']}:{index}", case["shape"], case["model_scale"])
    output = stream.tensor(f"model:{case['name']}:{index}", [batch, 2 * channels, *size], case["model_scale"])
    if variance == "learned":
        output[:, channels:].abs_()
    return output


def run(case: dict) -> dict:
    name, shape, steps = case["name"], case["shape"], case["steps"]
    scheduler = case["scheduler"](**case["config"])
    scheduler.set_timesteps(steps)
    assert len(scheduler.timesteps) == steps
    kept = list(range(steps)) if steps <= LONG else [0, 1, 2, steps // 2, steps - 3, steps - 2, steps - 1]
    module = {DDPMScheduler: scheduling_ddpm, DDIMScheduler: scheduling_ddim}[case["scheduler"]]
    x = stream.tensor(f"x:{name}", shape, 1.7)
    trace = []
    for index, t in enumerate(scheduler.timesteps):
        noise = stream.tensor(f"noise:{name}:{index}", shape)
        with mock.patch.object(module, "randn_tensor", lambda *_, **__: noise):
            result = scheduler.step(model_output(case, index), t, x, **case["step"])
        x = result.prev_sample
        if index in kept:
            trace.append(dict(index=index, prev_sample=x, pred_original_sample=result.pred_original_sample))
    note = {}
    if name in NOT_A_NUMBER:
        assert x.isnan().all()
        trace, note = [], dict(note="every sample is NaN in diffusers: " + NOT_A_NUMBER[name])
    last = scheduler.config.num_train_timesteps - 1
    indices = sorted({0, min(1, last), last // 4, last // 2, max(0, last - 1), last})
    return dict(
        **note,
        **{"class": case["scheduler"].__name__},
        name=name,
        config=case["config"],
        steps=steps,
        eta=case["step"].get("eta"),
        use_clipped_model_output=case["step"].get("use_clipped_model_output"),
        shape=shape,
        model_scale=case["model_scale"],
        timesteps=scheduler.timesteps.tolist(),
        alphas_cumprod=dict(indices=indices, values=scheduler.alphas_cumprod[indices]),
        trace=trace,
    )


def forward(case: dict) -> dict:
    """Noising and the velocity target, one timestep an image."""
    scheduler = DDPMScheduler(**case["config"])
    timesteps = [0, 1, 500, 999]
    shape = [len(timesteps), 1, 1, 3]
    x0 = stream.tensor(f"x:forward_{case['name']}", shape)
    noise = stream.tensor(f"noise:forward_{case['name']}", shape, 1.7)
    t = torch.tensor(timesteps)
    return dict(
        name="forward_" + case["name"],
        config=case["config"],
        shape=shape,
        timesteps=timesteps,
        noisy=scheduler.add_noise(x0, noise, t),
        velocity=scheduler.get_velocity(x0, noise, t),
    )


def make() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    fixture.write("schedulers.json", dict(cases=[run(case) for case in CASES], forward=[forward(case) for case in FORWARD]))
