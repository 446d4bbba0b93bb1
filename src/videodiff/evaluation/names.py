"""The file name of a result: how it was made, readable, and a hash of everything that affects it.

Two results share a name only if everything that shapes their numbers is the same: a measurement that is repeated
replaces its own record and no other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from videodiff.config.renamed import first_named
from videodiff.evaluation.results import Result

# Entries of a data fingerprint that shape the training stream and no clip that is measured.
TRAINING_ONLY = (
    "seed", "images_per_video", "random_crop", "latents", "num_train_clips", "captions", "held_out_words",
)  # fmt: skip
PLACES = ("root", "clip_list")  # where the videos of a listing lie
LONGEST_WORD = 40


def record_name(result: Result) -> str:
    """Name of a result's file, without a suffix: ``evaluator_n64_step4000_ddim50_seed0_1f3a9c2e07``.

    In it: the protocol with the count, the step of the weights, sampler and steps, the guidance scale where there is
    guidance (or the folder of clips that were there already), the seed, and the hash of :func:`made_with`.
    """
    model = result.model
    words = [result.name]
    if model.get("step") is not None:
        words.append(f"step{model['step']}")
    if model.get("sampler"):
        words.append(sampler_word(model))
    if model.get("guidance") not in (None, 1):
        words.append(f"guidance{model['guidance']:g}")
    if model.get("generated"):
        words.append(path_word(model["generated"]))
    return "_".join([*words, f"seed{result.seed}", digest_of(made_with(result))])


def made_with(result: Result) -> dict[str, Any]:
    """Everything that shapes the numbers of a result, and which numbers they are.

    Left out: names that say the same twice, and where files lie that their content identifies.
    """
    model = {k: v for k, v in result.model.items() if k not in ("checkpoint", "conditioned_on")}
    if "weights" in model:  # then the step says nothing more: RUN/best and RUN/last may be one
        model.pop("step", None)
    if "config" in model:
        model["config"] = first_named(model["config"])
    networks = {n: e["network_sha256"] for n, e in result.metrics.items() if "network_sha256" in e}
    return {
        **({"networks": networks} if networks else {}),
        "protocol": {k: v for k, v in result.protocol.items() if k not in ("name", "base")},
        "counts": [result.num_real, result.num_generated],
        "seed": result.seed,
        "detector": result.detector,
        "data": {k: v for k, v in result.data.items() if k not in (*TRAINING_ONLY, *PLACES)},
        "model": model,
        "metrics": sorted(result.metrics),
    }


def digest_of(facts: Mapping[str, Any]) -> str:
    """Ten hex digits that change with any of the facts."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:10]


def sampler_word(model: Mapping[str, Any]) -> str:
    """``ddim50``, ``ancestral100-gamma0.5``."""
    options = "".join(f"-{k}{model[k]:g}" for k in ("eta", "gamma", "delta") if model.get(k))
    name = model["sampler"].removesuffix("Sampler").lower() or "sampler"
    return f"{name}{model.get('steps', '')}{options}"


def path_word(path: str) -> str:
    """The telling end of a path in letters that any file system takes: ``runs/vdm/1/generate/2`` -> ``generate-2``."""
    last: list[str] = []
    for part in reversed(PurePath(path).parts):
        last.insert(0, part)
        if not (part.isdecimal() or PurePath(part).stem in ("best", "last", "checkpoints")):
            break
    word = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(last)).strip("-.")
    return word[-LONGEST_WORD:] or "clips"
