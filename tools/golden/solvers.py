"""solvers/<sampler>.json: traces of diffusers' other schedulers on a made-up network and made-up noise.

The network answers with made-up values and a quarter of what it is given, so that a wrong scale of its input shows; for
the VE SDE, with a score that keeps runs in bounds. A step of a solver that asks twice ends with its second answer.
"""

import importlib
import sys
from unittest import mock

import diffusers
import numpy
import torch
from diffusers.schedulers.scheduling_utils import AysSchedules, SchedulerOutput

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

LISTED = dict(timesteps=[999, 850, 612, 400, 233, 124, 24])
TO_ZERO = dict(timesteps=[999, 700, 300, 0])
LEVELS = [14.0, 6.5, 2.7, 1.4, 0.65, 0.15]

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
    ("ays", 10, dict(grid="ays"), {}),
    ("ays_xl", 10, dict(grid="ays-xl"), LATENT),
    ("ays_video", 10, dict(grid="ays-video"), V),
    ("churn", 10, dict(s_churn=3.0), LATENT),
    ("churn_between", 10, dict(s_churn=30.0, s_tmin=0.05, s_tmax=5.0, s_noise=1.01), dict(**LATENT, **V)),
    ("timesteps", 7, LISTED, {}),
    ("timesteps_v", 7, LISTED, dict(**V, **COSINE)),
    ("sigmas", 6, dict(sigmas=[*LEVELS, 0.0]), LATENT),
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
    ("timesteps", 7, LISTED, {}),
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
    ("timesteps", 7, LISTED, dpm(3)),
    ("timesteps_sigma_min", 4, TO_ZERO, dpm(2, **SIGMA_MIN)),
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
    ("flow_terminal", 10, {}, unipc(2, flow_shift=3.0, shift_terminal=0.1, **FLOW)),
    ("flow_karras", 10, {}, unipc(2, **FLOW, **KARRAS)),
    ("flow_karras_sigma_min", 10, {}, unipc(3, **FLOW, **KARRAS, **SIGMA_MIN)),
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
    ("timesteps", 3, dict(timesteps=[999, 499, 259]), {}),
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
    ("timesteps", 3, dict(timesteps=[999, 499, 259]), {}),
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
    ("timesteps", 7, LISTED, dpm(3)),
]

IPNDM = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("two_steps", 2, {}, {}),
    ("long", 50, {}, {}),
]
CONSISTENCY = [
    ("one_step", 1, {}, {}),
    ("two_steps", 2, {}, {}),
    ("four", 4, {}, {}),
    ("seven", 7, {}, {}),
    ("all", 40, {}, {}),
    ("unclipped", 4, {}, dict(clip_denoised=False)),
    ("ends", 4, {}, dict(sigma_min=0.01, sigma_max=30.0, sigma_data=1.0, num_train_timesteps=18)),
    ("s_noise", 4, {}, dict(s_noise=1.007)),
    ("timesteps", 2, dict(timesteps=[22, 0]), {}),
    ("timesteps_three", 3, dict(timesteps=[39, 17, 0]), {}),
]


def sa(predictor, corrector, **config):
    return dict(predictor_order=predictor, corrector_order=corrector, **config)


