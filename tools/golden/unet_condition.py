"""unet_condition.json: small UNet2DConditionModels, one idea each, with the value stream's weights and inputs."""

import torch
from diffusers import UNet2DConditionModel
from diffusers.pipelines.latent_consistency_models import LatentConsistencyModelPipeline

import fixture
import stream

CA, D, UA, U = "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"
SMALL = dict(
    block_out_channels=[8, 16],
    layers_per_block=1,
    down_block_types=[CA, D],
    up_block_types=[U, UA],
    norm_num_groups=4,
    attention_head_dim=2,
    cross_attention_dim=12,
    size=[4, 4],
)
BOTH = dict(down_block_types=[CA, CA], up_block_types=[UA, UA])
FOUR = dict(
    block_out_channels=[8, 16, 24, 24],
    layers_per_block=2,
    down_block_types=[CA, CA, CA, D],
    up_block_types=[U, UA, UA, UA],
    norm_num_groups=4,
    cross_attention_dim=12,
    size=[8, 8],
)
THREE = dict(
    block_out_channels=[8, 16, 24],
    down_block_types=[D, CA, CA],
    up_block_types=[UA, UA, U],
    norm_num_groups=4,
    attention_head_dim=[1, 2, 3],
    cross_attention_dim=12,
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=6,
    projection_class_embeddings_input_dim=46,
    size=[8, 8],
    pooled=10,
    time_ids=[1024, 768, 0, 16, 1024, 768],
)
NESTED = dict(
    layers_per_block=2,
    transformer_layers_per_block=[1, [2, 1], [1, 2]],
    reverse_transformer_layers_per_block=[[2, 1, 1], [1, 2, 1], 1],
)


def case(name, base=SMALL, timesteps=(250,), tokens=5, full=False, scaled=None, **config):
    """A case. `full` stores every key of the config; else the rest is absent, and Python's defaults must apply."""
    config = {**base, **config}
    own = {key: config.pop(key, None) for key in ["size", "pooled", "time_ids", "labels", "guidance_scale"]}
    return dict(name=name, timesteps=list(timesteps), tokens=tokens, full=full, scaled=scaled, config=config, **own)


