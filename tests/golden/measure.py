"""Losses, norms of gradients and clips of tiny models: ``python tests/golden/measure.py OUT.npz [NAME...]``.

Weights, batches and requests are functions of names and numbers alone, so two versions of the code can be asked for the
same values. ``scripts/golden.py`` does, bit by bit; ``test_golden.py`` compares with values that are kept.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent))

from golden import adapter
from videodiff.seeding import normals, uniforms

POSITIONS = (0, 5, 11)
LONG = {"vdm": 7, "dit": 7, "lvdm": 18, "pvdm": 10}
ON_PIXELS = ("vdm", "dit")
TOLD = ("a three moves to the west", "", "two balls")
IS_FIRST_STAGE = "_autoencoder"


def sections() -> dict[str, dict[str, Any]]:
    """The ``model`` sections of ``models.yaml`` by name, each whole."""
    written = yaml.safe_load(Path(__file__).with_name("models.yaml").read_text())
    whole: dict[str, dict[str, Any]] = {}
    for name, section in written.items():
        if "like" in section:
            base = whole[section.pop("like")]
            section = {**base, "init_args": {**base["init_args"], **section}}
        whole[name] = section
    return whole


def built(name: str) -> Any:
    """A model whose weights depend on their names alone, so that every input matters."""
    model = adapter.build(sections()[name])
    with torch.no_grad():
        for key, weight in model.named_parameters():
            key = re.sub(r"^conditioners\.[^.]+", "conditioners", key)  # whichever of them it is
            noise = normals([("golden", key)], tuple(weight.shape))[0]
            if weight.ndim > 1:
                weight.copy_(0.8 * noise / max(weight[0].numel(), 1) ** 0.5)
            else:
                weight.copy_(0.1 * noise + float("norm" in key and key.endswith("weight")))
    return model.eval()


def video(frames: int, side: int, count: int = len(POSITIONS)) -> torch.Tensor:
    """Clips ``[count, 3, frames, side, side]`` in [-1, 1]."""
    return normals([("golden video", p) for p in range(count)], (3, frames, side, side)).tanh()


def batch_of(model: Any, name: str, images: int = 0) -> dict[str, Any]:
    """A training batch as the data would give it."""
    frames = {"vdm": 4, "dit": 4, "lvdm": 34, "pvdm": 8}[name.split("_")[0]]
    if name.endswith(IS_FIRST_STAGE):
        frames = model.video_shape[1]
    elif name.startswith(ON_PIXELS):
        frames = model.net.num_frames
    elif name.startswith("pvdm"):
        frames = adapter.pair_frames(model)
    batch = {"video": video(frames + images, model.video_shape[-1]), "sample": torch.tensor(POSITIONS)}
    batch |= {"num_images": images, "label": torch.tensor([0, 2, 1])}
    if name.endswith("_text"):
        batch |= {"caption": list(TOLD), "image_captions": [list(TOLD[:images]) for _ in TOLD]}
    return batch


def training(model: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Losses of both splits and the norm of the gradient of every weight."""
    batches = {"clips": batch_of(model, name)}
    if name in ("vdm", "dit", "dit_text"):
        batches["images"] = batch_of(model, name, images=2)
    elif not name.startswith(ON_PIXELS) and not name.endswith(IS_FIRST_STAGE):
        kept = adapter.keep(model, batches["clips"]["video"])
        yield "latents", kept
        batches["kept"] = {**{k: v for k, v in batches["clips"].items() if k != "video"}, "latent": kept}
    for kind, batch in batches.items():
        if not name.endswith(IS_FIRST_STAGE):  # whose loss asks for gradients
            with torch.no_grad():
                yield f"{kind}/val", adapter.losses(model, batch, "val")
        model.zero_grad()
        loss = adapter.losses(model, batch, "train")
        yield f"{kind}/train", loss.detach()
        loss.mean().backward()
        norms = [p.grad.double().norm() for _, p in sorted(model.named_parameters()) if p.grad is not None]
        yield f"{kind}/gradients", torch.stack(norms)
    if name.endswith(IS_FIRST_STAGE):
        yield "rebuilt", model.rebuild(batches["clips"]["video"])


def drawing(model: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Clips, long video, known frames, classes: whatever the model can be asked."""
    family, clip, side = name.split("_")[0], model.video_shape[1], model.video_shape[-1]
    told = {"label": torch.tensor([2, -1])} | ({"prompt": TOLD[:2]} if name.endswith("_text") else {})
    if name == "lvdm_keys":
        model = adapter.with_interpolator(model, built("lvdm_gaps"))
    yield "clip/class", adapter.draw(model, 2, clip, told)
    yield "clip/unguided", adapter.draw(model, 2, clip, told, guidance_scale=1.0)
    if name in ("vdm_single", "lvdm_plain", "pvdm_alone"):
        return
    frames = LONG[family]
    if name != "lvdm_gaps":
        whole, resumed = adapter.draw_in_parts(model, 2, frames, told, stop=1)
        yield "long", whole
        yield "long/resumed", resumed
    one = video(frames, side, 2)
    places = {
        "vdm": [(0, 1), (0, 3)],
        "dit": [(0, 1), (0, 3)],
        "lvdm": [(0, 1), (0, 1, 8, 9)],
        "pvdm": [(0, 1, 2, 3)],
    }[family]
    if name in ("lvdm_keys", "lvdm_gaps"):
        places = places[1:] if name == "lvdm_gaps" else []
    for known in places:
        asked = {"frames": one[:, :, list(known)], "positions": known, **told}
        length = 2 * clip if family == "pvdm" else clip
        yield f"known {','.join(map(str, known))}", adapter.draw(model, 2, length, asked)
    if name == "vdm_ancestral":
        asked = {"low_resolution": one[:, :, :6, :4, :4]}
        yield "low resolution", adapter.draw(model, 2, 6, asked)


def measured(names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Everything that is compared, by name; only of some models if they are named."""
    values = {}
    for name in names or sections():
        print("measuring", name, file=sys.stderr, flush=True)
        model = built(name)
        for key, value in training(model, name):
            values[f"{name}/{key}"] = value.detach().cpu().numpy()
        if not name.endswith(IS_FIRST_STAGE):
            with torch.no_grad():
                for key, value in drawing(model, name):
                    values[f"{name}/{key}"] = value.cpu().numpy()
    coins = uniforms([("golden", p) for p in range(4)])
    return {**values, "seeding/uniforms": coins.numpy()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.savez(sys.argv[1], **measured(tuple(sys.argv[2:])))
