"""dit.json: small DiTTransformer2DModels, one idea each, with the value stream's weights and inputs."""

import torch
from diffusers import DiTTransformer2DModel

import fixture
import stream

BASE = dict(num_attention_heads=2, attention_head_dim=6, num_layers=2, sample_size=4, num_embeds_ada_norm=5, size=4)


def case(name, timesteps=(250,), labels=(3,), full=False, **config):
    config = {**BASE, **config}
    return dict(name=name, timesteps=list(timesteps), labels=list(labels), full=full, size=config.pop("size"), config=config)


CASES = [
    case("base", full=True, timesteps=[10, 750], labels=[0, 5]),  # the second label stands for none
    case("learned_variance", out_channels=8, labels=[4]),
    case("gelu", activation_fn="gelu", num_attention_heads=1, attention_head_dim=12),
    case("geglu", activation_fn="geglu"),
    case("no_bias", attention_bias=False, num_attention_heads=3, attention_head_dim=4),
    case("affine_norm", norm_elementwise_affine=True, norm_eps=0.1),
    case("eps_big", norm_eps=0.1),
    case("patch_1", patch_size=1, in_channels=3),
    case("patch_4", patch_size=4, sample_size=8, size=8),
    case("larger", size=8),  # positions are stretched to the trained size
    case("smaller", sample_size=10, size=6, timesteps=[999]),
    case("one_layer", num_layers=1, num_embeds_ada_norm=1, labels=[1], timesteps=[0]),
]


def run(case: dict) -> dict:
    model = DiTTransformer2DModel(**case["config"]).eval()
    stream.fill(model)
    config, name, batch = case["config"], case["name"], len(case["timesteps"])
    if case["full"]:
        config = {k: v for k, v in model.config.items() if not k.startswith("_")}
    x = stream.tensor(f"input:{name}", [batch, model.config.in_channels, case["size"], case["size"]], 1.5)
    with torch.no_grad():
        output = model(x, torch.tensor(case["timesteps"]), torch.tensor(case["labels"])).sample
    kept = {k: case[k] for k in ["name", "timesteps", "labels"]}
    return dict(**kept, config=config, sample_shape=list(x.shape), keys=stream.digest(model), output=output)


def make() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    fixture.write("networks/dit.json", dict(cases=[run(case) for case in CASES]))
