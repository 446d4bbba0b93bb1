"""Folders of text and image encoders as ``transformers`` writes them: which files there are, what their config says.

Loads no torch: what is wrong with a folder is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from videodiff import placeholder
from videodiff.reading import read_mapping
from videodiff.weights.folder import MAX_BYTES, weight_files

CONFIG, TOKENIZER, PIPELINE = "config.json", "tokenizer", "model_index.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "model.fp16.safetensors",
    "model.safetensors.index.fp16.json",
    "model.fp16.safetensors.index.json",
)
"""Names of the weights, the first that is there counts: whole or in shards, in fp32 or else in fp16."""

OPTION, TOKENIZER_OPTION = "--model.text.folder", "--model.text.tokenizer"
CLIP_OPTION = "--clip_model"


@dataclass(frozen=True)
class Kind:
    """A kind of network that encodes texts or images.

    Args:
        name: for messages.
        config: class of its config in ``transformers``.
        model: class of the network there.
        prefix: what stands before every name in some folders, and not in others.
        left_out: beginnings of names of what is not read, parts of a larger network.
        settings: entries of the config that change results and the shape of no weight.
        part: its part in the config of CLIP as a whole, or None.
        options: of the network's constructor.
    """

    name: str
    config: str
    model: str
    prefix: str
    left_out: tuple[str, ...]
    settings: tuple[str, ...]
    part: str | None = None
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Kinds:
    """The kinds of folders that serve a purpose.

    Args:
        what: they are, for messages.
        part: folder of a pipeline that holds one.
        option: that names such a folder.
        of: ``model_type`` of a config -> kind.
    """

    what: str
    part: str
    option: str
    of: Mapping[str, Kind]


CLIP_PROJECTION = 512  # width of CLIP's vectors where its config does not say
CLIP_SETTINGS = ("num_attention_heads", "hidden_act", "layer_norm_eps")
BERT = Kind(
    "BERT", "BertConfig", "BertModel", "bert.", ("cls.", "pooler.", "embeddings.position_ids"),
    ("num_attention_heads", "hidden_act", "layer_norm_eps"),
    options=(("add_pooling_layer", False),),
)  # fmt: skip
T5 = Kind(
    "T5", "T5Config", "T5EncoderModel", "", ("decoder.", "lm_head."),
    ("num_heads", "dense_act_fn", "is_gated_act", "layer_norm_epsilon", "relative_attention_max_distance"),
)  # fmt: skip
CLIP = Kind(
    "CLIP", "CLIPTextConfig", "CLIPTextModel", "text_model.",
    ("vision_model.", "visual_projection.", "text_projection.", "logit_scale", "embeddings.position_ids"),
    CLIP_SETTINGS, part="text_config",
)  # fmt: skip
CLIP_TEXTS = Kind(
    "CLIP", "CLIPTextConfig", "CLIPTextModelWithProjection", "text_model.",
    ("vision_model.", "visual_projection.", "logit_scale", "embeddings.position_ids"),
    (*CLIP_SETTINGS, "eos_token_id"), part="text_config",
)  # fmt: skip
CLIP_IMAGES = Kind(
    "CLIP", "CLIPVisionConfig", "CLIPVisionModelWithProjection", "vision_model.",
    ("text_model.", "text_projection.", "logit_scale", "embeddings.position_ids"),
    CLIP_SETTINGS, part="vision_config",
)  # fmt: skip
TEXT_ENCODERS = Kinds(
    "a text encoder", "text_encoder", OPTION,
    MappingProxyType({"bert": BERT, "t5": T5, "clip": CLIP, "clip_text_model": CLIP}),
)  # fmt: skip

IMAGES = Kinds(
    "CLIP's image encoder", "image_encoder", CLIP_OPTION,
    MappingProxyType({"clip": CLIP_IMAGES, "clip_vision_model": CLIP_IMAGES}),
)  # fmt: skip
TEXTS = Kinds(
    "CLIP's text encoder", "text_encoder", CLIP_OPTION,
    MappingProxyType({"clip": CLIP_TEXTS, "clip_text_model": CLIP_TEXTS}),
)  # fmt: skip

# Files with the vocabulary of a tokenizer, one set of which is needed; a byte-level one needs none.
VOCABULARIES = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"), ("spiece.model",))
WITHOUT_VOCABULARY = ("ByT5Tokenizer",)


@dataclass(frozen=True)
class NetworkFolder:
    """A folder that holds an encoder.

    Args:
        path: of its config and weights; of a pipeline the folder in it.
        kind: of the network.
        config: of the network, of CLIP as a whole its part.
        option: that names the folder.
    """

    path: Path
    kind: Kind
    config: dict[str, Any]
    option: str

    def files(self) -> list[Path]:
        """The files of its weights.

        Raises:
            FileNotFoundError: without weights, or where a shard is missing.
            ValueError: for weights in another format alone, placeholders, and an index that is none.
        """
        convert = f"transformers, {self.kind.model}.from_pretrained({{folder}})"
        return weight_files(self.path, WEIGHTS, convert, self.option)


def read_network_folder(folder: str, kinds: Kinds) -> NetworkFolder:
    """The folder of an encoder, or of a pipeline that has one; weights are not looked at.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for one of another architecture, or a placeholder in place of its config.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(
            f"no folder {folder!r} of {kinds.what}; name one that transformers wrote ({CONFIG} and safetensors, or a "
            f"pipeline with a folder {kinds.part}) with {kinds.option}"
        )
    if not (path / CONFIG).is_file() and ((path / PIPELINE).is_file() or (path / kinds.part).is_dir()):
        if not (path / kinds.part / CONFIG).is_file():
            raise ValueError(f"{folder} is a pipeline without {kinds.what} (it has no {kinds.part}/{CONFIG})")
        path = path / kinds.part
    file = path / CONFIG
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} has no {CONFIG}: a folder as transformers writes it is wanted ({kinds.option})"
        )
    placeholder.refuse(file)
    config = read_mapping(file, max_bytes=MAX_BYTES)
    model_type = config.get("model_type")
    kind = kinds.of.get(str(model_type))
    if kind is None:
        known = ", ".join(sorted({kind.name for kind in kinds.of.values()}))
        raise ValueError(
            f"{file} is of model_type {model_type!r}, and {kinds.what} is one of {known}: name another folder with "
            f"{kinds.option}"
        )
    if model_type == "clip" and kind.part is not None:
        width = config.get("projection_dim", CLIP_PROJECTION)
        config = {
            **(config.get(f"{kind.part}_dict") or {}),
            **(config.get(kind.part) or {}),
            "projection_dim": width,
        }
    return NetworkFolder(path, kind, config, kinds.option)


