"""solvers/<sampler>.json: traces of diffusers' other schedulers on a made-up network and made-up noise.

The network answers with made-up values and a quarter of what it is given, so that a wrong scale of its input shows. A step
of a solver that asks twice ends with its second answer.
"""

import importlib
from unittest import mock

import diffusers
import numpy
import torch

import fixture
import stream

SHAPE = [1, 1, 2, 2]
LONG = 13  # longer traces keep the first three steps, the middle one and the last three

TRAILING = dict(timestep_spacing="trailing")
LEADING = dict(timestep_spacing="leading")
KARRAS = dict(use_karras_sigmas=True)
EXPONENTIAL = dict(use_exponential_sigmas=True)
BETA = dict(use_beta_sigmas=True)
LU = dict(use_lu_lambdas=True)
FLOW = dict(use_flow_sigmas=True, prediction_type="flow_prediction")
V = dict(prediction_type="v_prediction")
X0 = dict(prediction_type="sample")
COSINE = dict(beta_schedule="squaredcos_cap_v2")
LATENT = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
ZERO_SNR = dict(rescale_betas_zero_snr=True, **TRAILING)
THRESHOLD = dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=2.5)
SIGMA_MIN = dict(final_sigmas_type="sigma_min")
OFFSET = dict(steps_offset=1, **LEADING)

# Each: name, steps, options of a run, config.
EULER = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, TRAILING),
    ("leading", 10, {}, OFFSET),
    ("trailing_13", 13, {}, TRAILING),
    ("long", 50, {}, LATENT),
    ("v", 8, {}, V),
    ("sample", 8, {}, X0),
    ("karras", 10, {}, KARRAS),
    ("karras_ends", 10, {}, dict(sigma_min=0.05, sigma_max=20.0, **KARRAS)),
    ("exponential", 10, {}, EXPONENTIAL),
    ("beta", 10, {}, BETA),
    ("log_linear", 10, {}, dict(interpolation_type="log_linear")),
    ("log_linear_karras", 10, {}, dict(interpolation_type="log_linear", **KARRAS)),
    ("sigma_min", 10, {}, SIGMA_MIN),
    ("continuous", 10, {}, dict(timestep_type="continuous", **KARRAS, **V)),
    ("zero_snr_v", 10, {}, dict(**ZERO_SNR, **V)),
    ("cosine", 10, {}, COSINE),
    ("churn", 10, dict(s_churn=3.0), LATENT),
    ("churn_between", 10, dict(s_churn=30.0, s_tmin=0.05, s_tmax=5.0, s_noise=1.01), dict(**LATENT, **V)),
]
EULER_ANCESTRAL = [
    ("defaults", 10, {}, {}),
    ("leading", 10, {}, OFFSET),
    ("trailing_13", 13, {}, TRAILING),
    ("long", 50, {}, LATENT),
    ("v", 8, {}, V),
    ("zero_snr_v", 10, {}, dict(**ZERO_SNR, **V)),
    ("cosine", 10, {}, COSINE),
]
HEUN = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, TRAILING),
    ("leading", 10, {}, OFFSET),
    ("trailing_13", 13, {}, TRAILING),
    ("long", 30, {}, LATENT),
    ("v", 8, {}, V),
    ("sample", 8, {}, X0),
    ("karras", 10, {}, KARRAS),
    ("exponential", 10, {}, EXPONENTIAL),
    ("beta", 10, {}, BETA),
    ("clip", 10, {}, dict(clip_sample=True, clip_sample_range=1.5, **LATENT)),
    ("cosine", 10, {}, COSINE),
]
LMS = [
    ("defaults", 10, {}, LATENT),
    ("two_steps", 2, {}, TRAILING),
    ("order_2", 10, dict(order=2), LATENT),
    ("leading", 10, {}, dict(**OFFSET, **LATENT)),
    ("trailing_13", 13, {}, dict(**TRAILING, **LATENT)),
    ("v", 8, {}, dict(**V, **LATENT)),
    ("sample", 8, {}, dict(**X0, **LATENT)),
    ("karras", 10, {}, dict(**KARRAS, **LATENT)),
    ("exponential", 10, {}, dict(**EXPONENTIAL, **LATENT)),
    ("beta", 10, {}, dict(**BETA, **LATENT)),
]


def dpm(order, algorithm="dpmsolver++", kind="midpoint", **config):
    return dict(solver_order=order, algorithm_type=algorithm, solver_type=kind, **config)


