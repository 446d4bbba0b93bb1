"""The documentation site: links resolve, all pages are in the menu, commands parse, examples run, it builds."""

import argparse
import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from videodiff.cli import COMMANDS, help, main
from videodiff.cli.commands import compare, encode, evaluate, generate, info, prepare
from videodiff.config import find_config

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OURS = [
    DOCS / f"{n}.md" for n in ("index", "quickstart", "models", "numbers", "add_a_model", "scaling", "faq")
]
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", flags=re.S | re.M)
LIGHT = {
    "generate": generate,
    "evaluate": evaluate,
    "prepare": prepare,
    "compare": compare,
    "encode": encode,
    "info": info,
}


def anchor(heading):
    """The name that a heading gets in a page's address."""
    kept = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
    return re.sub(r"[\s-]+", "-", kept)


def headings(path):
    text = CODE.sub("", path.read_text())
    return {anchor(found) for found in re.findall(r"^#+ (.+)$", text, flags=re.M)}


def nav(entries):
    """Every file of the menu."""
    for entry in entries:
        (target,) = entry.values()
        if isinstance(target, str):
            yield target
        else:
            yield from nav(target)


def commands():
    """Commands of the new pages, continued lines joined, in any block of a shell."""
    for page in OURS:
        for block in re.findall(r"```(?:sh|bash|)\n(.*?)```", page.read_text(), flags=re.S):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"(?:^|\s)(?:-m )?videodiff (?=[a-z-]+ )(.*)", line)
                if found and not line.startswith("#"):
                    yield pytest.param(
                        shlex.split(found[1], comments=True), id=f"{page.stem}: {found[1][:60]}"
                    )


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda p: p.name)
def test_every_link_of_a_page_leads_somewhere(page):
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, fragment = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        if fragment:
            assert fragment in headings(path), link


def test_every_page_is_in_the_menu_once_and_nothing_else():
    listed = list(nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert len(listed) == len(set(listed))
    notebooks = [f"notebooks/{p.stem}.md" for p in (ROOT / "notebooks").glob("*.py")]
    pages = [p.relative_to(DOCS).as_posix() for p in PAGES]
    assert sorted(listed) == sorted([*pages, *notebooks, "benchmarks.md"])


def test_every_module_of_the_api_pages_exists_and_says_what_it_is():
    modules = [
        name
        for page in (DOCS / "api").glob("*.md")
        for name in re.findall(r"^::: (\S+)", page.read_text(), flags=re.M)
    ]
    assert len(modules) == len(set(modules)) > 40
    for name in modules:
        path = ROOT / "src" / Path(*name.split(".")).with_suffix(".py")
        assert path.read_text().startswith('"""'), name


@pytest.mark.parametrize("words", commands())
def test_every_command_of_the_new_pages_parses(words, tmp_path, monkeypatch):
    assert words[0] in COMMANDS
    for name in (b for a, b in pairwise(words) if a == "--config" and b != "mine.yaml"):
        find_config(name)
    if words[0] in LIGHT:
        monkeypatch.chdir(tmp_path)
        for name in (
            b for a, b in pairwise(words) if a == "--condition"
        ):  # it is looked for as the words are read
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
        parser = LIGHT[words[0]].parser()
        known, rest = parser.parse_known_args(words[1:])
        assert isinstance(known, argparse.Namespace)
        assert all(word.startswith("--data.") or not word.startswith("-") for word in rest), rest
    elif words[0] in ("fit", "test") and "mine.yaml" not in words:
        options = [word for word in words if word.startswith("--")]
        from videodiff.config.check import root_hints

        known = {
            "--config",
            "--out",
            "--name",
            "--ckpt_path",
            "--trust",
            "--print_config",
            "--protocol",
            "--num_clips",
        }
        for option in options:
            assert option in known or option[2:].split(".")[0] in root_hints(words[0]), option


def test_the_configs_of_the_pages_are_those_that_are_shipped():
    shipped = {p.stem for p in (ROOT / "configs").glob("*.yaml")}
    for page in OURS:
        for name in re.findall(r"`((?:vdm|lvdm|pvdm)_[a-z0-9_]+)`", page.read_text()):
            assert name in shipped, f"{page.name}: {name}"
    text = (DOCS / "models.md").read_text()
    for name in shipped:
        if "autoencoder" not in name:
            assert f"`{name}`" in text, name


def test_the_overlay_of_the_scaling_page_and_its_promises_hold():
    text = (DOCS / "scaling.md").read_text()
    overlay = yaml.safe_load((ROOT / "configs/with/ddp8.yaml").read_text())["trainer"]
    assert (overlay["devices"], overlay["strategy"]) == (8, "ddp")
    assert "eight GPUs, DDP, bf16-mixed" in text
    from videodiff.callbacks.checkpoint import RunCheckpoint
    from videodiff.callbacks.nonfinite import NonFiniteGuard
    from videodiff.callbacks.watchdog import Watchdog

    saving = RunCheckpoint()
    assert f"at most {saving.every_minutes:.0f} minutes or {saving.every_n_steps} steps" in text
    assert (Watchdog().min_seconds, NonFiniteGuard().max_in_a_row) == (
        600,
        10,
    )  # "ten minutes", "ten in a row"


def test_the_batch_script_is_valid_and_goes_back_into_the_queue_when_the_time_is_up(tmp_path):
    (script,) = re.findall(r"```bash\n(.*?)```", (DOCS / "scaling.md").read_text(), flags=re.S)
    calls = tmp_path / "calls"
    for name, code in (("srun", 143), ("scontrol", 0)):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f'#!/bin/bash\necho {name} "$@" >> {calls}\nexit {code}\n')
        tool.chmod(0o755)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text("")
    variables = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SLURM_NNODES": "2", "SLURM_JOB_ID": "77"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    first, second = calls.read_text().splitlines()
    assert first.startswith(
        "srun videodiff fit --config pvdm_ucf101 --config with/ddp8 --trainer.num_nodes 2 "
    )
    assert second == "scontrol requeue 77"


