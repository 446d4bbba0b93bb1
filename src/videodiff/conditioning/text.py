"""What a video shows, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from videodiff.conditioning.base import Conditioner, Example, View, check_share
from videodiff.conditioning.request import Request
from videodiff.diffusion import Condition
from videodiff.networks.latents import Latents
from videodiff.networks.network import Network
from videodiff.seeding import send
from videodiff.text import TextEncoder

CAPTION = "{} is a number and this is a caption of twelve short words"  # what costs are counted for


class Text(Conditioner):
    """Captions and prompts, for a network that was built with ``context_dim``; the null is that of the empty prompt.

    The tokens of a text are a context ``[B, L, D]``. A clip without a caption has that of the empty one. Of I still
    images that a clip is trained with each has a caption of its own, ``[B, 1 + I, L, D]``; they are dropped with the
    clip's. In sampling, guidance moves away from the negative prompt where there is one.

    Args:
        encoder: texts to tokens; one that is not frozen is trained with the model.
        drop: share of training samples whose caption is dropped, for classifier-free guidance.

    Raises:
        ValueError: if that is no share; from ``attach``, for a network that takes other tokens.
    """

    fields = ("context", "context_mask")
    answers = ("prompt", "negative_prompt")
    learns_from = ("caption",)

    def __init__(self, encoder: TextEncoder, drop: float = 0.1) -> None:
        super().__init__()
        check_share("condition_drop", drop)
        self.encoder, self.drop = encoder, drop

    @classmethod
    def of(cls, encoder: TextEncoder | None, drop: float) -> list[Text]:
        """The conditioner of a model with this encoder; none of a model without."""
        return [] if encoder is None else [cls(encoder, drop)]

    def attach(self, net: Network, latents: Latents) -> None:
        if net.context_dim != self.encoder.dim:
            raise ValueError(
                f"the text encoder makes tokens of {self.encoder.dim} numbers, the network takes "
                f"{'no text' if net.context_dim is None else net.context_dim}; set --model.net.context_dim "
                f"{self.encoder.dim}"
            )

    def check_training(self, annotations: Mapping[str, str]) -> None:
        if "caption" not in annotations:
            raise ValueError(
                "this model learns from captions, and the data have none: say where they are with --data.captions, or "
                "train without text (--model.text null --model.net.context_dim null)"
            )

    def example(self, size: int, frames: int, device: torch.device | str) -> dict[str, Any]:
        # a frozen encoder looks up what it has encoded before; one that is trained encodes every caption
        return {"caption": [CAPTION.format(0 if self.encoder.is_frozen else n) for n in range(size)]}

    def compute_once(self) -> None:
        self.context([CAPTION.format(0), ""])

    def check_request(self, request: Request) -> None:
        self.encoder.tokenize([*request.prompt, *request.negative_prompt, ""])

    def guided_fields(self, request: Request) -> Sequence[str]:
        return self.fields if any((*request.prompt, *request.negative_prompt)) else ()

    def learn(self, example: Example) -> Example:
        batch, keys = example.batch, example.keys
        count, images = len(keys.positions), int(batch.get("num_images", 0))
        captions = list(batch.get("caption") or [""] * count)
        of_images = [
            text for texts in batch.get("image_captions") or [[""] * images] * count for text in texts
        ]
        is_dropped = keys.split == "train" and self.drop > 0
        told = self.context([*captions, *of_images, *([""] if is_dropped else [])])
        context, mask = (value[:count] for value in told)
        if images:  # every image is of another video
            context, mask = (
                torch.cat(
                    [own[:, None], value[count : count * (1 + images)].unflatten(0, (count, images))], dim=1
                )
                for own, value in zip((context, mask), told, strict=True)
            )
        cond = replace(example.cond, context=context, context_mask=mask)
        if is_dropped:
            empty, there = (value[-1:].expand(count, *value.shape[1:]) for value in told)
            cond = replace(cond, absent=Condition(context=empty, context_mask=there))
        return replace(example, cond=cond)

    def tell(self, cond: Condition, view: View) -> Condition:
        count = len(view.noise)
        told = in_turn(view.request.prompt, count)
        context, mask = self.context([*told, *in_turn(view.request.negative_prompt, count)])
        absent = Condition(context=context[count:], context_mask=mask[count:])
        return replace(cond, context=context[:count], context_mask=mask[:count], absent=absent)

    def context(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens ``[N, L, D]`` of some texts and which of them there are, ``[N, L]``; each text is encoded once."""
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        found = self.encoder.embed(list(rows))
        chosen = send(torch.tensor([rows[text] for text in texts]), found.tokens.device)
        return found.tokens[chosen], found.mask[chosen]


def in_turn(texts: Sequence[str], count: int) -> list[str]:
    """The texts of so many videos, which take them in turn; empty ones where there is none."""
    return [texts[i % len(texts)] for i in range(count)] if texts else [""] * count