DPM_MULTISTEP = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("two_steps", 2, {}, dpm(3)),
    ("order_1", 10, {}, dpm(1)),
    ("order_2_heun", 10, {}, dpm(2, kind="heun")),
    ("order_3", 10, {}, dpm(3)),
    ("order_3_long", 20, {}, dpm(3)),
    ("order_2_long", 20, {}, dpm(2)),
    ("order_2_euler_at_final", 20, {}, dpm(2, euler_at_final=True, **SIGMA_MIN)),
    ("order_3_never_lower", 10, {}, dpm(3, lower_order_final=False, **SIGMA_MIN)),
    ("order_2_sigma_min", 10, {}, dpm(2, **SIGMA_MIN)),
    ("noise_1", 10, {}, dpm(1, "dpmsolver", **SIGMA_MIN)),
    ("noise_2", 10, {}, dpm(2, "dpmsolver", **SIGMA_MIN)),
    ("noise_2_heun", 10, {}, dpm(2, "dpmsolver", "heun", **SIGMA_MIN)),
    ("noise_3", 20, {}, dpm(3, "dpmsolver", **SIGMA_MIN)),
    ("noise_3_v", 10, {}, dpm(3, "dpmsolver", **SIGMA_MIN, **V)),
    ("noise_2_sample", 10, {}, dpm(2, "dpmsolver", **SIGMA_MIN, **X0)),
    ("noise_2_threshold", 10, {}, dpm(2, "dpmsolver", **SIGMA_MIN, **THRESHOLD, **LATENT)),
    ("sde_1", 10, {}, dpm(1, "sde-dpmsolver++")),
    ("sde_2", 10, {}, dpm(2, "sde-dpmsolver++")),
    ("sde_2_heun", 10, {}, dpm(2, "sde-dpmsolver++", "heun")),
    ("sde_3", 10, {}, dpm(3, "sde-dpmsolver++")),
    ("sde_3_long", 20, {}, dpm(3, "sde-dpmsolver++")),
    ("sde_noise_1", 10, {}, dpm(1, "sde-dpmsolver", **SIGMA_MIN, **LATENT)),
    ("sde_noise_2", 10, {}, dpm(2, "sde-dpmsolver", **SIGMA_MIN, **LATENT)),
    ("sde_noise_2_heun", 10, {}, dpm(2, "sde-dpmsolver", "heun", **SIGMA_MIN, **LATENT)),
    ("karras", 10, {}, dpm(2, **KARRAS)),
    ("karras_cosine", 10, {}, dpm(2, **KARRAS, **COSINE)),
    ("karras_sigma_min", 10, {}, dpm(3, **KARRAS, **SIGMA_MIN)),
    ("exponential", 10, {}, dpm(2, **EXPONENTIAL)),
    ("beta", 10, {}, dpm(2, **BETA)),
    ("lu", 10, {}, dpm(2, **LU)),
    ("flow", 10, {}, dpm(2, **FLOW)),
    ("flow_shift", 10, {}, dpm(3, flow_shift=3.0, **FLOW)),
    ("flow_sde", 10, {}, dpm(2, "sde-dpmsolver++", flow_shift=2.0, **FLOW)),
    ("leading", 10, {}, dpm(2, **OFFSET)),
    ("trailing_13", 13, {}, dpm(2, **TRAILING)),
    ("lambda_min", 10, {}, dpm(2, lambda_min_clipped=-3.0)),
    ("lambda_min_leading", 10, {}, dpm(2, lambda_min_clipped=-3.0, **LEADING)),
    ("v", 10, {}, dpm(2, **V)),
    ("sample", 10, {}, dpm(2, **X0)),
    ("threshold", 10, {}, dpm(2, **THRESHOLD)),
    ("zero_snr_v", 10, {}, dpm(2, **ZERO_SNR, **V)),
    ("cosine", 10, {}, dpm(2, **COSINE)),
    ("of_another_class", 10, {}, dict(solver_type="bh2", algorithm_type="deis", **SIGMA_MIN)),
]


def unipc(order, kind="bh2", **config):
    return dict(solver_order=order, solver_type=kind, **config)