def test_the_network_and_the_config_of_the_page_train_and_draw(tmp_path, monkeypatch, capsys):
    text = (DOCS / "add_a_model.md").read_text()
    (network,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    config, combined = re.findall(r"```yaml\n(.*?)```", text, flags=re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("my_net.py").write_text(network)
    Path("mine.yaml").write_text(config)
    Path("combined.yaml").write_text(combined)
    small = "--trainer.max_steps 2 --trainer.limit_val_batches 1 --trainer.val_check_interval 2"
    lines = [
        line
        for line in re.search(r"```sh\n(.*?)```", text, flags=re.S)[1].splitlines()
        if "compare" not in line
    ]
    lines.append("videodiff fit --config combined.yaml")
    for line in lines:
        words = shlex.split(line)[1:]
        more = small.split() if words[0] == "fit" else ["--steps", "2", "--num_samples", "1"]
        assert main([*words, *more]) == 0, f"{line}: {capsys.readouterr().err[-400:]}"
    sys.modules.pop("my_net", None)


def test_the_help_knows_every_command_the_pages_name():
    for page in OURS:
        for name in re.findall(r"`videodiff ([a-z-]+)", page.read_text()):
            assert re.search(rf"^  {name} ", help.MAIN, flags=re.M), f"{page.name}: {name}"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs (extra docs) is not installed")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    page = (tmp_path / "site/api/diffusion/index.html").read_text()
    assert "DDIMSampler" in page
    assert "https://fonts." not in page


def test_the_fields_of_a_named_tuple_are_told_as_attributes():
    """It has no constructor of its own: a build of the site that is strict stops at arguments nobody takes."""
    told = [
        f"{path.name}: {node.name}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "NamedTuple" for base in node.bases)
        and "Args:" in (ast.get_docstring(node) or "")
    ]
    assert told == []
