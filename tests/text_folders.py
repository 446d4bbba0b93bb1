"""Small folders of text encoders, as ``transformers`` writes them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

WORDS = ["a", "ball", "digit", "moves", "north", "south", "red", "the", "three", "##s"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
CONFIG = {
    "model_type": "bert", "vocab_size": len(VOCABULARY), "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 12, "type_vocab_size": 2,
    "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
WEIGHTS = "model.safetensors"


def bert(seed=0, **changes):
    """The network of the folder."""
    import transformers

    torch.manual_seed(seed)
    settings = transformers.BertConfig.from_dict({**CONFIG, **changes})
    return transformers.BertModel(settings, add_pooling_layer=False).eval()


def write_bert(folder, seed=0, prefix="", half=False, shards=1, without=(), **changes):
    """A whole folder: config, weights and the words of a tokenizer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in {**CONFIG, **changes}.items() if key not in without}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {prefix + name: value for name, value in bert(seed, **changes).state_dict().items()}
    weights = {name: value.half() if half else value for name, value in weights.items()}
    if shards == 1:
        save_file(weights, folder / WEIGHTS)
    else:
        names, places = sorted(weights), {}
        for number in range(shards):
            file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            part = names[number::shards]
            save_file({name: weights[name] for name in part}, folder / file)
            places |= dict.fromkeys(part, file)
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder):
    """The words, as BERT's first folders have them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    )