UNIPC = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("order_1", 10, {}, unipc(1)),
    ("order_3", 10, {}, unipc(3)),
    ("order_3_long", 20, {}, unipc(3)),
    ("bh1_sigma_min", 10, {}, unipc(2, "bh1", **SIGMA_MIN)),
    ("bh1_order_3_sigma_min", 10, {}, unipc(3, "bh1", **SIGMA_MIN)),
    ("noise", 10, {}, unipc(2, predict_x0=False, **SIGMA_MIN)),
    ("noise_bh1_3", 10, {}, unipc(3, "bh1", predict_x0=False, **SIGMA_MIN)),
    ("noise_v", 10, {}, unipc(2, predict_x0=False, **SIGMA_MIN, **V)),
    ("never_lower", 10, {}, unipc(3, lower_order_final=False, **SIGMA_MIN)),
    ("no_corrector_first", 10, {}, unipc(2, disable_corrector=[0, 1])),
    ("karras", 10, {}, unipc(2, **KARRAS)),
    ("karras_ends", 10, {}, unipc(2, sigma_min=0.05, sigma_max=20.0, **KARRAS)),
    ("exponential", 10, {}, unipc(2, **EXPONENTIAL)),
    ("beta", 10, {}, unipc(2, **BETA)),
    ("flow", 10, {}, unipc(2, **FLOW)),
    ("flow_shift", 10, {}, unipc(3, flow_shift=3.0, **FLOW)),
    ("leading", 10, {}, unipc(2, **OFFSET)),
    ("trailing_13", 13, {}, unipc(2, **TRAILING)),
    ("v", 10, {}, unipc(2, **V)),
    ("sample", 10, {}, unipc(2, **X0)),
    ("threshold", 10, {}, unipc(2, **THRESHOLD)),
    ("zero_snr_v", 10, {}, unipc(2, **ZERO_SNR, **V)),
    ("cosine", 10, {}, unipc(2, **COSINE)),
    ("of_another_class", 10, {}, dict(solver_type="midpoint")),
]
DEIS = [
    ("defaults", 10, {}, {}),
    ("order_1", 10, {}, dict(solver_order=1)),
    ("order_3", 10, {}, dict(solver_order=3)),
    ("order_3_long", 20, {}, dict(solver_order=3)),
    ("never_lower", 10, {}, dict(solver_order=3, lower_order_final=False)),
    ("karras", 10, {}, KARRAS),
    ("exponential", 10, {}, EXPONENTIAL),
    ("beta", 10, {}, BETA),
    ("flow", 10, {}, dict(flow_shift=2.0, **FLOW)),
    ("leading", 10, {}, OFFSET),
    ("trailing_13", 13, {}, TRAILING),
    ("v", 10, {}, V),
    ("sample", 10, {}, X0),
    ("threshold", 10, {}, THRESHOLD),
    ("cosine", 10, {}, COSINE),
]

KDPM2 = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, TRAILING),
    ("leading", 10, {}, OFFSET),
    ("trailing_13", 13, {}, TRAILING),
    ("long", 30, {}, LATENT),
    ("v", 8, {}, V),
    ("karras", 10, {}, KARRAS),
    ("exponential", 10, {}, EXPONENTIAL),
    ("beta", 10, {}, BETA),
    ("cosine", 10, {}, COSINE),
]
SKIP = dict(skip_prk_steps=True)
PNDM = [
    ("defaults", 10, {}, {}),
    ("four_steps", 4, {}, {}),
    ("odd_stride", 9, {}, {}),
    ("long", 50, {}, {}),
    ("v", 10, {}, V),
    ("linspace", 10, {}, dict(timestep_spacing="linspace")),
    ("to_one", 10, {}, dict(set_alpha_to_one=True)),
    ("skip", 10, {}, SKIP),
    ("skip_one_step", 1, {}, SKIP),
    ("skip_two_steps", 2, {}, SKIP),
    ("skip_long", 50, {}, dict(**SKIP, **LATENT)),
    ("skip_v", 10, {}, dict(**SKIP, **V)),
    ("skip_offset", 10, {}, dict(steps_offset=1, **SKIP, **LATENT)),
    ("skip_trailing", 10, {}, dict(**SKIP, **TRAILING)),
    ("skip_cosine", 10, {}, dict(**SKIP, **COSINE)),
]
LCM = [
    ("defaults", 4, {}, {}),
    ("one_step", 1, {}, {}),
    ("eight", 8, {}, {}),
    ("seven_of_30", 7, {}, dict(original_inference_steps=30)),
    ("v", 4, {}, V),
    ("sample", 4, {}, X0),
    ("clip", 4, {}, dict(clip_sample=True, clip_sample_range=1.2)),
    ("threshold", 4, {}, THRESHOLD),
    ("scaling", 4, {}, dict(timestep_scaling=0.001)),
]
TCD = [
    ("defaults", 4, {}, {}),
    ("one_step", 1, {}, {}),
    ("eta_0", 4, dict(eta=0.0), {}),
    ("eta_1", 4, dict(eta=1.0), {}),
    ("eight", 8, dict(eta=0.7), {}),
    ("seven_of_30", 7, {}, dict(original_inference_steps=30)),
    ("v", 4, {}, V),
    ("sample", 4, {}, X0),
]

