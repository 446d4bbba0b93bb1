"""The house rules that can be read from the syntax trees: who may import whom, and what nobody may call."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import videodiff

PACKAGE = Path(videodiff.__file__).parent
FILES = sorted(file for file in PACKAGE.rglob("*.py") if "configs" not in file.relative_to(PACKAGE).parts)

# Room or file -> what of ours it may import. Everybody may import the ground.
GROUND = (
    "atomic",
    "migrations",
    "names",
    "plain",
    "seeding",
    "config",
    "weights",
    "stopping",
    "placeholder",
    "reasons",
    "reading",
    "memory",
    "cores",
    "usage",
    "say",
    "device",
    "run_layout",
    "trainer",
    "words",
    "precision",
    "frame_size",
    "late",
)
ARROWS = {
    "__init__": (),
    "__main__": ("cli",),
    "atomic": (),
    "migrations": (),
    "names": (),
    "plain": ("reasons",),
    "seeding": ("names",),
    "usage": (),
    "say": (),
    "device": ("usage",),
    "run_layout": (),
    "config": (
        "frame_size",
        "migrations",
        "names",
        "placeholder",
        "plain",
        "run_layout",
        "say",
        "usage",
        "words",
        "networks",
        "models",
        "data",
        "callbacks",
    ),
    "weights": ("atomic", "late", "placeholder", "reading", "reasons"),
    "stopping": (),
    "placeholder": (),
    "reasons": (),
    "reading": (),
    "memory": (),
    "cores": (),
    "trainer": (),
    "words": (),
    "precision": (),
    "late": (),
    "frame_size": (),
    "diffusion": (),
    "data": (),
    "metrics": (),
    "networks": ("diffusion.condition",),
    "text": ("networks",),
    "conditioning": ("diffusion", "networks", "text", "data.one_video", "data.pixels"),
    "sampling": ("diffusion", "networks", "conditioning"),
    "models": (
        "diffusion",
        "networks",
        "conditioning",
        "sampling",
        "text",
        "metrics.features",
        "metrics.reconstruction",
    ),
    "callbacks": (
        "conditioning.request",
        "sampling.video_model",
        "data.video_io",
        "metrics.intervals",
        "cost.counter",
    ),
    "evaluation": (
        "diffusion",
        "conditioning.request",
        "conditioning.asked",
        "sampling.video_model",
        "metrics",
        "text",
        "data",
        "checkpoints",
    ),
    "checkpoints": ("networks", "models", "text"),
    "comparison": (
        "conditioning.request",
        "conditioning.asked",
        "sampling.video_model",
        "metrics",
        "data",
        "checkpoints",
        "evaluation",
        "diffusion",
        "cost.real_run",
    ),
    "cost": (
        "models",
        "networks",
        "conditioning",
        "sampling",
        "text",
        "diffusion",
        "metrics.features",
        "checkpoints",
    ),
    "report": (
        "comparison.folder",
        "comparison.record",
        "comparison.answers",
        "comparison.best",
        "comparison.tables",
        "metrics.directory",
        "data.real_clips",
        "data.video_io",
    ),
    "cli": ("",),
}
# Files of cli import nothing heavy at their top, but for those that cli/__init__.py itself imports late.
HEAVY = {
    "torch",
    "torchvision",
    "pytorch_lightning",
    "lightning_fabric",
    "torchmetrics",
    "numpy",
    "av",
    "jsonargparse",
}
LIGHT = (
    "atomic",
    "frame_size",
    "migrations",
    "names",
    "plain",
    "config",
    "usage",
    "say",
    "device",
    "run_layout",
    "stopping",
    "placeholder",
    "reasons",
    "reading",
    "memory",
    "cores",
    "words",
    "precision",
    "late",
)
LATE_ROOM_FILES = ("commands/fit.py", "lightning.py", "commands/generate.py", "leaderboard_run.py")


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, file: Path) -> Iterator[tuple[str, int]]:
    """(dotted module or object, line) of every import, relative ones written out."""
    here = ("videodiff", *file.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = here[: -node.level] if node.level else ()
            module = ".".join([*package, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def top_level(tree: ast.Module) -> ast.Module:
    """The module without the bodies of its functions and methods."""
    body = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    inner = [part for node in body if isinstance(node, ast.ClassDef) for part in node.body]
    outer = [node for node in body if not isinstance(node, ast.ClassDef)]
    return ast.Module([*outer, *(node for node in inner if not isinstance(node, ast.FunctionDef))], [])


def breaches(file: Path, text: str) -> list[str]:
    """Imports of ours that the arrows do not allow, as ``file:line``."""
    room = room_of(file)
    allowed = (*ARROWS.get(room, ()), *(GROUND if room not in (*GROUND, "__init__") else ()), room)
    wrong = []
    for name, line in imports(ast.parse(text), file):
        if name.split(".")[0] != "videodiff" or name == "videodiff.__version__":
            continue
        inner = name.removeprefix("videodiff").removeprefix(".")
        fits = any(prefix == "" or inner == prefix or inner.startswith(prefix + ".") for prefix in allowed)
        if not fits:
            wrong.append(f"{file.relative_to(PACKAGE)}:{line}: {room} may not import {name}")
    return wrong


def forbidden(file: Path, text: str) -> list[str]:
    """Calls that run code from data, as ``file:line``."""
    loads_here = file.relative_to(PACKAGE).as_posix() in ("checkpoints/files.py", "weights/tensors.py")
    wrong = []
    tree = ast.parse(text)
    for name, line in imports(tree, file):
        if name.split(".")[0] in (
            "pickle",
            "cPickle",
            "dill",
            "cloudpickle",
            "marshal",
            "shelve",
        ) or name in (
            "os.system",
            "torch.load",
            "yaml.load",
            "yaml.safe_load",
            "yaml.unsafe_load",
        ):
            wrong.append(f"{file.name}:{line}: import of {name}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        shell = any(k.arg == "shell" and getattr(k.value, "value", None) is not False for k in node.keywords)
        bad = {
            "eval",
            "exec",
            "yaml.load",
            "yaml.safe_load",  # plain data, but not bounded: plain.parse_yaml is
            "yaml.unsafe_load",
            "os.system",
            "os.popen",
            "pickle.load",
            "pickle.loads",
        }
        if called in bad or shell or (called == "torch.load" and not loads_here):
            wrong.append(f"{file.name}:{node.lineno}: {called}{' with shell' if shell else ''}")
        # In Trainer.save_checkpoint the word means "without optimizer state"; it loads nothing.
        unsafe = not called.endswith(".save_checkpoint") and any(
            k.arg == "weights_only" and getattr(k.value, "value", None) is False for k in node.keywords
        )
        if unsafe or (called == "torch.load" and not any(k.arg == "weights_only" for k in node.keywords)):
            wrong.append(f"{file.name}:{node.lineno}: {called} without weights_only=True")
    return wrong


def test_arrows_point_down():
    for file in FILES:
        assert room_of(file) in ARROWS, f"{file}: say in ARROWS what this room may import"
    assert [line for file in FILES for line in breaches(file, file.read_text())] == []


def without_types(tree: ast.Module) -> ast.Module:
    """The module without what is imported for type checkers alone."""
    return ast.Module(
        [
            node
            for node in tree.body
            if not isinstance(node, ast.If) or ast.unparse(node.test) != "TYPE_CHECKING"
        ],
        [],
    )


def circles(needs: dict[str, set[str]]) -> list[list[str]]:
    """Every set of modules of which each needs, directly or not, all others."""

    def reached(module: str) -> set[str]:
        seen, todo = set(), [module]
        while todo:
            new = needs[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    reach = {module: reached(module) for module in needs}
    return sorted({
        tuple(sorted({other for other in reach[module] if module in reach[other]} | {module}))
        for module in needs if module in reach[module]
    })  # fmt: skip


def test_no_module_needs_itself():
    """Also by what is imported inside functions, but for types. A package's own file only names what is in it."""
    modules = {
        ".".join(("videodiff", *file.relative_to(PACKAGE).with_suffix("").parts)): file
        for file in FILES
        if file.name != "__init__.py"
    }
    needs = {
        module: {
            name if name in modules else name.rpartition(".")[0]
            for name, _ in imports(without_types(ast.parse(file.read_text())), file)
        }
        & modules.keys() - {module}
        for module, file in modules.items()
    }
    assert circles(needs) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [("a", "b", "c")]


