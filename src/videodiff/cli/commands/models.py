"""models: what comes with videodiff, by family, read from the sources without importing them."""

from __future__ import annotations

import argparse
import ast
import json
import re
from pathlib import Path
from typing import Any

from videodiff.config import shipped_configs

FIGURES = {
    "evaluator_fd": "evaluator-FD",
    "digit_identity": "identity kept",
    "digit_speed_in_range": "speed in range",
}
SOURCES = Path(__file__).resolve().parents[2] / "models"
DATA = ("digits", "clouds")  # the built-in sets come first; other names of data sets follow by the alphabet
SENTENCE = re.compile(r".*?[.](?=\s+[A-Z`]|$)", flags=re.S)


def run(argv: list[str]) -> int:
    """Print the models with their configs and trained weights, then the overlays; returns the exit code."""
    from videodiff.cli.arguments import LightParser

    parser = LightParser(
        "videodiff models",
        description="Models by family, with their configs and trained weights; then the overlays.",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable, on stdout")
    args: argparse.Namespace = parser.parse_args(argv)
    about, found, trained = models(), configs(), trained_models()
    if args.json:
        rows = [{"name": name, "about": text} for name, text in about.items()]
        print(json.dumps({"models": rows, "configs": found, "trained": trained}, indent=2))
        return 0
    width = max(len(row["name"]) for row in [*found, *trained])
    for family, text in about.items():
        print(f"{family}: {text}")
        _print_rows([row for row in [*found, *trained] if row["family"] == family], width)
        print()
    if stages := [row for row in found if row["family"] is not None and row["family"] not in about]:
        print("First stages: autoencoders for any latent model, named by its autoencoder.")
        _print_rows(stages, width)
        print()
    print("Overlays, appended to a config: videodiff fit --config vdm_ucf101 --config with/small")
    _print_rows([row for row in found if row["family"] is None], width)
    if not trained:
        print("\nNo trained weights come with this installation.")
    return 0


def _print_rows(rows: list[dict[str, Any]], width: int) -> None:
    for row in rows:
        print(f"  {row['name']:{width}s}  {row['about']}")


def models() -> dict[str, str]:
    """Public subclasses of DiffusionModule -> first line of their docstring; VDM, which has one stage, comes first."""
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
        for name, node in sorted(classes.items(), key=lambda item: (item[0] != "VDM", item[0]))
        if is_model(name)
    }


def trained_models() -> list[dict[str, Any]]:
    """The trained models of the package: name, family and what its training and its clips were."""
    from videodiff.checkpoints.shipped import shipped_names

    families = {row["name"]: row["family"] for row in configs()}
    return [
        {"name": name, "family": families.get(name.rpartition("/")[2]), "about": about_trained(name)}
        for name in shipped_names()
    ]


def about_trained(name: str) -> str:
    """What a trained model of the package was made with, and how good its clips are, as a sentence."""
    from videodiff.checkpoints.shipped import shipped_record

    record = shipped_record(name)
    metrics = record["evaluation"]["metrics"]
    shown = [
        f"{label} {metrics[key]['value']:.3g}" for key, label in FIGURES.items() if key in metrics
    ]  # of digits; clouds have others
    return f"Trained weights, {record['minutes']:.0f} minutes of a core: {', '.join(shown)}."


def configs() -> list[dict[str, Any]]:
    """Shipped configs: name, family (None: an overlay), first stage if there is one, and what the first sentence says.

    A first stage belongs to the family of the models that name it. By data set, the built-in ones first, and in the
    order in which they are trained.
    """
    rows = []
    for name, file in shipped_configs().items():
        text = file.read_text(encoding="utf-8")
        family = re.search(r"^model:\s+class_path: videodiff\.models\.(\w+)", text, flags=re.M)
        stage = re.search(r"\bcheckpoint: (\w+)", text)
        rows.append(
            {
                "name": name,
                "family": family and family[1],
                "first_stage": stage and stage[1],
                "about": first_sentence(text),
            }
        )
    families = {row["first_stage"]: row["family"] for row in rows}
    for row in rows:
        row["family"] = families.get(row["name"], row["family"])

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        data = row["name"].rpartition("_")[2] if row["family"] else ""
        return (
            DATA.index(data) if data in DATA else len(DATA),
            data,
            row["first_stage"] is not None,
            row["name"],
        )

    return sorted(rows, key=order)


def first_sentence(text: str) -> str:
    """The first sentence of a config's first comment, without the word that says it is an overlay."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#") and line.strip():
            break
        lines.append(line.strip("# ").strip())
    words = " ".join(line for line in lines if line).removeprefix("Overlay: ").removeprefix("Overlay, ")
    found = SENTENCE.match(words)
    sentence = found[0] if found else words
    return sentence[:1].upper() + sentence[1:]
