"""Nothing outside a model's own file asks what kind of model it has: what may be asked is declared."""

import ast
import functools
from pathlib import Path

import pytest

import videodiff

PACKAGE = Path(videodiff.__file__).parent
FILES = sorted(file for file in PACKAGE.rglob("*.py") if "configs" not in file.relative_to(PACKAGE).parts)
ROOTS = {"Network", "VideoModel", "TrainedModule", "Autoencoder", "LightningModule"}
# Names that models and networks go by.
SUBJECTS = {
    "model", "pl_module", "lightning_module", "net", "network", "autoencoder", "stage", "first_stage",
    "interpolator", "denoiser",
}  # fmt: skip


def bases(node):
    return {ast.unparse(base).rpartition(".")[2] for base in node.bases}


@functools.cache
def models_by_file():
    """Names of the classes of models and networks that each file defines, theirs by way of other files too."""
    defined = {
        file: [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)]
        for file in FILES
    }
    known, before = set(ROOTS), set()
    while known != before:
        before = set(known)
        known |= {node.name for nodes in defined.values() for node in nodes if bases(node) & known}
    return known, {file: {node.name for node in nodes} & known for file, nodes in defined.items()}


def subject(node):
    """The last name of what is asked: ``self.trainer.lightning_module`` -> ``lightning_module``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def asked(text, own=frozenset()):
    """Lines that ask what a model or network is or has, by getattr, hasattr, isinstance or issubclass."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1):
            continue
        first, second = node.args[:2]
        if node.func.id in ("getattr", "hasattr"):
            wrong = subject(first) in SUBJECTS
        elif node.func.id in ("isinstance", "issubclass"):
            wrong = bool(({subject(part) for part in ast.walk(second)} & models_by_file()[0]) - own)
        else:
            continue
        if wrong:
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def test_the_classes_are_found():
    assert {
        "UNet3D",
        "TriplaneUNet",
        "VDM",
        "LVDM",
        "PVDM",
        "AutoencoderModule",
        "FirstStage",
    } <= models_by_file()[0]


def test_a_model_is_asked_what_is_declared():
    wrong = []
    for file, own in models_by_file()[1].items():
        # A file may ask of the classes that it defines; the way into a contract is where the contract is.
        if not own & ROOTS:
            found = asked(file.read_text(), own)
            wrong += [f"{file.relative_to(PACKAGE)}:{line}" for line in found]
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "getattr(model, 'net', None)",
        "hasattr(self.run.model, 'losses')",
        "getattr(model.net, 'num_classes', None)",
        "isinstance(x, (VDM, PVDM))",
        "isinstance(part, videodiff.models.AutoencoderModule)",
    ],
)
def test_a_question_is_seen(line):
    assert asked(line)


def test_questions_to_others_pass():
    assert (
        asked("getattr(data, 'x', None)\nisinstance(value, Tensor)\nhasattr(torch, 'x')\nmodel.num_classes")
        == []
    )