EDM_EULER = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("exponential", 10, {}, dict(sigma_schedule="exponential")),
    ("ends", 10, {}, dict(sigma_min=0.01, sigma_max=30.0, sigma_data=1.0)),
    ("v", 10, {}, V),
    ("sigma_min", 10, {}, SIGMA_MIN),
    ("churn", 10, dict(s_churn=4.0, s_noise=1.003), {}),
]
EDM_DPM = [
    ("defaults", 10, {}, {}),
    ("order_3", 10, {}, dict(solver_order=3)),
    ("order_3_long", 20, {}, dict(solver_order=3)),
    ("heun", 10, {}, dict(solver_type="heun")),
    ("sde", 10, {}, dict(algorithm_type="sde-dpmsolver++")),
    ("exponential", 10, {}, dict(sigma_schedule="exponential")),
    ("ends", 10, {}, dict(sigma_min=0.01, sigma_max=30.0, sigma_data=1.0)),
    ("v", 10, {}, V),
    ("sigma_min", 10, {}, SIGMA_MIN),
]

FLOW_EULER = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("shift", 10, {}, dict(shift=3.0)),
    ("shift_below", 10, {}, dict(shift=0.5, num_train_timesteps=100)),
    ("long", 50, {}, dict(shift=3.0)),
    ("karras", 10, {}, KARRAS),
    ("exponential", 10, {}, EXPONENTIAL),
    ("beta", 10, {}, BETA),
    ("terminal", 10, {}, dict(shift_terminal=0.1)),
    ("stochastic", 10, {}, dict(stochastic_sampling=True, shift=2.0)),
]
FLOW_HEUN = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("shift", 10, {}, dict(shift=3.0)),
    ("long", 30, {}, {}),
]

DPM_SINGLESTEP = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("two_steps", 2, {}, dpm(3)),
    ("odd", 9, {}, {}),
    ("order_1", 10, {}, dpm(1)),
    ("order_2_heun", 10, {}, dpm(2, kind="heun")),
    ("order_3", 10, {}, dpm(3)),
    ("order_3_of_9", 9, {}, dpm(3)),
    ("order_3_of_11", 11, {}, dpm(3)),
    ("order_3_heun", 12, {}, dpm(3, kind="heun")),
    ("order_3_whole_turns", 12, {}, dpm(3, **SIGMA_MIN)),
    ("order_2_whole_turns", 10, {}, dpm(2, **SIGMA_MIN)),
    ("order_3_lowered", 12, {}, dpm(3, lower_order_final=True, **SIGMA_MIN)),
    ("noise_2", 10, {}, dpm(2, "dpmsolver", **SIGMA_MIN)),
    ("noise_3", 12, {}, dpm(3, "dpmsolver", **SIGMA_MIN)),
    ("noise_3_heun", 12, {}, dpm(3, "dpmsolver", "heun", **SIGMA_MIN)),
    ("sde_2", 10, {}, dpm(2, "sde-dpmsolver++")),
    ("sde_3", 10, {}, dpm(3, "sde-dpmsolver++")),
    ("sde_3_heun", 10, {}, dpm(3, "sde-dpmsolver++", "heun")),
    ("karras", 10, {}, dpm(2, **KARRAS)),
    ("karras_cosine", 10, {}, dpm(2, **KARRAS, **COSINE)),
    ("exponential", 10, {}, dpm(2, **EXPONENTIAL)),
    ("flow", 10, {}, dpm(2, flow_shift=2.0, **FLOW)),
    ("lambda_min", 10, {}, dpm(2, lambda_min_clipped=-3.0)),
    ("v", 10, {}, dpm(2, **V)),
    ("sample", 10, {}, dpm(2, **X0)),
    ("threshold", 10, {}, dpm(2, **THRESHOLD)),
]

