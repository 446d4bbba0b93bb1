"""The model card of an exported run: model, data, scores with their protocol, and how to use it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml
from torch import Tensor

from videodiff.names import markdown_code, markdown_text, shell_line

PACKAGES = ("videodiff", "torch", "pytorch-lightning", "safetensors")


def model_card(
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    results: Sequence[Mapping[str, Any]],
    command: Sequence[str],
    scheduler: Mapping[str, Any] | None,
    note: str,
) -> str:
    """Markdown with the metadata that model hubs read at its top."""
    name = str(record["model"]).rpartition(".")[2]
    head = {
        "license": record["licence"],
        "library_name": "videodiff",
        "tags": ["video", "video-generation", name],
    }
    count = sum(value.numel() for value in weights.values())
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {markdown_text(name)}", ""]
    step = "" if record["step"] is None else f", step {record['step']}"
    where = f"(sha256 {markdown_text(str(record['sha256']))}){markdown_text(step)}"
    lines += [f"{count:,} numbers in `model.safetensors` {where}.", ""]
    lines += ["```sh", "videodiff generate --ckpt_path . --num_samples 4", "```", ""]
    if (config.get("model", {}).get("init_args") or {}).get("autoencoder", {}) and "autoencoder" in str(
        record["model"]
    ).lower():
        lines[-3] = "videodiff predict --ckpt_path ."
    if (stage := record.get("first_stage")) is not None:
        place = f"{markdown_code(str(stage['place']))} (sha256 {markdown_text(str(stage['sha256']))})"
        lines += ["## First stage", "", f"Not in this folder: {place}, by whose latents it generates.", ""]
    for text in record.get("text_encoders", []):
        place = f"{markdown_code(str(text['place']))} (sha256 {markdown_text(str(text['sha256']))})"
        lines += [
            "## Text encoder",
            "",
            f"Not in this folder: {place}, by whose tokens it is told prompts.",
            "",
        ]
    lines += ["## Licence", "", licence_line(str(record["licence"])), ""]
    lines += ["## Data", "", *data_lines(record, config), ""]
    lines += ["## Results", "", *result_lines(results, record), ""]
    lines += ["## Scheduler", "", scheduler_line(scheduler, note), ""]
    lines += ["## How it was made", ""]
    if command:
        lines += ["```sh", shell_line(command), "```", ""]
    lines += ["The run's whole configuration is `config.yaml`.", "", *version_lines()]
    return "\n".join(lines) + "\n"


def pipeline_card(stages: Sequence[Mapping[str, Any]], licence: str, command: Sequence[str]) -> str:
    """The same for a pipeline, whose stages have cards of their own."""
    head = {"license": licence, "library_name": "videodiff", "tags": ["video", "video-generation"]}
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", "# Pipeline", ""]
    for number, stage in enumerate(stages, 1):
        takes = f", which takes the {stage.get('takes', 'low_resolution').replace('_', ' ')} of it" * (
            number > 1
        )
        lines.append(
            f"{number}. [stage_{number}](stage_{number}/README.md){takes}: weights {stage['weights']}"
        )
    lines += ["", "```sh", "videodiff generate --ckpt_path . --num_samples 4", "```", ""]
    lines += ["## Licence", "", licence_line(licence), "", "## How it was made", ""]
    if command:
        lines += ["```sh", shell_line(command), "```", ""]
    lines += ["`pipeline.yaml` names the stages.", "", *version_lines()]
    return "\n".join(lines) + "\n"


def licence_line(licence: str) -> str:
    """The line on the licence of the weights."""
    if licence == "other":
        return "Not stated. Ask the authors of the weights, and check the terms of the data."
    return f"{markdown_text(licence)}, as stated by whoever exported the weights. The data have terms of their own."


def data_lines(record: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Lines on the training data, as far as the run knows."""
    imported = record.get("imported")
    if imported:
        return [
            f"Not known to this run: the weights were imported from {markdown_code(str(imported.get('file')))} "
            + markdown_text(f"(kind {imported.get('kind')}, sha256 {imported.get('sha256')}).")
        ]
    part = config.get("data") or {}
    args = part.get("init_args") or {}
    keys = (
        "dataset",
        "root",
        "layout",
        "preset",
        "num_frames",
        "resolution",
        "frame_stride",
        "fps",
        "train_split",
    )
    facts = [f"{key}: {args[key]}" for key in keys if args.get(key) is not None]
    if isinstance(record.get("data"), Mapping):
        facts += [f"fingerprint, {key}: {value}" for key, value in record["data"].items() if key not in args]
    return [f"- {markdown_text(fact)}" for fact in facts] or ["Not recorded."]


