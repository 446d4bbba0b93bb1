"""TransformersEncoder: a published text encoder out of a folder, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videodiff.networks.embeddings import without_autocast
from videodiff.networks.frozen import Frozen

from .encoder import TextEncoder, Tokens, check_texts, filled_up
from .folder import CONFIG, OPTION, TEXT_ENCODERS, read_network_folder, tokenizer_folder
from .pretrained import Words, built, fill, state_of

UNBOUNDED = 512  # tokens, where neither network nor tokenizer has a bound


class TransformersEncoder(Frozen, TextEncoder):
    """The text encoder of a folder that ``transformers`` saved: BERT, T5 or CLIP, frozen.

    Its vectors are those of the last layer, in fp32 whatever the model's precision; of CLIP behind the last norm. The
    folder is a pipeline's (``text_encoder`` and ``tokenizer`` in it), the ``text_encoder`` of one, or one with all
    files. Weights are read from safetensors, whole or in shards, fp16 as fp32. A model's checkpoints hold the SHA-256
    of weights, settings and tokenizer in their place (:class:`~videodiff.networks.frozen.Frozen`). Needs the package
    ``transformers`` (``pip install 'videodiff[text]'``); nothing is ever fetched.

    Args:
        folder: of the encoder.
        tokenizer: folder of the tokenizer, if it lies elsewhere.
        max_tokens: the most tokens of a text, its first and last included; None is what encoder and tokenizer take.
        kept: folder in which training keeps the vectors of its captions, or in which ``videodiff encode`` has put them;
            None is the cache.

    Raises:
        FileNotFoundError: in one line, without the folder or a file of it.
        UsageError: in one line, without the package.
        ValueError: for a folder of another architecture, damaged files, or more tokens than the encoder takes.
    """

    is_frozen = True

    def __init__(
        self,
        folder: str,
        tokenizer: str | None = None,
        max_tokens: int | None = None,
        kept: str | None = None,
    ) -> None:
        found = read_network_folder(folder, TEXT_ENCODERS)
        words = tokenizer_folder(found.path, tokenizer)
        is_counted = torch.get_default_device().type == "meta"
        files = [] if is_counted else found.files()
        network: Any = built(found.kind, found.config, found.path / CONFIG)
        tokens = Words(words, network)
        super().__init__(network.config.hidden_size, most_tokens(network, tokens, max_tokens))
        self.folder, self.kept_in = folder, kept
        self.network, self.words = network, tokens
        if not is_counted:
            fill(network, files, found.kind, found.path)
        self.freeze(None if is_counted else state_of(network, found.kind, tokens))
        self.look_up("" if is_counted else self.digest)

    @property
    def called(self) -> str:
        return self.folder

    def other_weights(self, stored: str, own: str) -> str:
        return (
            f"this model was trained with another text encoder (sha256 {stored}) than {self.folder!r} holds ({own}); "
            f"name the right folder with {OPTION}, or train the model anew"
        )

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        check_texts(texts)
        return filled_up([self.numbers(text) for text in texts], self.words.padding)

    def numbers(self, text: str) -> list[int]:
        """The tokens of a text, cut if there are too many."""
        found = self.words.numbers(text)
        if len(found) <= self.max_tokens:
            return found
        self.note_cut(text, len(found))
        return self.words.numbers(text, self.max_tokens)

    def forward(self, tokens: Tokens) -> Tensor:
        # where costs are counted a mask has no values, which the library asks for
        seen = None if tokens.mask.is_meta else tokens.mask.long()
        with without_autocast(tokens.ids.device):
            return self.network(input_ids=tokens.ids, attention_mask=seen).last_hidden_state


def most_tokens(network: Any, words: Words, given: int | None) -> int:
    """The most tokens of a text.

    Raises:
        ValueError: if more are asked for than the encoder has positions, or fewer than two.
    """
    positions = getattr(network.config, "max_position_embeddings", None)
    if given is None:
        return min(positions or UNBOUNDED, words.max_tokens)
    if given < 2 or given > (positions or given):
        most = "" if positions is None else f" and at most {positions}, the positions of the text encoder"
        raise ValueError(f"max_tokens must be at least 2{most}, got {given}")
    return given
