"""Loss terms of an autoencoder beside pixels: perceptual, adversarial on patches, and their balance.

Esser et al. 2021 (taming-transformers, eq. 5 to 7) and Yu et al. 2023 (PVDM), as their published code has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def hinge(real: Tensor, rebuilt: Tensor) -> Tensor:
    """The discriminator's loss, a scalar: half of mean relu(1 - D(x)) + mean relu(1 + D(x'))."""
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + rebuilt.float()).mean())


def feature_matching(real: Sequence[Tensor], rebuilt: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of every layer's features but the logits, summed over layers (Wang et al. 2018, eq. 4).

    Args:
        real: a discriminator's features of the originals, logits last; no gradient flows into them.
        rebuilt: the same of the reconstructions.
    """
    pairs = zip(real[:-1], rebuilt[:-1], strict=True)
    return torch.stack([F.l1_loss(b.float(), a.detach().float()) for a, b in pairs]).sum()


def frozen(module: nn.Module, x: Tensor) -> list[Tensor]:
    """``module(x)`` with gradients to ``x`` and none to the module, whose running statistics stay as they are too."""
    state = {name: p.detach() for name, p in module.named_parameters()}
    state |= {name: b.clone() for name, b in module.named_buffers()}
    return torch.func.functional_call(module, state, (x,))


def balance(reconstruction: Tensor, adversarial: Tensor, layer: Tensor, maximum: float = 1e4) -> Tensor:
    """Ratio of two losses' gradient norms at the last layer (Esser et al. 2021, eq. 7), a scalar without gradient.

    Gradients are averaged over processes before their norms are taken, so that the ratio is that of the global batch.
    A ratio that is not a number is 0.

    Args:
        reconstruction: scalar loss, the numerator.
        adversarial: scalar loss.
        layer: the decoder's last weight.
        maximum: largest ratio.
    """
    losses = (reconstruction, adversarial)
    grads = torch.stack([torch.autograd.grad(loss, layer, retain_graph=True)[0].float() for loss in losses])
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(grads)
        grads /= torch.distributed.get_world_size()
    above, below = grads.flatten(1).norm(dim=1)
    return torch.nan_to_num(above / (below + 1e-4), nan=0.0, posinf=maximum).clamp(0, maximum).detach()


def all_frames(video: Tensor) -> Tensor:
    """``[B, 3, T, H, W]`` -> ``[B T, 3, H, W]``."""
    return video.transpose(1, 2).flatten(0, 1)


def one_frame_each(video: Tensor, chosen: Tensor) -> Tensor:
    """The frame ``chosen [B]`` (numbers in [0, 1) of the clip's length) of each clip: ``[B, 3, H, W]``."""
    index = (chosen * video.shape[2]).long()
    return video[torch.arange(len(video), device=video.device), :, index]
