"""Networks of ``transformers`` built from a folder's own files: no name is looked up, nothing is fetched or run."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from videodiff import reasons
from videodiff.networks.frozen import state_sha256
from videodiff.say import counted
from videodiff.usage import UsageError
from videodiff.weights import load_tensors

from .encoder import Tokens, filled_up
from .folder import Kind

TIED = {"encoder.embed_tokens.weight": "shared.weight"}  # T5 stores one of the two, or both
RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # BERT's first release
PROBE = (
    "A naïve PROBE of 42 — über, isn't it?"  # names how a tokenizer splits, which its vocabulary leaves open
)


def transformers() -> ModuleType:
    """The package, which only these classes need.

    Raises:
        UsageError: in one line, if it is not installed.
    """
    try:
        found = importlib.import_module("transformers")
    except ImportError as error:
        raise UsageError(
            "text encoders of a folder need the package transformers: pip install 'videodiff[text]' "
            "(videodiff.text.WordEncoder needs nothing)"
        ) from error
    found.logging.set_verbosity_error()  # what matters is said here
    return found


def built(kind: Kind, config: Mapping[str, Any], path: Path) -> nn.Module:
    """The network that a config describes, with random weights.

    Raises:
        ValueError: in one line, for a config that describes none.
    """
    package = transformers()
    try:
        settings = getattr(package, kind.config).from_dict(dict(config))
        settings.is_decoder = False
        return getattr(package, kind.model)(settings, **dict(kind.options))
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        AssertionError,
        ZeroDivisionError,
    ) as error:
        raise ValueError(f"{path} is no config of a {kind.name} network: {reasons.reason(error)}") from error


def common_name(name: str, kind: Kind) -> str:
    """A name of a weight as all versions of the library and all folders have it in common."""
    name = name.removeprefix(kind.prefix)
    for old, new in RENAMED.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return TIED.get(name, name)


def named_weights(network: nn.Module, kind: Kind) -> dict[str, Tensor]:
    """A network's weights by their common names."""
    return {common_name(name, kind): value for name, value in network.state_dict().items()}


def fill(network: nn.Module, files: Sequence[Path], kind: Kind, folder: Path) -> None:
    """Put the weights of a folder's files into its network, as fp32.

    Raises:
        ValueError: in one line, for damaged files, and weights that are not those of the config.
    """
    own, seen = named_weights(network, kind), set()
    for file in files:
        for stored, value in load_tensors(file).items():
            name = common_name(stored, kind)
            if stored.startswith(kind.left_out) or name.startswith(kind.left_out):
                continue
            if name not in own:
                raise ValueError(
                    f"{folder}: {file.name} holds {stored}, which a network of its config does not have"
                )
            if value.shape != own[name].shape:
                raise ValueError(
                    f"{folder}: {stored} is {list(value.shape)}, and its config says {list(own[name].shape)}"
                )
            with torch.no_grad():
                own[name].copy_(value)
            seen.add(name)
    if missing := [name for name in own if name not in seen]:
        raise ValueError(
            f"{folder}: its weights lack {counted(len(missing), 'tensor')}, the first is {missing[0]}"
        )
    if bad := next((name for name, value in own.items() if not bool(value.isfinite().all())), None):
        raise ValueError(f"{folder}: {bad} is not finite")


def digest_of(network: nn.Module, kind: Kind, words: Words | None = None) -> bytes:
    """SHA-256 of all that an encoder's vectors depend on: :func:`state_of`."""
    return state_sha256(state_of(network, kind, words))


def state_of(network: nn.Module, kind: Kind, words: Words | None = None) -> dict[str, Tensor]:
    """All that an encoder's vectors depend on: weights, settings without a weight, tokenizer."""
    config: Any = network.config
    settings = bytes_of({name: getattr(config, name, None) for name in kind.settings})
    beside = (
        {"settings": settings} if words is None else {"settings": settings, "tokenizer": words.as_bytes()}
    )
    return {**named_weights(network, kind), **beside}


def bytes_of(value: Any) -> Tensor:
    """Plain data as uint8 ``[32]``, the same for the same."""
    text = json.dumps(value, sort_keys=True)
    return torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8)


class Words:
    """The tokenizer of a folder.

    Args:
        folder: with its files.
        network: the encoder, whose kind tells that of a tokenizer which does not say.

    Raises:
        ValueError: in one line, for files that are damaged, or of another network.
    """

    def __init__(self, folder: Path, network: Any) -> None:
        package = transformers()
        try:
            self.tokenizer = package.AutoTokenizer.from_pretrained(
                str(folder), config=network.config, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # parsers fail in as many ways as there are damaged files
            raise ValueError(
                f"{folder} holds no tokenizer that can be read: {reasons.reason(error)}"
            ) from error
        size = network.get_input_embeddings().weight.shape[0]
        if (largest := max(self.tokenizer.get_vocab().values(), default=-1)) >= size:
            raise ValueError(
                f"the tokenizer of {folder} has {largest + 1} tokens and the text encoder {size}: they are not of one "
                "model"
            )
        self.padding = self.tokenizer.pad_token_id or 0

    @property
    def max_tokens(self) -> int:
        """The most that it says a text should have; a huge number if it says nothing."""
        return self.tokenizer.model_max_length

    def numbers(self, text: str, most: int | None = None) -> list[int]:
        """The tokens of a text with the first and last that its kind has; one cut to ``most`` keeps those."""
        cut = {} if most is None else {"truncation": True, "max_length": most}
        return self.tokenizer(text, verbose=False, **cut)["input_ids"] or [self.padding]

    def tokens(self, texts: Sequence[str], most: int | None = None) -> Tokens:
        """Texts as numbers, each cut to ``most``."""
        return filled_up([self.numbers(text, most) for text in texts], self.padding)

    def as_bytes(self) -> Tensor:
        """What it makes of texts, as bytes, for a hash."""
        return bytes_of([sorted(self.tokenizer.get_vocab().items()), self.numbers(PROBE)])