NOISE = dict(algorithm_type="noise_prediction")
SA_SOLVER = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("two_steps", 2, {}, sa(3, 4)),
    ("order_1_1", 10, {}, sa(1, 1)),
    ("order_1_2", 10, {}, sa(1, 2)),
    ("order_3_1", 10, {}, sa(3, 1)),
    ("order_3_4", 10, {}, sa(3, 4)),
    ("order_4_3", 20, {}, sa(4, 3)),
    ("ode", 10, dict(tau=0.0), {}),
    ("ode_3_3", 10, dict(tau=0.0), sa(3, 3)),
    ("tau", 10, dict(tau=0.4), {}),
    ("never_lower", 10, {}, sa(3, 3, lower_order_final=False)),
    ("noise", 10, {}, NOISE),
    ("noise_1_2", 10, dict(tau=0.4), sa(1, 2, **NOISE)),
    ("noise_3_4", 10, {}, sa(3, 4, **NOISE, **LATENT)),
    ("noise_v", 10, {}, dict(**NOISE, **V)),
    ("noise_sample", 10, dict(tau=0.0), dict(**NOISE, **X0)),
    ("karras", 10, {}, KARRAS),
    ("exponential", 10, {}, EXPONENTIAL),
    ("beta", 10, {}, BETA),
    ("flow", 10, {}, dict(flow_shift=2.0, **FLOW)),
    ("leading", 10, {}, OFFSET),
    ("trailing_13", 13, {}, TRAILING),
    ("lambda_min", 10, {}, dict(lambda_min_clipped=-3.0)),
    ("v", 10, {}, V),
    ("sample", 10, {}, X0),
    ("threshold", 10, {}, THRESHOLD),
    ("cosine", 10, {}, COSINE),
]
DPM_SDE = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, TRAILING),
    ("leading", 10, {}, OFFSET),
    ("trailing_13", 13, {}, TRAILING),
    ("long", 30, {}, LATENT),
    ("v", 8, {}, V),
    ("karras", 10, {}, KARRAS),
    ("exponential", 10, {}, EXPONENTIAL),
    ("beta", 10, {}, BETA),
    ("s_noise", 10, dict(s_noise=1.01), LATENT),
    ("cosine", 10, {}, COSINE),
]
VE = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("long", 50, {}, {}),
    ("predictor", 10, {}, dict(correct_steps=0)),
    ("two_corrections", 10, {}, dict(correct_steps=2, snr=0.3)),
    ("ends", 10, {}, dict(sigma_min=0.02, sigma_max=50.0, sampling_eps=1e-2)),
    ("batch", 10, dict(norms="batch"), {}),
]
VP = [
    ("defaults", 10, {}, {}),
    ("one_step", 1, {}, {}),
    ("long", 50, {}, {}),
    ("betas", 20, {}, dict(beta_min=0.2, beta_max=10.0, sampling_eps=1e-2, num_train_timesteps=1000)),
]

DDPM = [
    ("timesteps", 7, LISTED, {}),
    ("timesteps_to_zero", 4, TO_ZERO, dict(variance_type="fixed_large", **V)),
]

SAMPLERS = {
    "ddpm": ("DDPMScheduler", DDPM),
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
    "ipndm": ("IPNDMScheduler", IPNDM),
    "consistency": ("CMStochasticIterativeScheduler", CONSISTENCY),
    "sa-solver": ("SASolverScheduler", SA_SOLVER),
    "dpm-sde": ("DPMSolverSDEScheduler", DPM_SDE),
    "reverse-sde": ("ScoreSdeVeScheduler", VE),
    "vp-reverse-sde": ("ScoreSdeVpScheduler", VP),
}


# Classes that diffusers shows nobody, or only with packages that are not needed here.
MODULES = {
    "DPMSolverSDEScheduler": "diffusers.schedulers.scheduling_dpmsolver_sde",
    "ScoreSdeVpScheduler": "diffusers.schedulers.deprecated.scheduling_sde_vp",
}
# Whose levels are made by torch in its default type.
CONTINUOUS = ["IPNDMScheduler", "ScoreSdeVeScheduler", "ScoreSdeVpScheduler"]


def shape_of(options: dict) -> list:
    return [3, 1, 2, 2] if options.get("norms") == "batch" else SHAPE


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


class Brownian:
    """Increments of a Brownian motion over [sigma, sigma'], of variance 1: first of a step's first half, then of the whole."""

    def __init__(self, noise):
        self.noise, self.half = noise, None

    def __call__(self, sigma, sigma_next):
        fresh = self.noise()
        if self.half is None:
            self.half = fresh, sigma_next
            return fresh
        (first, middle), self.half = self.half, None
        share = (sigma - middle) / (sigma - sigma_next)
        return share.sqrt() * first + (1 - share).sqrt() * fresh


AYS = {"ays": "StableDiffusion", "ays-xl": "StableDiffusionXL", "ays-video": "StableDiffusionVideo"}


