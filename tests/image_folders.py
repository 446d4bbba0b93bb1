"""Folders of a small image autoencoder as diffusers writes them."""

import json

import torch
from safetensors.torch import save_file

from videodiff.networks import AutoencoderKL

SIZES = {
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
}
CONFIG = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.30.0",
    "act_fn": "silu",
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "in_channels": 3,
    "out_channels": 3,
    "sample_size": 16,
    "scaling_factor": 0.5,
    **SIZES,
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def small(seed=0, **options):
    """The autoencoder of the folder, its weights by a seed."""
    torch.manual_seed(seed)
    return AutoencoderKL(**SIZES, resolution=16, scaling_factor=0.5, **options).eval()


def write_folder(folder, seed=0, half=False, shards=1, without=(), **changes):
    """Write a folder; ``without`` names settings that its config lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in (CONFIG | changes).items() if key not in without}
    (folder / "config.json").write_text(json.dumps(config))
    state = small(seed).state_dict()
    state = {name: (value.half() if half else value).contiguous() for name, value in state.items()}
    variant = ".fp16" if half else ""
    if shards == 1:
        save_file(state, folder / WEIGHTS.replace(".safetensors", f"{variant}.safetensors"))
        return folder
    names = sorted(state)
    weight_map = {}
    for n in range(shards):
        file = f"diffusion_pytorch_model-{n + 1:05}-of-{shards:05}.safetensors"
        save_file({name: state[name] for name in names[n::shards]}, folder / file)
        weight_map |= dict.fromkeys(names[n::shards], file)
    (folder / f"{WEIGHTS}.index{variant}.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder
