"""A folder of CLIP as a whole, tiny and random, with the tokenizer of the fixtures."""

import shutil
from pathlib import Path

import torch

from published_files import ASSETS

TOKENIZER = Path(ASSETS or ".") / "fixtures" / "systems" / "folders" / "clip_tokenizer"


def write_clip(folder):
    """Write it, and return the network."""
    import transformers

    text = dict(vocab_size=645, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                eos_token_id=644, bos_token_id=643, pad_token_id=644)  # fmt: skip
    vision = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, image_size=32,
                  patch_size=8)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        whole = transformers.CLIPModel(settings).eval()
    whole.save_pretrained(folder)
    for file in TOKENIZER.iterdir():
        shutil.copyfile(file, Path(folder) / file.name)
    return whole