CASES = [
    # Whole configurations
    case("sd1", base=FOUR, attention_head_dim=4, full=True, timesteps=[10, 750]),
    case("sd2", base=FOUR, attention_head_dim=[1, 2, 3, 3], use_linear_projection=True, upcast_attention=True, full=True),
    case("inpainting", base=FOUR, attention_head_dim=4, in_channels=9, layers_per_block=1),
    case("lcm", base=FOUR, attention_head_dim=4, layers_per_block=1, time_cond_proj_dim=16, guidance_scale=8.5),
    case("turbo", base=FOUR, attention_head_dim=[1, 2, 4, 4], layers_per_block=1, use_linear_projection=True, timesteps=[999.0], size=[8, 16]),
    case("sdxl", base=THREE, layers_per_block=2, transformer_layers_per_block=[1, 2, 3], full=True, timesteps=[3, 981]),
    case("ssd_1b", base=THREE, mid_block_type="UNetMidBlock2D", full=True, **NESTED),
    case("nested_with_middle", base=THREE, **NESTED),
    case("tiny_sd", base=FOUR, block_out_channels=[8, 16, 24], down_block_types=[CA] * 3, up_block_types=[UA] * 3,
         layers_per_block=1, attention_head_dim=4, mid_block_type=None),
    case("small_sd", base=FOUR, layers_per_block=1, attention_head_dim=8),
    case("defaults", base={}, block_out_channels=[32, 32], down_block_types=[CA, D], up_block_types=[U, UA],
         size=[2, 4], cross_attention_dim=8),
    # Attention
    case("heads_do_not_divide", attention_head_dim=3, **BOTH),
    case("heads_do_not_divide_linear", attention_head_dim=5, use_linear_projection=True, **BOTH),
    case("a_head_a_channel", attention_head_dim=[8, 16], **BOTH),
    case("one_head", attention_head_dim=1, **BOTH),
    case("only_cross", only_cross_attention=True, **BOTH),
    case("only_cross_list", only_cross_attention=[True, False], **BOTH),
    case("depths", transformer_layers_per_block=[2, 3], **BOTH),
    case("depths_reversed_by_hand", transformer_layers_per_block=[1, 2], reverse_transformer_layers_per_block=[1, 3], **BOTH),
    case("widths_listed", cross_attention_dim=[12, 12], **BOTH),
    case("encoder_hid", encoder_hid_dim=7, **BOTH),
    case("one_token", tokens=1, **BOTH),
    case("little_variance", scaled={"conv_in.": -10, ".conv2.": -10, "conv_shortcut.": -3}, norm_eps=1e-12),
    case("no_attention", down_block_types=[D, D], up_block_types=[U, U]),
    case("plain_middle", mid_block_type="UNetMidBlock2D"),
    # Classes
    case("class_table", timesteps=[400, 400], labels=[2, 0], num_class_embeds=3),
    case("class_timestep", timesteps=[400, 7], labels=[2, 900], class_embed_type="timestep", act_fn="gelu"),
    case("class_identity", timesteps=[400, 7], labels=32, class_embed_type="identity"),
    case("class_projection", labels=6, class_embed_type="projection", projection_class_embeddings_input_dim=6, act_fn="relu"),
    case("class_simple", labels=6, class_embed_type="simple_projection", projection_class_embeddings_input_dim=6),
    case("class_concat", labels=[31], class_embed_type="timestep", class_embeddings_concat=True),
    case("class_concat_scale_shift", labels=[1], num_class_embeds=2, class_embeddings_concat=True, resnet_time_scale_shift="scale_shift"),
    # Time
    case("sin_first_shift_1", flip_sin_to_cos=False, freq_shift=1, timesteps=[999, 17]),
    case("sdxl_sin_first", base=THREE, layers_per_block=1, flip_sin_to_cos=False, freq_shift=1),
    case("float_timesteps", timesteps=[124.875, 888.0]),
    case("time_embedding_dim", time_embedding_dim=20),
    case("more_activations", timestep_post_act="gelu", time_embedding_act_fn="mish"),
    case("lcm_odd", time_cond_proj_dim=7, guidance_scale=1.5),
    # Blocks
    case("scale_shift", resnet_time_scale_shift="scale_shift"),
    case("eps_big", norm_eps=0.1),
    case("mid_scale", mid_block_scale_factor=1.7),
    case("kernels", conv_in_kernel=5, conv_out_kernel=1),
    case("pad_0", downsample_padding=0),
    case("gelu", act_fn="gelu"),
    case("mish", act_fn="mish"),
    case("center", center_input_sample=True),
    case("layers_listed", layers_per_block=[1, 3], **BOTH),
    # Sizes
    case("odd_size", base=FOUR, attention_head_dim=4, layers_per_block=1, size=[9, 13]),
    case("odd_size_pad_0", downsample_padding=0, size=[5, 7]),
    case("one_pixel", size=[1, 1]),
    case("one_level", block_out_channels=[8], down_block_types=[CA], up_block_types=[UA]),
]


def labels_of(case, model):
    labels = case["labels"]
    if isinstance(labels, int):
        return stream.tensor(f"labels:{case['name']}", [len(case["timesteps"]), labels])
    if labels is None:
        return None
    return torch.tensor(labels, dtype=torch.int64)


def run(case: dict) -> dict:
    model = UNet2DConditionModel(**case["config"]).eval()
    stream.fill(model, case["scaled"])
    config = case["config"]
    if case["full"]:
        config = {k: v for k, v in model.config.items() if not k.startswith("_")}
    name, batch = case["name"], len(case["timesteps"])
    width = case["config"].get("encoder_hid_dim") or case["config"]["cross_attention_dim"]
    width = width[0] if isinstance(width, list) else width
    x = stream.tensor(f"input:{name}", [batch, model.config.in_channels, *case["size"]], 1.5)
    text = stream.tensor(f"text:{name}", [batch, case["tokens"], width], 1.5)
    whole = all(isinstance(t, int) for t in case["timesteps"])
    t = torch.tensor(case["timesteps"], dtype=torch.int64 if whole else torch.float32)
    options = dict(class_labels=labels_of(case, model))
    if case["pooled"]:
        pooled = stream.tensor(f"pooled:{name}", [batch, case["pooled"]], 1.5)
        options["added_cond_kwargs"] = dict(text_embeds=pooled, time_ids=torch.tensor([case["time_ids"]] * batch))
    if case["guidance_scale"]:
        w = torch.tensor(case["guidance_scale"] - 1).repeat(batch)
        embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
        options["timestep_cond"] = embed(None, w, embedding_dim=model.config.time_cond_proj_dim)
    with torch.no_grad():
        output = model(x, t, text, **options).sample
    kept = {k: case[k] for k in ["name", "timesteps", "tokens", "labels", "pooled", "time_ids", "guidance_scale", "scaled"] if case[k] is not None}
    return dict(**kept, config=config, sample_shape=list(x.shape), keys=stream.digest(model), output=output)


def make() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    fixture.write("networks/unet_condition.json", dict(cases=[run(case) for case in CASES]))