def tokenizer_folder(path: Path, given: str | None = None) -> Path:
    """Where the files of an encoder's tokenizer lie.

    Args:
        path: folder of the encoder.
        given: by the user; None is the encoder's own folder, or the ``tokenizer`` beside it.

    Raises:
        FileNotFoundError: if they do not.
        ValueError: for a placeholder in place of one.
    """
    beside = path.parent / TOKENIZER
    found = path if has_vocabulary(path) or not beside.is_dir() else beside
    found = found if given is None else Path(given)
    if not found.is_dir():
        raise FileNotFoundError(f"no folder {str(found)!r} of a tokenizer ({TOKENIZER_OPTION})")
    for file in sorted(file for file in found.iterdir() if file.suffix in (".json", ".txt", ".model")):
        placeholder.refuse(file, but=())
    if not has_vocabulary(found):
        wanted = ", or ".join(" and ".join(names) for names in VOCABULARIES)
        raise FileNotFoundError(
            f"{found} holds no tokenizer ({wanted}): fetch its files, or name their folder with {TOKENIZER_OPTION}"
        )
    return found


def check_clip(folder: str) -> None:
    """Refuse a folder that is not of CLIP, with both encoders and the tokenizer, before anything is loaded.

    Raises:
        FileNotFoundError: without the folder or a file of it.
        ValueError: for a folder of another architecture, or placeholders in place of files.
    """
    images, texts = read_network_folder(folder, IMAGES), read_network_folder(folder, TEXTS)
    tokenizer_folder(texts.path)
    for found in (images, texts):
        found.files()


def has_vocabulary(folder: Path) -> bool:
    """Whether a tokenizer can be read of a folder."""
    if any(all((folder / name).is_file() for name in names) for names in VOCABULARIES):
        return True
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return False
    placeholder.refuse(file)
    return read_mapping(file, max_bytes=MAX_BYTES).get("tokenizer_class") in WITHOUT_VOCABULARY
