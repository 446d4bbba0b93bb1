"""What one GPU does: the same outputs as a CPU, speed, memory, generating, feeding, and 90 seconds of training.

    python benchmarks/gpu.py --out gpu.json                                   # all of it, at most 8 minutes
    python benchmarks/gpu.py --sections step,sample --minutes 3 --out gpu.json
    python benchmarks/gpu.py --size smallest --out gpu.json                   # a few seconds, on a CPU too
    python benchmarks/gpu.py --show gpu.json                                  # the tables of a record once more

The record is written after every case and is whole whenever the program is stopped. Each case has a process of its
own: what runs out of memory, raises or takes too long is named in the record, and the next goes on. docs/gpu.md says
what the sections measure and what is aimed at. A new system is one line of ``SYSTEMS``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault(
    "PYTORCH_NVML_BASED_CUDA_CHECK", "1"
)  # else a look for devices ends the children's use of them

from gpu_agree import agree
from gpu_setting import Setting, System, machine
from gpu_step import estimate, step
from gpu_table import tables
from gpu_use import feed, sample, train
from in_sections import Process, Record, Section, run_case, run_sections

import videodiff
from videodiff.cli.lightning import quiet_lightning
from videodiff.networks import ResBlock
from videodiff.networks.layers3d import Residual
from videodiff.networks.timesformer import TimeSformerBlock

ALONE = (
    "--model.frame_discriminator",
    "null",
    "--model.clip_discriminator",
    "null",
    "--model.perceptual_weight",
    "0",
)
JUDGED = ("--model.start_step", "0")
SYSTEMS = (
    System("PVDM-L", ("pvdm_sky",), 64, ResBlock, 0.35, 380, kept=True),
    System("LVDM", ("lvdm_sky",), 64, ResBlock, 0.35, kept=True, in_smallest=True),
    System("VDM", ("vdm_ucf101",), 16, ResBlock, 0.35),
    System(
        "PVDM first stage, alone", ("pvdm_autoencoder_sky",), 16, TimeSformerBlock, 0.5, 50,
        options=ALONE, in_smallest=True,
    ),
    System("LVDM first stage, alone", ("lvdm_autoencoder_sky",), 8, Residual, 0.5, options=ALONE),
    System("PVDM-S", ("pvdm_sky", "with/small"), 64, ResBlock, 0.35, kept=True),
    System("VDM, width 64", ("vdm_sky",), 64, ResBlock, 0.35, 370),
    System("PVDM first stage, judged", ("pvdm_autoencoder_sky",), 16, TimeSformerBlock, 0.5, options=JUDGED),
    System("LVDM first stage, judged", ("lvdm_autoencoder_sky",), 8, Residual, 0.5, options=JUDGED),
)  # fmt: skip
SMALLEST = ("--size", "smallest", "--minutes", "4")
COMPARED = ("vdm_digits", "lvdm_digits", "pvdm_digits", "lvdm_autoencoder_digits", "pvdm_autoencoder_digits")
"""Configs whose networks are compared with the CPU at their own size, beside the systems in their smallest form."""


def sections_of(setting: Setting, systems: tuple[System, ...]) -> list[Section]:
    """All sections, the most telling first; seconds add up to eight minutes."""
    smallest = Setting(setting.device, smallest=True)
    compared = {f"{s.configs[0]}, smallest": partial(agree, smallest, s.configs[:1]) for s in systems}
    if not setting.smallest:
        compared |= {c: partial(agree, setting, (c,)) for c in COMPARED}
    generated = [s for s in systems if s.options != JUDGED]
    compiled = systems[-1:] if setting.smallest else systems  # tracing alone takes seconds each
    return [
        Section("agree", 50, compared),
        Section("step", 130, {s.name: partial(step, setting, s, False) for s in systems}),
        Section("sample", 70, {s.name: partial(sample, setting, s) for s in generated}),
        Section("train", 105, {"vdm_digits": partial(train, setting)}),
        Section("feed", 45, {form: partial(feed, setting, form) for form in ("videos", "packed", "stored latents")}),
        Section("compiled", 80, {s.name: partial(step, setting, s, True) for s in compiled}),
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sections", help="some of agree, step, sample, train, feed, compiled, with commas (default: all)"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it (default: 8)")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the record")
    parser.add_argument("--size", choices=["published", "smallest"], default="published")
    parser.add_argument(
        "--show", type=Path, metavar="FILE", help="print the tables of a record; measure nothing"
    )
    options = parser.parse_args(argv)
    if options.show:
        print(tables(json.loads(options.show.read_text()), SYSTEMS))
        return 0
    if not 0 < options.minutes < float("inf"):
        parser.error(f"--minutes must be above 0, got {options.minutes}")
    quiet_lightning()
    began, found = time.monotonic(), {}
    run_case(machine, 120, found.update)
    if "error" in found:
        print(f"the device does not answer: {found['error']}", file=sys.stderr)
        return 1
    setting = Setting(found["device"], options.size == "smallest")
    if setting.device == "cpu" and not setting.smallest:
        parser.error("there is no CUDA device here; --size smallest runs on a CPU")
    systems = tuple(s for s in SYSTEMS if s.in_smallest or not setting.smallest)
    sections = sections_of(setting, systems)
    wanted = options.sections.split(",") if options.sections else [s.name for s in sections]
    if unknown := set(wanted) - {s.name for s in sections}:
        parser.error(
            f"--sections: no {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in sections)}"
        )
    sections = [section for section in sections if section.name in wanted]
    record = Record(
        options.out,
        {"format": 1, "videodiff": videodiff.__version__, "size": options.size, "machine": found},
    )
    counting = Process(partial(estimate, setting, systems)) if "step" in wanted else None

    def take_estimates() -> None:
        while counting is not None and counting.connection.poll(0) and not counting.listen(0):
            record.head["estimate"] = counting.figures

    try:
        run_sections(sections, record, options.minutes - (time.monotonic() - began) / 60, take_estimates)
        left = 60 * options.minutes - (time.monotonic() - began)
        while counting is not None and left > 0 and not counting.listen(left):
            left = 60 * options.minutes - (time.monotonic() - began)
        if counting is not None:
            record.head["estimate"] = counting.figures
    finally:
        if counting is not None:
            counting.end()
        record.head["wall_s"] = round(time.monotonic() - began, 1)
        record.flush()
    print(tables(json.loads(options.out.read_text()), SYSTEMS))
    return 1 if any("failed" in entry for entry in record.sections.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
