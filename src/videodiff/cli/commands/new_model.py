"""new-model: a network file, a config and a test in the current directory, ready to run."""

from __future__ import annotations

import argparse
import importlib.machinery
import keyword
import sys
from pathlib import Path
from string import Template

from videodiff.cli import new_model_files
from videodiff.cli.arguments import LightParser
from videodiff.usage import UsageError

FILES = {
    "{}.py": new_model_files.NETWORK,
    "{}.yaml": new_model_files.CONFIG,
    "test_{}.py": new_model_files.TEST,
}


def parser() -> argparse.ArgumentParser:
    """The options of ``new-model``."""
    p = LightParser(
        "videodiff new-model",
        description="Write NAME.py (a small denoiser), NAME.yaml and test_NAME.py into this folder, ready to run.",
    )
    p.add_argument("name", metavar="NAME", help="module name, such as my_model")
    return p


def run(argv: list[str]) -> int:
    """Write the three files and say what to do with them; returns the exit code."""
    name = parser().parse_args(argv).name
    check_name(name)
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    files = {Path(pattern.format(name)): text for pattern, text in FILES.items()}
    for path in files:
        if path.exists() or path.is_symlink():
            raise UsageError(
                f"{path} is there already and is not overwritten; choose another name or move it"
            )
    for path, text in files.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(Template(text).substitute({"name": name, "Class": class_name}))
    print(f"{', '.join(map(str, files))}: {class_name}, a denoiser of 16 frames of 32 x 32\n\nnext:")
    print(f"  pytest test_{name}.py")
    print(f"  videodiff fit --config {name}.yaml --trust {name}")
    print(f"  videodiff generate --ckpt_path runs/{name} --trust {name} --num_samples 16")
    return 0


def check_name(name: str) -> None:
    """Refuse a name that is no module's, or that another module of this Python has.

    Raises:
        UsageError: in one line with a way out.
    """
    plain = name.isidentifier() and name.isascii() and name[0].isalpha() and name.rstrip("_") == name
    if not plain or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UsageError(
            f"NAME must be a Python module name (letters, digits and _, no keyword), got {name[:60]!r}; e.g. my_model"
        )
    installed = [folder for folder in sys.path if folder and Path(folder).resolve() != Path.cwd()]
    taken = name in sys.stdlib_module_names or importlib.machinery.PathFinder.find_spec(name, installed)
    if taken or name in sys.builtin_module_names or name == "videodiff":
        raise UsageError(
            f"NAME {name!r} is a module that Python or a package has; choose another, e.g. my_{name}"
        )
    if name.startswith("test_"):
        raise UsageError(
            f"NAME {name!r} would be taken for a test; choose another, e.g. {name.removeprefix('test_')}"
        )
