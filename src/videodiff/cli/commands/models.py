"""models: what comes with videodiff, read from the sources without importing them."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path

from videodiff.config import shipped_configs

FIGURES = {
    "evaluator_fd": "evaluator distance",
    "digit_identity": "digits kept",
    "digit_speed_in_range": "speed in range",
}
SOURCES = Path(__file__).resolve().parents[2] / "models"


def run(argv: list[str]) -> int:
    """Print models, shipped configs and trained models; returns the exit code."""
    from videodiff.checkpoints.shipped import shipped_names
    from videodiff.cli.arguments import LightParser

    parser = LightParser("videodiff models", description="Models and configs that come with videodiff.")
    parser.add_argument("--json", action="store_true", help="machine-readable, on stdout")
    args: argparse.Namespace = parser.parse_args(argv)
    found = {
        "models": [{"name": name, "about": about} for name, about in models().items()],
        "configs": [{"name": name, "about": first_comment(file)} for name, file in shipped_configs().items()],
        "trained": [{"name": name, "about": about_trained(name)} for name in shipped_names()],
    }
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    width = max((len(row["name"]) for rows in found.values() for row in rows), default=0)
    for title, rows in found.items():
        print(f"{title}:")
        for row in rows:
            print(f"  {row['name']:{width}s}  {row['about']}")
    return 0


def models() -> dict[str, str]:
    """Public subclasses of DiffusionModule -> first line of their docstring, by name."""
    classes = {
        node.name: node
        for file in sorted(SOURCES.glob("*.py"))
        for node in ast.parse(file.read_text(encoding="utf-8"), str(file)).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }

    def is_model(name: str) -> bool:
        bases = (
            [ast.unparse(base).rpartition(".")[2] for base in classes[name].bases] if name in classes else []
        )
        return any(base == "DiffusionModule" or is_model(base) for base in bases)

    return {
        name: (ast.get_docstring(node) or "").split("\n", 1)[0]
        for name, node in sorted(classes.items())
        if is_model(name)
    }


def about_trained(name: str) -> str:
    """What a trained model of the package was made with, and how good its clips are."""
    from videodiff.checkpoints.shipped import shipped_record

    record = shipped_record(name)
    metrics = record["evaluation"]["metrics"]
    shown = [
        f"{label} {metrics[key]['value']:.3g}" for key, label in FIGURES.items() if key in metrics
    ]  # of digits; clouds have others
    return f"{record['minutes']:.0f} minutes of a core; {', '.join(shown)}"


def first_comment(file: Path) -> str:
    """The first comment line of a config, without its mark."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and line.strip("# "):
            return line.strip("# ").strip()
        if line.strip() and not line.startswith("#"):
            break
    return ""
