"""doctor: what an installation can do, and one line on each thing to fix."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from videodiff.cli.arguments import LightParser

PACKAGES = (
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "jsonargparse",
    "av",
    "einops",
    "numpy",
    "tensorboard",
)
COMPROMISED = ("2.6.2", "2.6.3")
FREE_BYTES = 5 * 2**30
SHARED_BYTES = 2**28  # more than two workers with batches of 8 clips of 16 x 256 x 256 need
CODECS = ("libx264", "ffv1")

# Run in a process of its own: a broken torch, torchvision or Lightning may end it.
PROBE = """
import json, sys
import torch
gpus = []
for i in range(torch.cuda.device_count()):
    p = torch.cuda.get_device_properties(i)
    gpus.append({"name": p.name, "memory": p.total_memory})
found = {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}
found["bf16"] = bool(gpus) and torch.cuda.is_bf16_supported(including_emulation=False)
found["nccl"] = torch.distributed.is_available() and torch.distributed.is_nccl_available()
print(json.dumps(found), flush=True)
import pytorch_lightning
print("lightning", flush=True)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        name: what was looked at.
        ok: whether it is as it should be.
        text: what was found, or how to put it right.
    """

    name: str
    ok: bool
    text: str


def run(argv: list[str]) -> int:
    """Look at everything; 0 if all is well, 1 if something needs fixing."""
    parser = LightParser("videodiff doctor", description="Check this installation, GPUs, codecs and disk.")
    parser.add_argument("--json", action="store_true", help="machine-readable, on stdout")
    args = parser.parse_args(argv)
    findings = [*packages(), pinned_torch(), *probed(), *codecs(), *places(), *shared_memory(), *variables()]
    if args.json:
        print(
            json.dumps(
                {"ok": all(f.ok for f in findings), "findings": [asdict(f) for f in findings]}, indent=2
            )
        )
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'fix:'} {finding.name:20s} {finding.text}")
    return 0 if all(finding.ok for finding in findings) else 1


def packages() -> list[Finding]:
    """Python and the packages that everything needs, from their metadata."""
    python = ".".join(map(str, sys.version_info[:3]))
    findings = [Finding("python", sys.version_info >= (3, 10), f"{python} at {sys.executable}")]
    for name in PACKAGES:
        version = _version(name)
        if version is None:
            findings.append(Finding(name, False, f"not installed: pip install {name}"))
        elif name == "pytorch-lightning" and version in COMPROMISED:
            text = f"{version} was published by an attacker: pip install 'pytorch-lightning!=2.6.2,!=2.6.3'"
            findings.append(Finding(name, False, text))
        else:
            findings.append(Finding(name, True, version))
    return findings


def pinned_torch() -> Finding:
    """Torchvision is built for one torch; a mismatch breaks the import of Lightning."""
    torch, vision = _version("torch"), _version("torchvision")
    if torch is None or vision is None:
        return Finding("torchvision", True, "not installed (only lpips needs it)")
    pin = torch_pin(metadata.requires("torchvision") or [])
    builds = {version.partition("+")[2] for version in (torch, vision)} - {""}
    if len(builds) <= 1 and (pin is None or fits(torch, pin)):
        return Finding("torchvision", True, f"{vision}, made for torch {pin or 'of any version'}")
    text = f"{vision} is made for torch {pin}, found {torch}: reinstall both from one index, torch first"
    return Finding("torchvision", False, text)


def torch_pin(requires: list[str]) -> str | None:
    """What a package asks of torch (``==2.6.0``), from the requirements in its metadata."""
    matches = (re.match(r"torch\s*\(?((?:[=<>!~]=?[^;)]+)+)\)?", line) for line in requires)
    return next((match[1].strip() for match in matches if match), None)


def fits(version: str, pin: str) -> bool:
    """Whether a version (``2.6.0+cpu``) satisfies a requirement."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(pin).contains(version, prereleases=True)


def probed() -> list[Finding]:
    """What importing torch and Lightning in a process of its own shows: GPUs, bf16, NCCL."""
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        return [
            Finding(
                "import", False, "importing torch took more than 180 s; is the disk or a GPU driver stuck?"
            )
        ]
    lines = done.stdout.splitlines()
    reason = next(
        (line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}"
    )
    if not lines:
        return [Finding("import torch", False, f"{reason}: reinstall torch")]
    found = json.loads(lines[0])
    if "lightning" in lines:
        lightning = Finding("import lightning", True, "works")
    else:
        lightning = Finding(
            "import lightning", False, f"{reason}: reinstall torch and torchvision from one index"
        )
    return [lightning, *_gpus(found)]


