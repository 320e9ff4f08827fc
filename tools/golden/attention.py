"""attention.json: where the words of a prompt act, for some of the runs of text_pipelines.json.

A word's map is the probability that cross-attention gives its tokens, added up over these and averaged over the heads and over all
attentions to the text, each enlarged to the latents' size by `interpolate(mode="nearest")`: what an attention processor sees that keeps
the probabilities, as those of Prompt-to-Prompt and DAAM do.
"""

import diffusers
import torch
import torch.nn.functional as F

import fixture
from text_pipelines import cases, generators

WANTED = ["sd1_negative", "sd1_several", "sd1_wide", "lcm", "xl_negative", "inpaint_weak"]


class Keeping(diffusers.models.attention_processor.AttnProcessor):
    """Diffusers' plain processor, which also notes the probabilities of attention to a text."""

    def __init__(self, found: list):
        self.found = found

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
        if encoder_hidden_states is not None:
            query = attn.head_to_batch_dim(attn.to_q(hidden_states))
            key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
            weights = attn.get_attention_scores(query, key)
            self.found.append(weights.unflatten(0, (-1, attn.heads)).mean(1))
        return super().__call__(attn, hidden_states, encoder_hidden_states, **kwargs)


def enlarged(weights: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`[rows, pixels, tokens]` of a level of the U as `[rows, tokens, height, width]`."""
    factor = next(f for f in (1, 2, 4, 8) if -(-height // f) * -(-width // f) == weights.shape[1])
    image = weights.transpose(1, 2).unflatten(2, (-(-height // factor), -(-width // factor)))
    return F.interpolate(image, size=(height, width), mode="nearest")


def places(tokenizer, prompt: str) -> dict[str, range]:
    """Where the tokens of each word are; the first stands for the text's start."""
    found, at = [], 1
    for word in prompt.split():
        count = len(tokenizer(word, add_special_tokens=False).input_ids)
        found.append((word, range(at, at + count)))
        at += count
    return found


def run(pipeline, arguments, seed) -> dict:
    pipeline.set_progress_bar_config(disable=True)
    found, steps = [], []
    pipeline.unet.set_attn_processor(Keeping(found))
    forward = pipeline.unet.forward

    def watched(sample, *args, **kwargs):
        found.clear()
        out = forward(sample, *args, **kwargs)
        height, width = sample.shape[-2:]
        steps.append(torch.stack([enlarged(weights, height, width) for weights in found]).mean(0))
        return out

    pipeline.unet.forward = watched
    with torch.no_grad():
        pipeline(**arguments, generator=generators(seed), output_type="latent")
    prompts = arguments["prompt"] if isinstance(arguments["prompt"], list) else [arguments["prompt"]]
    each = arguments.get("num_images_per_prompt", 1)
    words = [places(pipeline.tokenizer, prompt) for prompt in prompts for _ in range(each)]
    maps = []
    for step in steps:
        # What is wanted stands after what is not.
        wanted = step[-len(words) :]
        assert torch.allclose(wanted.sum(1), torch.ones(()), atol=1e-5)
        of_words = [torch.stack([row[list(tokens)].sum(0) for _, tokens in of]) for row, of in zip(wanted, words)]
        maps.append([dict(shape=list(each.shape), values=each) for each in of_words])
    return dict(words=[[word for word, _ in of] for of in words], steps=maps)


def make() -> None:
    diffusers.utils.logging.set_verbosity_error()
    found = [dict(name=name, **run(pipeline, arguments, seed)) for name, pipeline, arguments, seed in cases() if name in WANTED]
    assert len(found) == len(WANTED)
    fixture.write("attention.json", dict(cases=found))
