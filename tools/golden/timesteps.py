"""timesteps.json: the lists that set_timesteps makes, the same for DDPM and DDIM."""

from diffusers import DDIMScheduler, DDPMScheduler

import fixture

STEPS = {
    1000: [1, 2, 7, 13, 50, 61, 103, 250, 999, 1000],
    100: [1, 3, 10, 13, 30, 64, 99, 100],
    20: [1, 3, 7, 19, 20],
    10: [1, 4, 10],
    1: [1],
}
CASES = [
    dict(spacing=spacing, T=T, N=N, offset=0)
    for spacing in ["leading", "linspace", "trailing"]
    for T, counts in STEPS.items()
    for N in counts
] + [
    dict(spacing=spacing, T=T, N=N, offset=offset)
    for spacing, T, N, offset in [
        ("leading", 1000, 1, 1),
        ("leading", 1000, 10, 1),
        ("leading", 1000, 50, 1),
        ("leading", 1000, 13, 40),
        ("leading", 100, 7, 2),
        ("linspace", 1000, 7, 1),  # only "leading" looks at the offset
        ("trailing", 1000, 7, 1),
    ]
]


def run(case: dict) -> dict:
    config = dict(num_train_timesteps=case["T"], timestep_spacing=case["spacing"], steps_offset=case["offset"])
    lists = []
    for scheduler in [DDPMScheduler(**config), DDIMScheduler(**config)]:
        scheduler.set_timesteps(case["N"])
        lists.append(scheduler.timesteps.tolist())
    assert lists[0] == lists[1]
    return dict(**case, timesteps=lists[0], extra=len(lists[0]) - case["N"])


def make() -> None:
    fixture.write("timesteps.json", dict(cases=[run(case) for case in CASES]))