def _gpus(found: dict) -> list[Finding]:
    if not found["gpus"]:
        return [Finding("gpu", True, f"none (torch {found['version']}); training runs on the CPU")]
    named = [f"{gpu['name']} {gpu['memory'] / 2**30:.0f} GiB" for gpu in found["gpus"]]
    findings = [Finding("gpu", True, f"{len(named)}: {', '.join(named)}; CUDA {found['cuda']}")]
    findings.append(Finding("bf16", True, "yes" if found["bf16"] else "no; runs use 32-true"))
    if len(named) > 1:
        text = "yes" if found["nccl"] else "this torch has no NCCL: several GPUs need one that has"
        findings.append(Finding("nccl", found["nccl"], text))
    return findings


def codecs() -> list[Finding]:
    """The encoders that samples are written with."""
    try:
        import av
    except ImportError as error:
        return [Finding("codecs", False, f"{error}: pip install --force-reinstall av")]
    findings = []
    for name in CODECS:
        try:
            av.Codec(name, "w")
            findings.append(Finding(name, True, f"PyAV {av.__version__}"))
        except ValueError:  # av's UnknownCodecError
            findings.append(
                Finding(name, False, f"PyAV {av.__version__} lacks it: pip install --force-reinstall av")
            )
    return findings


def places() -> list[Finding]:
    """Room and write access where runs go."""
    findings = []
    for name, folder in (("runs", Path("runs") if Path("runs").is_dir() else Path.cwd()), ("temp", _temp())):
        free = shutil.disk_usage(folder).free
        text = f"{free / 2**30:.1f} GiB free in {folder.resolve()}"
        advice = "" if name == "temp" or free >= FREE_BYTES else ": make room, or point --out at another disk"
        findings.append(Finding(f"disk, {name}", not advice, text + advice))
        try:
            with tempfile.NamedTemporaryFile(dir=folder):
                findings.append(Finding(f"write, {name}", True, str(folder.resolve())))
        except OSError as error:
            findings.append(
                Finding(f"write, {name}", False, f"{folder}: {error.strerror}: choose another folder")
            )
    return findings


def shared_memory() -> list[Finding]:
    """Room for the batches of loader workers; containers give 64 MiB."""
    if not sys.platform.startswith("linux"):
        return []
    from videodiff import memory

    free, total = memory.room() or (0, 0)
    text = f"{memory.shown(free)} free of {memory.shown(total)} in {memory.FOLDER}"
    needs = {name: need for name, need in shared_needs().items() if need > free}
    if needs:
        most = max(needs, key=lambda name: needs[name])
        text += (
            f"; {len(needs)} of the shipped configs need more, {most} the most ({memory.shown(needs[most])}): their "
            "batches go through pipes, which is slower"
        )
    if free < SHARED_BYTES:
        size = memory.size_to_ask(max([SHARED_BYTES, *needs.values()]))
        cure = f"start the container with --shm-size {size}, or read clips in one process with --data.num_workers 0"
        return [Finding("shared memory", False, f"{text}: {cure}")]
    return [Finding("shared memory", True, text)]


def shared_needs() -> dict[str, int]:
    """Bytes of shared memory that each shipped config needs for one process on one machine."""
    from videodiff.config import load_yaml, shipped_configs
    from videodiff.frame_size import FrameSize
    from videodiff.memory import shared_need

    needs = {}
    for name, file in shipped_configs().items():
        if "/" in name:  # an overlay
            continue
        config = load_yaml(file)
        data, parts = config["data"].get("init_args", {}), config["trainer"].get("accumulate_grad_batches", 1)
        size, frames = FrameSize.of(data.get("resolution", 64)), data.get("num_frames", 16)
        clip = 3 * size.pixels
        batch, images = data.get("batch_size", 8) // parts, data.get("images_per_video", 0)
        train, val = batch * (frames + images) * clip, (data.get("eval_batch_size") or batch) * frames * clip
        workers = data.get("num_workers", 2)
        needs[name] = sum(shared_need(workers, (train, val))) if workers else 0
    return needs


def variables() -> list[Finding]:
    """Environment variables that change what videodiff does."""
    found = [Finding(k, True, v) for k, v in sorted(os.environ.items()) if k.startswith("VIDEODIFF_")]
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") in ("1", "y", "yes", "true"):
        found.append(
            Finding("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", False, "unset it: it lets checkpoints run code")
        )
    return found


def _temp() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # no temporary folder can be written
        return Path(os.environ.get("TMPDIR", "/tmp"))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