SAMPLERS = {
    "euler": ("EulerDiscreteScheduler", EULER),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", EULER_ANCESTRAL),
    "heun": ("HeunDiscreteScheduler", HEUN),
    "lms": ("LMSDiscreteScheduler", LMS),
    "dpm-multistep": ("DPMSolverMultistepScheduler", DPM_MULTISTEP),
    "dpm-singlestep": ("DPMSolverSinglestepScheduler", DPM_SINGLESTEP),
    "unipc": ("UniPCMultistepScheduler", UNIPC),
    "deis": ("DEISMultistepScheduler", DEIS),
    "edm-euler": ("EDMEulerScheduler", EDM_EULER),
    "edm-dpm-multistep": ("EDMDPMSolverMultistepScheduler", EDM_DPM),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", FLOW_EULER),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", FLOW_HEUN),
    "kdpm2": ("KDPM2DiscreteScheduler", KDPM2),
    "kdpm2-ancestral": ("KDPM2AncestralDiscreteScheduler", KDPM2),
    "pndm": ("PNDMScheduler", PNDM),
    "lcm": ("LCMScheduler", LCM),
    "tcd": ("TCDScheduler", TCD),
}


class Double:
    """numpy or torch whose float32 is float64."""

    def __init__(self, library, double):
        self.library, self.float32 = library, double

    def __getattr__(self, name):
        return getattr(self.library, name)


def ends_step(scheduler, index: int) -> bool:
    if isinstance(scheduler, diffusers.PNDMScheduler):
        runge_kutta = 0 if scheduler.config.skip_prk_steps else 12
        return index % 4 == 3 or index >= 12 if runge_kutta else index > 0 or len(scheduler.timesteps) == 1
    return scheduler.order == 1 or scheduler.state_in_first_order or index + 1 == len(scheduler.timesteps)


def replay(key: str, class_name: str, steps: int, options: dict, config: dict, double: bool):
    """The timesteps, and the results of all steps; `double` computes all of it in float64."""
    module = importlib.import_module(getattr(diffusers, class_name).__module__)
    kind = torch.float64 if double else torch.float32
    made = lambda name, scale=1.0: stream.tensor(f"{name.replace('#', key)}", SHAPE, scale).to(kind)
    draws = iter(range(10**6))
    noise = lambda *_, **__: made(f"noise:#:{next(draws)}")
    libraries = dict(np=Double(numpy, numpy.float64), torch=Double(torch, torch.float64)) if double else {}
    with mock.patch.multiple(module, create=True, randn_tensor=noise, **libraries):
        scheduler = getattr(diffusers, class_name)(**config)
        scheduler.set_timesteps(steps)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)  # by itself it would begin at the second of two equal timesteps
        x = made("x:#", 1.7) * getattr(scheduler, "init_noise_sigma", 1.0)
        ends = []
        for index, t in enumerate(scheduler.timesteps):
            given = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            result = scheduler.step(made(f"model:#:{index}") + 0.25 * given, t, x, **options)
            x = result.prev_sample
            if ends_step(scheduler, index):
                ends.append(result)
    return scheduler.timesteps.double(), ends


def tensors(results) -> dict:
    names = dict(prev_sample="prev_sample", pred_original_sample="pred_original_sample", denoised="pred_original_sample")
    stacked = lambda name: torch.stack([getattr(result, name).double() for result in results])
    return {known: stacked(name) for name, known in names.items() if getattr(results[0], name, None) is not None}


def run(sampler: str, class_name: str, name: str, steps: int, options: dict, config: dict) -> dict:
    arguments = f"{sampler}:{name}", class_name, steps, options, config
    timesteps, ends = replay(*arguments, double=False)
    found = tensors(ends)
    true_timesteps, true_ends = replay(*arguments, double=True)
    truth = tensors(true_ends)
    case = dict(name=name, config=config, steps=steps, options=options, timesteps=timesteps)
    size = lambda values: values.abs().amax(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1)
    error = max(((found[key] - truth[key]).abs() / size(truth[key])).max().item() for key in truth)
    if error > 5e-6:
        found, case["timesteps"] = truth, true_timesteps
        case["note"] = f"diffusers in float64, from which its float32 differs by {error:.1e}"
    kept = range(len(ends))
    if len(ends) > LONG:
        kept = [0, 1, 2, len(ends) // 2, len(ends) - 3, len(ends) - 2, len(ends) - 1]
    case["trace"] = [dict(index=index, **{key: values[index] for key, values in found.items()}) for index in kept]
    return case


def make() -> None:
    (fixture.FOLDER / "solvers").mkdir(exist_ok=True)
    for sampler, (class_name, cases) in SAMPLERS.items():
        assert len({case[0] for case in cases}) == len(cases)
        content = [run(sampler, class_name, *case) for case in cases]
        fixture.write(f"solvers/{sampler}.json", {"class": class_name, "shape": SHAPE, "cases": content})
