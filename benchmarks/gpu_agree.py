"""Every network against its own output and gradient on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from gpu_setting import Setting
from in_sections import Tell
from torch import Tensor, nn

from videodiff.metrics.features.frozen import exact_fp32
from videodiff.models import AutoencoderModule

BOUNDS = {"fp32": (1e-4, 1e-3), "bf16": (0.04, 0.2)}
"""Largest difference from fp32 on the CPU, over the CPU's own size: of outputs, of gradients.

bf16 has about twice what a CPU's own bf16 shows: 1.6 % of an output, 8 % of a gradient, where a leaky ReLU turns over.
"""


def awake(model: nn.Module) -> None:
    """Fill what begins at zero, behind which a wrong network would not be seen."""
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05, generator=source)


def parts_of(model: Any, size: int = 2) -> Iterator[tuple[str, nn.Module, Callable[..., Tensor], list[Any]]]:
    """Name, module, call and inputs of each network of a model, on the CPU."""
    source = torch.Generator().manual_seed(2)
    normal = partial(torch.randn, generator=source)
    video = normal(size, *model.video_shape).tanh()
    if isinstance(model, AutoencoderModule):
        latent = normal(size, *model.autoencoder.latent_shape(model.video_shape))
        yield "encode", model.autoencoder, lambda stage, x: stage.encode(x), [video]
        yield "decode", model.autoencoder, lambda stage, z: stage.decode(z), [latent]
        if model.frame_discriminator is not None:
            frames = video.transpose(1, 2).flatten(0, 1)
            yield "frame discriminator", model.frame_discriminator, lambda net, x: net(x)[-1], [frames]
        if model.clip_discriminator is not None:
            yield "clip discriminator", model.clip_discriminator, lambda net, x: net(x)[-1], [video]
        return
    shape = tuple(model.latents.network_shape(model.latents.clip_units))
    one = model.network.example_condition(shape[1:], "cpu")
    cond = one.map(lambda value: (normal(size, *value.shape[1:])).to(value.dtype))
    yield (
        "net",
        model.net,
        lambda net, z, t, c: net(z, t, c),
        [normal(size, *shape), torch.tensor([3.0, 700.0]), cond],
    )


def output_and_gradient(module: nn.Module, call: Callable[..., Tensor], inputs: list[Any]) -> list[Tensor]:
    """The output, and the gradient of its product with fixed numbers at all weights, fp64 on the CPU."""
    module.zero_grad()
    output = call(module, *inputs)
    fixed = torch.linspace(-1, 1, output.numel()).view(output.shape)
    (output.float() * fixed.to(output.device)).sum().backward()
    gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    return [value.detach().double().cpu() for value in (output, torch.cat(gradients))]


def agree(setting: Setting, configs: tuple[str, ...], tell: Tell) -> None:
    """Relative differences of every network's output and gradient from fp32 on the CPU."""
    model = setting.build(setting.config(configs), "cpu").eval().requires_grad_(True)
    awake(model)
    for name, module, call, inputs in parts_of(model):
        with exact_fp32("cpu"):
            truth = output_and_gradient(module, call, inputs)
        here = copy.deepcopy(module).to(setting.device)
        moved = [value.to(setting.device) for value in inputs]
        found = {}
        for precision in BOUNDS:
            region = exact_fp32(setting.device) if precision == "fp32" else setting.autocast("bf16-mixed")
            with region:
                values = output_and_gradient(here, call, moved)
            errors = [((a - b).norm() / b.norm()).item() for a, b in zip(values, truth, strict=True)]
            holds = all(error <= bound for error, bound in zip(errors, BOUNDS[precision], strict=True))
            found[precision] = {"output": errors[0], "gradient": errors[1], "holds": holds}
        tell({name: found})