def result_lines(results: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> list[str]:
    """A table of every measured number with its weights, protocol, sampler, count and interval.

    Results of the weights at hand come first, then later steps before earlier ones; those of other weights say so.
    """
    if not results:
        return ["None measured (`videodiff test --ckpt_path RUN --protocol NAME` before the export)."]
    lines = [
        "| weights | protocol | generated by | metric | value | 95 % interval | real / generated | seed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ordered = sorted(results, key=lambda r: (not is_of(r, record), -(step_of(r) or 0)))
    for result in ordered:
        protocol = f"{result.get('name')} [{result['protocol'].get('hash', '')}]"
        counts = f"{result.get('num_real')} / {result.get('num_fake')}"
        generated = ", ".join(generated_by(result)) or "two folders"
        head = [whose(result, record), protocol, generated]
        for name, entry in result["metrics"].items():
            interval = entry.get("interval")
            between = "" if interval is None else f"{interval[0]:.6g} to {interval[1]:.6g}"
            value = (
                f"{entry['value']:.6g}"
                if isinstance(entry.get("value"), int | float)
                else str(entry.get("value"))
            )
            cells = [*head, name, value, between, counts, str(result.get("seed"))]
            lines.append(f"| {' | '.join(map(markdown_text, cells))} |")
    if not all(is_of(result, record) for result in results):
        lines += [
            "",
            "Rows that name other weights were measured at another point of the run: not of this folder.",
        ]
    said: dict[str, list[str]] = {}
    for result in ordered:
        for warning in result.get("warnings", []):
            said.setdefault(warning, []).append(str(result.get("name")))
    for warning, names in said.items():
        lines += ["", markdown_text(f"Note on {', '.join(dict.fromkeys(names))}: {warning}.")]
    return lines


def step_of(result: Mapping[str, Any]) -> int | None:
    """The step of the weights that a result was measured with, if it is known."""
    return (result.get("model") or {}).get("step")


def is_of(result: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a result is of the exported weights: by their digest, in older records by the step."""
    measured = (result.get("model") or {}).get("weights")
    if measured is not None and record.get("weights") is not None:
        return measured == record["weights"]
    return step_of(result) is not None and step_of(result) == record.get("step")


def whose(result: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Which weights a result is of: ``step 65, these`` or ``step 60; the weights are of step 65``."""
    step, ours = step_of(result), record.get("step")
    if is_of(result, record):
        return "these" if step is None else f"step {step}, these"
    if step is None:
        return "step not recorded; may be of other weights"
    if step == ours:
        return f"step {step}; the weights are others of this step"
    return f"step {step}; the weights are of {'no known step' if ours is None else f'step {ours}'}"


def generated_by(result: Mapping[str, Any]) -> list[str]:
    """Sampler, steps, guidance and average of a result, and what else shaped its clips; empty between two folders."""
    model = result.get("model") or {}
    config = (model.get("config") or {}).get("init_args") or {}
    options = {k: model[k] for k in ("eta", "gamma", "delta") if model.get(k)}
    options |= {"guidance_rescale": config["guidance_rescale"]} if config.get("guidance_rescale") else {}
    if (threshold := config.get("threshold", "static")) != "static":
        options["threshold"] = threshold
    if threshold == "dynamic" and "threshold_quantile" in config:
        options["threshold_quantile"] = config["threshold_quantile"]
    known = {k: result[k] for k in ("sampler", "steps", "guidance", "ema") if result.get(k) is not None}
    return [f"{k} {v}" for k, v in {**known, **options}.items()]


def scheduler_line(scheduler: Mapping[str, Any] | None, note: str) -> str:
    """What the folder holds for diffusers."""
    if scheduler is None:
        return markdown_text(note) or "None for diffusers."
    words = markdown_text(f"is a diffusers {scheduler['_class_name']}. {note}")
    return f"`scheduler/scheduler_config.json` {words}"


def version_lines() -> list[str]:
    """Versions of Python and of the packages."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return [", ".join(found) + "."]