def test_nothing_runs_code_from_data():
    assert [line for file in FILES for line in forbidden(file, file.read_text())] == []


# Who writes in place, and why; everything else goes through atomic, which says what that is good for.
IN_PLACE = {
    "checkpoints/folders.py": "a checkpoint moved aside, in one rename",
    "cli/commands/new_model.py": "new files only",
    "cli/streams.py": "the null device",
    "data/download.py": "an archive unpacked in a folder that then takes its name",
    "data/encode_plan.py": "a shard that other processes find locked",
    "data/fetch.py": "a download that goes on where it was cut",
    "data/prepare/encode.py": "a part of atomic's",
    "data/prepare/forms.py": "data that grow video by video, cut back to their journal",
    "data/shards.py": "the standard input of a decoder",
    "data/video_write.py": "a part of atomic's",
    "weights/download.py": "a download that is checked before it takes its name",
}


def writes(file: Path, text: str) -> list[str]:
    """Calls that write a file in place or rename one, as ``file:line``; not those that refuse links by their opener."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        last = called.rpartition(".")[2]
        modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        in_place = last == "open" and any(set(m) <= set("rwaxbt+") and set(m) & set("wax+") for m in modes)
        guarded = any(k.arg == "opener" for k in node.keywords)
        renames = called in ("os.replace", "os.rename") or (
            last in ("replace", "rename")
            and isinstance(node.func, ast.Attribute)
            and len(node.args) == 1
            and not node.keywords
            and called != "replace"
        )
        texts = last in ("write_text", "write_bytes") and not called.startswith("atomic.")
        if (in_place and not guarded) or renames or texts:
            found.append(f"{file.relative_to(PACKAGE)}:{node.lineno}: {called}")
    return found


def test_files_are_written_whole_or_not_at_all():
    others = [file for file in FILES if file.relative_to(PACKAGE).as_posix() not in ("atomic.py", *IN_PLACE)]
    assert [line for file in others for line in writes(file, file.read_text())] == []


@pytest.mark.parametrize(
    "line",
    [
        "p.write_text(t)",
        "p.open('w')",
        "open(p, 'ab')",
        "os.replace(a, b)",
        "part.replace(path)",
        "a.rename(b)",
    ],
)
def test_a_write_in_place_is_seen(line):
    assert writes(PACKAGE / "models" / "x.py", line)


def test_reads_and_guarded_writes_pass():
    text = "open(p)\np.open('rb')\nopen(p, 'a', opener=no_link)\natomic.write_text(p, t)\nt.replace('a', 'b')"
    assert writes(PACKAGE / "models" / "x.py", text) == []


def test_the_package_itself_imports_nothing():
    assert list(imports(ast.parse((PACKAGE / "__init__.py").read_text()), PACKAGE / "__init__.py")) == []


@pytest.mark.parametrize(
    "file",
    [
        file
        for room in ("cli", "config")
        for file in sorted((PACKAGE / room).rglob("*.py"))
        if file.relative_to(PACKAGE / room).as_posix() not in LATE_ROOM_FILES
    ],
    ids=lambda file: file.relative_to(PACKAGE).as_posix(),
)
def test_the_command_line_imports_late(file):
    for name, line in imports(top_level(ast.parse(file.read_text())), file):
        assert name.split(".")[0] not in HEAVY, f"{file.name}:{line}: imports {name} at its top"
        if name.startswith("videodiff"):
            ours = name.split(".")[1]
            assert ours in ("cli", *LIGHT), f"{file.name}:{line}: imports {name} at its top"
            assert name not in {f"videodiff.cli.{late[:-3]}".replace("/", ".") for late in LATE_ROOM_FILES}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("diffusion/x.py", "from videodiff.networks import UNet3D"),
        ("diffusion/x.py", "import videodiff.data"),
        ("data/x.py", "from videodiff.diffusion import Condition"),
        ("networks/x.py", "from videodiff.diffusion import CosineSchedule"),
        ("networks/x.py", "from ..models import VDM"),
        ("models/x.py", "def f():\n    from videodiff.data import VideoDataModule"),
        ("callbacks/x.py", "from videodiff.data import VideoDataModule"),
        ("seeding.py", "from videodiff import plain"),
        ("config/trust.py", "import videodiff.evaluation"),
        ("checkpoints/x.py", "from videodiff import cli"),
    ],
)
def test_a_wrong_arrow_is_seen(place, line):
    assert len(breaches(PACKAGE / place, line)) == 1


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("networks/x.py", "from videodiff.diffusion.condition import Condition"),
        ("networks/x.py", "from .blocks import Block\nfrom videodiff import seeding"),
        ("models/x.py", "from videodiff.networks.unet3d import UNet3D\nfrom ..diffusion import loss"),
        ("callbacks/x.py", "from videodiff.data.video_io import write_mp4"),
        ("cli/x.py", "def f():\n    from videodiff.models import VDM"),
    ],
)
def test_a_right_arrow_passes(place, line):
    assert breaches(PACKAGE / place, line) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from torch import load",
        "torch.load(p, weights_only=True)",
        "eval(text)",
        "exec(text)",
        "yaml.load(f)",
        "yaml.safe_load(f)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "trainer.fit(m, weights_only=False)",
    ],
)
def test_a_dangerous_call_is_seen(line):
    assert forbidden(PACKAGE / "models" / "x.py", line)


def test_safe_calls_pass():
    assert (
        forbidden(
            PACKAGE / "models" / "x.py",
            "model.eval()\nyaml.safe_dump(f)\ntrainer.save_checkpoint(p, weights_only=False)",
        )
        == []
    )
    assert forbidden(PACKAGE / "checkpoints" / "files.py", "torch.load(p, weights_only=True)") == []
    assert forbidden(PACKAGE / "checkpoints" / "files.py", "torch.load(p)")
