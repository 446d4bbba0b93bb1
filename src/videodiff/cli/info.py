"""info: what a config would cost, counted on the meta device, where the largest model takes no memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.config import read_configs
from videodiff.cli.errors import UsageError

BYTES_TRAINED = 4 + 4 + 8 + 4
"""fp32 weight, gradient, two Adam moments and the EMA average of one trained parameter."""


def run(argv: list[str]) -> int:
    """Print the figures of a config; returns the exit code."""
    parser = LightParser(
        "videodiff info",
        usage="videodiff info CONFIG [CONFIG...] [--json] [--trust MODULE] [--model.net.width 64 ...]",
        description="Parameters, FLOPs, memory and clip shape of a config. Nothing is allocated.",
        epilog="KEY=VALUE and --KEY VALUE change single values: model.net.width=64",
    )
    parser.add_argument(
        "configs", nargs="*", metavar="CONFIG", help="file or shipped name; later ones override"
    )
    parser.add_argument("-c", "--config", action="append", default=[], help="the same, as for fit")
    parser.add_argument("--json", action="store_true", help="machine-readable, on stdout")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE", help="also allow its classes"
    )
    words, options = _split(argv)
    args = parser.parse_args(words)
    names = [*args.configs, *args.config]
    if not names:
        raise UsageError("info needs a config: a YAML file or a shipped name (see videodiff models)")
    config = read_configs(names, "fit", options, args.trust)
    figures = {"config": " + ".join(names), **measure(config, args.trust)}
    print(json.dumps(figures, indent=2) if args.json else _table(figures))
    return 0


def measure(config: dict[str, Any], trusted: Sequence[str] = ()) -> dict[str, Any]:
    """Parameters, GFLOP of one forward pass of one clip, bytes of training state, shapes."""
    import torch

    if not config.get("model"):
        raise UsageError("the config has no model; give one with class_path, e.g. videodiff.models.VDM")
    model = _on_meta(config["model"], trusted)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    counts = {name: counts.get(name, 0) for name in ("net", "autoencoder")} | {
        k: n for k, n in counts.items() if n
    }
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    video, latent = _shapes(model)
    return {
        "model": type(model).__name__,
        "parameters": counts,
        "trained_parameters": trained,
        "forward_gflop_per_clip": round(_forward_flop(model, video, latent, torch) / 1e9, 3),
        "training_state_bytes": trained * BYTES_TRAINED + frozen * 4,
        "clip_shape": list(video),
        "latent_shape": list(latent),
    }


def _on_meta(spec: dict[str, Any], trusted: Sequence[str]) -> Any:
    import pytorch_lightning as pl
    import torch
    from jsonargparse import ArgumentParser

    from videodiff.trust import guarded_jsonargparse

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(pl.LightningModule, "model", required=True)
    with guarded_jsonargparse(trusted), torch.device("meta"):
        parsed = parser.parse_object({"model": with_full_paths(spec, trusted)})
        return parser.instantiate_classes(parsed).model.eval()


def with_full_paths(node: Any, trusted: Sequence[str]) -> Any:
    """The same tree with short class names written out."""
    from videodiff.trust import full_path

    if isinstance(node, dict):
        node = {key: with_full_paths(value, trusted) for key, value in node.items()}
        path = node.get("class_path")
        return {**node, "class_path": full_path(path)} if isinstance(path, str) and "." not in path else node
    return [with_full_paths(value, trusted) for value in node] if isinstance(node, list) else node


def _shapes(model: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes ``(3, T, H, W)`` of a clip and ``(C, *S)`` of what the network sees."""
    video = tuple(int(n) for n in model.video_shape)
    latent = tuple(int(n) for n in model.autoencoder.latent_shape(video))
    return video, latent


def _forward_flop(model: Any, video: tuple[int, ...], latent: tuple[int, ...], torch: Any) -> int:
    """Floating-point operations of one forward pass of the denoiser or trained autoencoder, two per multiply-add.

    The weights become fake CPU tensors (a shape without memory): autocast regions do not know the meta device.
    Attention takes its explicit form, whose two products every version of the counter sees.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from videodiff.diffusion import Condition

    def zeros(*shape: int, **kwargs: Any) -> Any:
        return torch.zeros(1, *shape, device="cpu", **kwargs)

    net = getattr(model, "net", None) or model.autoencoder
    with FakeTensorMode(), torch.no_grad():
        state = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        state = {
            name: torch.empty(value.shape, dtype=value.dtype, device="cpu") for name, value in state.items()
        }
        if net is model.autoencoder:
            inputs: Any = (zeros(*video),)
        else:
            inputs = _inputs(net, latent, zeros, Condition, torch)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            torch.func.functional_call(net, state, inputs)
    return int(counter.get_total_flops())


def _inputs(net: Any, latent: tuple[int, ...], zeros: Any, condition: Any, torch: Any) -> tuple[Any, ...]:
    """Latent, time and whatever conditions the denoiser was built for, of one sample."""
    label = zeros(dtype=torch.long) if getattr(net, "num_classes", None) is not None else None
    vector = zeros(net.vector_dim) if getattr(net, "vector_dim", None) else None
    concat = zeros(net.concat_channels, *latent[1:]) if getattr(net, "concat_channels", 0) else None
    return zeros(*latent), zeros(), condition(label=label, vector=vector, concat=concat)


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words of info itself, and changes to the config (``--a.b 3``, ``a.b=3``, ``--model VDM``)."""
    words: list[str] = []
    options: list[str] = []
    queue = list(argv)
    while queue:
        word = queue.pop(0)
        key = word.partition("=")[0]
        if word.startswith("--") and ("." in key or key in ("--model", "--data")):
            options.append(word)
            if "=" not in word and queue and not queue[0].startswith("--"):
                options.append(queue.pop(0))
        elif "=" in word and not word.startswith("-"):
            options.append(f"--{word}")
        else:
            words.append(word)
    return words, options


def _table(figures: dict[str, Any]) -> str:
    rows = [("config", figures["config"]), ("model", figures["model"])]
    rows += [(f"parameters, {name}", f"{count:,}") for name, count in figures["parameters"].items()]
    rows += [
        ("forward pass", f"{figures['forward_gflop_per_clip']:,} GFLOP per clip"),
        (
            "training state",
            f"{figures['training_state_bytes'] / 2**30:.2f} GiB (fp32 weights, gradients, Adam, EMA)",
        ),
        ("clip", " x ".join(map(str, figures["clip_shape"])) + "  (channels, frames, height, width)"),
        ("latent", " x ".join(map(str, figures["latent_shape"]))),
    ]
    return "\n".join(f"{name:26s}{value}" for name, value in rows)
