"""What a command has left in a folder, as far as it must be the same when the command was interrupted."""

import hashlib
import json

import tiny_run
from compared_runs import without_timing

NOT_THE_SAME = ("events.out.tfevents.", "env.json", "run.lock", "hparams.yaml")  # of one process, one moment
TIMES = ("seconds_per_video", "exported", "started", "time", "date", "created", "seconds")


def contents(root):
    """Relative path -> what must be equal, for every file below a folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not path.name.startswith(NOT_THE_SAME):
            found[name] = content(path)
    return found


def content(path):
    if path.suffix == ".ckpt":
        digest = hashlib.sha256()
        for part in tiny_run.weights(path):
            digest.update(repr(numbers(part)).encode())
        return digest.hexdigest()
    if path.name == "metrics.jsonl":
        lines = {}
        for line in map(json.loads, path.read_text().splitlines()):
            kind = "val" if any(key.startswith("val/") for key in line) else "train"
            kept = {k: v for k, v in line.items() if k != "time" and not k.startswith("throughput/")}
            lines[f"{line['step']} {kind}"] = kept
        return lines
    if path.suffix == ".json":
        return plain(without_timing(json.loads(path.read_text())))
    if path.suffix in (".html", ".md", ".tex", ".csv"):  # of a comparison: measured times are in them
        return path.stat().st_size > 0
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in TIMES}
    return [plain(v) for v in value] if isinstance(value, list) else value


def numbers(value):
    """Tensors as their bytes, in any nest."""
    if hasattr(value, "numpy"):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: numbers(v) for key, v in value.items()}
    return [numbers(v) for v in value] if isinstance(value, list | tuple) else value
