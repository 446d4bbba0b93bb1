"""Finds the network in a published file: its prefix, averaged or not, and the other keys that may be there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Beside those that mean nothing anywhere in a name (videodiff.weights.wrappers).
WRAPPER = re.compile(
    r"(state_dict|model_state_dict|model|module|net|network|ema|ema_model|online_model|model_ema|diffusion_model"
    r"|diffusion|first_stage_model|autoencoder|vae|unet|denoiser|denoise_fn|state_dict_ema)\."
)
AVERAGES = ("ema", "ema_model", "state_dict_ema")
# Names beside the network that projects are known to save, and why they are not wanted.
KNOWN = (
    (r"optimizer_states|optimizer|opt|opt_state|optimizers", "state of an optimizer"),
    (
        r"lr_schedulers|scheduler|scaler|loops|callbacks|native_amp_scaling_state|hparams|hyper_parameters",
        "training",
    ),
    (
        r"(.*\.)?loss\..*|(.*\.)?(perceptual_loss|discriminator|lpips)\..*",
        "losses and discriminators of training",
    ),
    (r"(.*\.)?cond_stage_model\..*", "another network of the file (conditioning)"),
    (
        r"(.*\.)?(betas|alphas_cumprod|alphas_cumprod_prev|sqrt_alphas_cumprod|sqrt_one_minus_alphas_cumprod"
        r"|log_one_minus_alphas_cumprod|sqrt_recip_alphas_cumprod|sqrt_recipm1_alphas_cumprod|posterior_variance"
        r"|posterior_log_variance_clipped|posterior_mean_coef1|posterior_mean_coef2|lvlb_weights|p2_loss_weight"
        r"|logvar)",
        "table of the noise schedule, computed anew",
    ),
    (r"(.*\.)?model_ema\.(decay|num_updates)", "counter of the average"),
    (r"(.*\.)?(scale_factor|shift_factor)", "scale of latents, kept by the autoencoder"),
    (r"(.*\.)?(step|epoch|global_step|iteration|initted|n_averaged)", "counter of training"),
)


def flatten(content: Mapping[str, Any], name: str = "") -> dict[str, Tensor]:
    """Tensors of nested mappings by dotted name."""
    found: dict[str, Tensor] = {}
    for key, value in content.items():
        place = f"{name}.{key}" if name else str(key)
        if isinstance(value, Tensor):
            found[place] = value.detach()
        elif isinstance(value, Mapping):
            found |= flatten(value, place)
    return found


def wrapped(prefix: str) -> bool:
    """Whether a prefix is made of the wrappers that projects put around a network, and nothing else."""
    while prefix:
        match = WRAPPER.match(prefix)
        if match is None:
            return False
        prefix = prefix[match.end() :]
    return True


def is_average(prefix: str) -> bool:
    """Whether names below a prefix are those of a moving average kept as a copy of the network."""
    return any(part in AVERAGES for part in prefix.split("."))


def prefixes(names: Mapping[str, Any], anchor: str) -> list[str]:
    """Prefixes made of wrappers below which a network with such a key lies, shortest first."""
    return [p for p in all_prefixes(names, anchor) if wrapped(p)]


def all_prefixes(names: Mapping[str, Any], anchor: str) -> list[str]:
    """Prefixes of any kind below which there is such a key, shortest first."""
    found = {name[: -len(anchor)] for name in names if name == anchor or name.endswith("." + anchor)}
    return sorted(found, key=lambda p: (len(p), p))


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors under a prefix, by what follows it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def flat_average(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, str]:
    """For a network below ``...model.``, the average that Lightning projects keep beside it, its names without dots.

    ``state_dict.model.diffusion_model.out.0.weight`` is averaged in ``state_dict.model_ema.diffusion_modelout0weight``
    (``LitEma`` of latent diffusion).

    Returns:
        Name of the raw weight -> name of its average; empty if there is none.
    """
    pairs = {}
    for at in (m.start() for m in re.finditer(r"(?:^|(?<=\.))model\.", prefix)):
        outer, inner = prefix[:at], prefix[at + len("model.") :]
        for name in tensors:
            if name.startswith(prefix):
                short = f"{outer}model_ema.{(inner + name[len(prefix) :]).replace('.', '')}"
                if short in tensors:
                    pairs[name] = short
    return pairs


def known_reason(name: str) -> str | None:
    """Why a key beside the network is ignored; None for an unknown key."""
    first = name.split(".")[0]
    for pattern, reason in KNOWN:
        if re.fullmatch(pattern, name) or re.fullmatch(pattern, first):
            return reason
    return None
