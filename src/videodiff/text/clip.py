"""CLIP: vectors of images and of texts, close where a text tells what an image shows (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videodiff.networks.embeddings import without_autocast

from .folder import CONFIG, IMAGES, TEXTS, read_network_folder, tokenizer_folder
from .pretrained import Words, built, digest_of, fill

MEAN, STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)  # of CLIP's training images


class ClipImages(nn.Module):
    """A vector for each image, of a folder of CLIP as a whole or of its image encoder with the projection; frozen.

    Args:
        folder: of CLIP (``model_type: clip``), of its image encoder, or a pipeline with a folder ``image_encoder``.

    Raises:
        FileNotFoundError: in one line, without the folder or a file of it.
        UsageError: in one line, without the package ``transformers``.
        ValueError: for a folder of another architecture, or damaged files.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        found = read_network_folder(folder, IMAGES)
        files = found.files()
        network: Any = built(found.kind, found.config, found.path / CONFIG)
        fill(network, files, found.kind, found.path)
        self.network = network.requires_grad_(False).eval()
        self.dim, self.size = int(network.config.projection_dim), int(network.config.image_size)
        self.digest = digest_of(network, found.kind).hex()
        """SHA-256 of weights and settings, hexadecimal."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """``[N, 3, H, W]`` in [-1, 1] -> ``[N, dim]``, not of unit length.

        As CLIP was trained: the shorter side resized to ``size`` by antialiased cubic interpolation, the middle cut
        out, the colours standardised.
        """
        height, width = images.shape[2:]
        scale = self.size / min(height, width)
        inner = (max(self.size, round(height * scale)), max(self.size, round(width * scale)))
        if inner != (height, width):
            images = F.interpolate(images.float(), inner, mode="bicubic", antialias=True, align_corners=False)
        top, left = ((side - self.size) // 2 for side in inner)
        images = images[:, :, top : top + self.size, left : left + self.size].clamp(-1, 1)
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return self.of_pixels(((images + 1) / 2 - mean) / std)

    @torch.no_grad()
    def of_pixels(self, pixels: Tensor) -> Tensor:
        """As :meth:`forward`, of standardised pixels ``[N, 3, size, size]``."""
        with without_autocast(pixels.device):
            return self.network(pixel_values=pixels.float()).image_embeds


class ClipTexts(nn.Module):
    """A vector for each text, of a folder of CLIP as a whole or of its text encoder with the projection; frozen.

    Args:
        folder: of CLIP with its tokenizer, of its text encoder, or a pipeline.
        tokenizer: folder of the tokenizer, if it lies elsewhere.

    Raises:
        FileNotFoundError: in one line, without the folder or a file of it.
        UsageError: in one line, without the package ``transformers``.
        ValueError: for a folder of another architecture or without the projection, or damaged files.
    """

    def __init__(self, folder: str, tokenizer: str | None = None) -> None:
        super().__init__()
        found = read_network_folder(folder, TEXTS)
        words, files = tokenizer_folder(found.path, tokenizer), found.files()
        network: Any = built(found.kind, found.config, found.path / CONFIG)
        fill(network, files, found.kind, found.path)
        self.network = network.requires_grad_(False).eval()
        self.words = Words(words, network)
        self.dim = int(network.config.projection_dim)
        self.digest = digest_of(network, found.kind, self.words).hex()
        """SHA-256 of weights, settings and tokenizer, hexadecimal."""

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Tensor:
        """``[N, dim]``, not of unit length; a text longer than CLIP takes is cut."""
        device = next(self.parameters()).device
        ids, mask = self.words.tokens(texts, self.network.config.max_position_embeddings)
        with without_autocast(device):
            found = self.network(input_ids=ids.to(device), attention_mask=mask.long().to(device))
        return found.text_embeds