def score_sde(scheduler, steps: int, x, model):
    """The loop of diffusers' ScoreSdeVePipeline, and what there is of one for its ScoreSdeVpScheduler. The last step's result is its mean."""
    scheduler.set_timesteps(steps)
    told, ends = [], []
    if hasattr(scheduler, "set_sigmas"):
        scheduler.set_sigmas(steps)
    for i, t in enumerate(scheduler.timesteps):
        if hasattr(scheduler, "set_sigmas"):
            for _ in range(scheduler.config.correct_steps):
                told.append(scheduler.sigmas[i])
                x = scheduler.step_correct(model(x, told[-1]), x).prev_sample
            told.append(scheduler.sigmas[i])
            result = scheduler.step_pred(model(x, told[-1]), t, x)
            x, mean = result.prev_sample, result.prev_sample_mean
        else:
            told.append(t * (scheduler.config.num_train_timesteps - 1))
            x, mean = scheduler.step_pred(model(x, None), x, t)
        ends.append(SchedulerOutput(prev_sample=x if i + 1 < steps else mean))
    return torch.stack(told).double(), ends


def replay(key: str, class_name: str, steps: int, options: dict, config: dict, double: bool):
    """The timesteps, and the results of all steps; `double` computes all of it in float64."""
    module, known = class_of(class_name)
    kind = torch.float64 if double else torch.float32
    shape = shape_of(options)
    made = lambda name, scale=1.0: stream.tensor(f"{name.replace('#', key)}", shape, scale).to(kind)
    draws = iter(range(10**6))
    noise = lambda *_, **__: made(f"noise:#:{next(draws)}")
    libraries = dict(np=Double(numpy, numpy.float64), torch=Double(torch, torch.float64)) if double else {}
    if class_name in CONTINUOUS:
        torch.set_default_dtype(kind)
    options = dict(options)
    with mock.patch.multiple(
        module, create=True, randn_tensor=noise, BrownianTreeNoiseSampler=lambda *_: Brownian(noise), **libraries
    ):
        scheduler = known(**config)
        if class_name.startswith("ScoreSde"):
            count = iter(range(10**6))

            def model(x, sigma):
                values = made(f"model:#:{next(count)}")
                return values + 0.25 * x if sigma is None else values / sigma - 0.8 * x / sigma**2

            start = made("x:#", 1.7) * getattr(scheduler, "init_noise_sigma", 1.0)
            told, ends = score_sde(scheduler, steps, start, model)
            torch.set_default_dtype(torch.float32)
            return told, ends
        if "tau" in options:
            tau = options.pop("tau")
            scheduler.tau_func = lambda t: tau if 200 <= t <= 800 else 0
        if "grid" in options:
            scheduler.set_timesteps(sigmas=AysSchedules[AYS[options.pop("grid")] + "Sigmas"])
        elif listed := [name for name in ("timesteps", "sigmas") if name in options]:
            scheduler.set_timesteps(**{name: options.pop(name) for name in listed})
        else:
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
    torch.set_default_dtype(torch.float32)
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
    if shape_of(options) != SHAPE:
        case["shape"] = shape_of(options)
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


def class_of(name: str):
    sys.modules.setdefault("torchsde", mock.MagicMock())  # its tree is replaced by made-up noise
    module = importlib.import_module(MODULES.get(name) or getattr(diffusers, name).__module__)
    return module, getattr(module, name)


def make() -> None:
    (fixture.FOLDER / "solvers").mkdir(exist_ok=True)
    # What each class writes of itself.
    configs = {name: class_of(name)[1]().to_json_string() for name, _ in SAMPLERS.values()}
    fixture.write("scheduler_configs.json", configs)
    for sampler, (class_name, cases) in SAMPLERS.items():
        assert len({case[0] for case in cases}) == len(cases)
        content = [run(sampler, class_name, *case) for case in cases]
        fixture.write(f"solvers/{sampler}.json", {"class": class_name, "shape": SHAPE, "cases": content})
