"""clip_text.json: small CLIP text encoders, each with and without a projection, with the value stream's weights."""

import json

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import fixture
import stream

BASE = dict(
    vocab_size=20,
    hidden_size=12,
    intermediate_size=20,
    num_hidden_layers=3,
    num_attention_heads=2,
    max_position_embeddings=7,
    projection_dim=10,
    bos_token_id=18,
    eos_token_id=19,
    pad_token_id=19,
)


def case(name, ids, full=False, scaled=None, **config):
    return dict(name=name, ids=ids, full=full, scaled=scaled, config={**BASE, **config})


PROMPT = [18, 3, 7, 2, 19, 19, 19]
CASES = [
    case("quick_gelu", [PROMPT, [18, 19, 19, 19, 19, 19, 19]], full=True),
    case("gelu", [PROMPT], hidden_act="gelu", num_attention_heads=3),
    case("gelu_new", [PROMPT], hidden_act="gelu_new", num_attention_heads=1, projection_dim=16),
    case("old_end", [[18, 2, 19, 5, 19, 2, 2], [2, 1, 0, 3, 4, 5, 6]], eos_token_id=2, layer_norm_eps=0.1),
    case("new_end", [[18, 3, 17, 19, 17, 17, 17], [18, 3, 4, 5, 6, 7, 8]], eos_token_id=17),
    case("pad_0", [[18, 3, 19, 0, 0, 0, 0]], hidden_act="gelu", num_hidden_layers=1, pad_token_id=0),
    case("short", [[18, 5, 19]], hidden_size=8, num_attention_heads=8),
    case("little_variance", [PROMPT], scaled={"embedding.weight": -10, "out_proj.": -10, "fc2.": -10}),
]


def run(case: dict, projected: bool) -> dict:
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    model = kind(CLIPTextConfig(**case["config"])).eval()
    # transformers 5 has a prefix in one of the classes, 4 in both.
    name = lambda key: key.removeprefix("text_model.")
    stream.fill(model, case["scaled"], name)
    with torch.no_grad():
        found = model(torch.tensor(case["ids"]), output_hidden_states=True)
        norm = (model.text_model if projected else model).final_layer_norm
        skipped = norm(found.hidden_states[-2])
    # As `save_pretrained` writes it.
    config = json.loads(model.config.to_json_string()) if case["full"] else case["config"]
    kept = {k: case[k] for k in ["ids", "scaled"] if case[k] is not None}
    return dict(
        **kept,
        name=case["name"] + ("_projected" if projected else ""),
        kind=kind.__name__,
        config=config,
        keys=stream.digest(model, name),
        last=found.last_hidden_state,
        penultimate=found.hidden_states[-2],
        skipped=skipped,
        pooled=found.text_embeds if projected else found.pooler_output,
    )


def make() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    fixture.write("networks/clip_text.json", dict(cases=[run(case, projected) for case in CASES for projected in [False, True]]))
