"""CLIP's vectors of images and texts, out of folders."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clip_folders import write_clip
from published_files import ASSETS, given, needs_assets
from videodiff.text import ClipImages, ClipTexts

FIXTURES = Path(ASSETS or ".") / "fixtures" / "systems"


@needs_assets
def test_the_image_folder_of_the_fixtures_gives_the_numbers_of_transformers():
    net = ClipImages(str(FIXTURES / "folders" / "clip_image_encoder"))
    expected = torch.from_numpy(np.load(FIXTURES / "folder_outputs.npz")["clip_image_embeds"])
    assert (net.of_pixels(given("pixels", (2, 3, 32, 32))) - expected).abs().max() < 1e-4
    assert (net.dim, net.size) == (32, 32)


@needs_assets
def test_images_of_any_size_are_resized_and_cut_to_their_middle():
    net = ClipImages(str(FIXTURES / "folders" / "clip_image_encoder"))
    small = given("pixels", (2, 3, 32, 32)).tanh()
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    wide = torch.cat([torch.ones(2, 3, 64, 8), large, -torch.ones(2, 3, 64, 8)], dim=3)
    assert net(wide).shape == (2, 32)
    near, other = (torch.cosine_similarity(net(x), net(small)) for x in (large, small.flip(0)))
    assert (near > 0.95).all()
    assert (near > other).all()
    grey = net.of_pixels(torch.zeros(1, 3, 32, 32))  # what is 0 standardised is CLIP's mean colour
    mean = 2 * torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1) - 1
    assert (net(mean.expand(1, 3, 40, 40)) - grey).abs().max() < 1e-4


@needs_assets
def test_one_folder_of_clip_gives_images_and_texts_of_one_width(tmp_path):
    whole = write_clip(tmp_path)
    images, texts = ClipImages(str(tmp_path)), ClipTexts(str(tmp_path))
    assert images.dim == texts.dim == 24
    pixels, prompts = given("pixels", (2, 3, 32, 32)), ["", "a red ball", "a red ball " * 60]
    words = texts.words.tokens(prompts, 77)
    with torch.no_grad():
        expected = whole(input_ids=words.ids, attention_mask=words.mask.long(), pixel_values=pixels)
    unit = torch.nn.functional.normalize
    assert (unit(images.of_pixels(pixels)) - expected.image_embeds).abs().max() < 1e-5
    assert (unit(texts(prompts)) - expected.text_embeds).abs().max() < 1e-5
    assert (texts(prompts[1:2]) - texts(prompts)[1]).abs().max() < 1e-5
    assert len({images.digest, texts.digest, ClipImages(str(tmp_path)).digest}) == 2


@needs_assets
def test_a_folder_of_another_kind_is_refused_in_one_line():
    folders = FIXTURES / "folders"
    with pytest.raises(ValueError, match="is of model_type 't5', and CLIP's image encoder is one of CLIP"):
        ClipImages(str(folders / "t5_encoder"))
    with pytest.raises(ValueError, match=r"its weights lack 1 tensor, the first is text_projection.weight"):
        ClipTexts(str(folders / "clip_text_encoder"), str(folders / "clip_tokenizer"))
