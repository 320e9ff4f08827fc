"""gradients.json: the gradient of a mean squared error with respect to every parameter, as two numbers each."""

import torch

import fixture
import stream
import unet

CASES = [case for case in unet.CASES if case["name"] in ("base", "adm")] + [
    unet.case(
        "learned_mish_pad_0",
        timesteps=[0, 11],
        time_embedding_type="learned",
        num_train_timesteps=12,
        act_fn="mish",
        downsample_padding=0,
        attention_head_dim=None,
        size=[4, 8],
    ),
    unet.case("fourier_gelu_center", timesteps=[0.75, 20.5], time_embedding_type="fourier", act_fn="gelu", center_input_sample=True, base=unet.SMALL),
]


def run(case: dict) -> dict:
    model, config, inputs = unet.build(case)
    output = model.train()(*inputs).sample
    loss = (output - stream.tensor(f"target:{case['name']}", output.shape)).square().mean()
    loss.backward()
    gradients = {}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:  # the Fourier frequencies are fixed
            gradient = parameter.grad.double().flatten()
            probe = torch.from_numpy(stream.u(f"probe:{key}", gradient.numel()))
            gradients[key] = torch.stack([gradient.norm(), gradient @ probe])
    return dict(
        name=case["name"],
        config=config,
        sample_shape=list(inputs[0].shape),
        timesteps=case["timesteps"],
        labels=case["labels"],
        output_shape=list(output.shape),
        loss=loss,
        gradients=gradients,
    )


def make() -> None:
    fixture.write("gradients.json", dict(cases=[run(case) for case in CASES]))
