"""evaluate: distances between two folders of videos under a named protocol, without a model."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.cli.arguments import LightParser
from videodiff.frame_size import size_option
from videodiff.plain import parse_json
from videodiff.say import counted
from videodiff.usage import UsageError
from videodiff.words import whole, writable

EPILOG = """protocols:
  styleganv (default), tf_original, videogpt, pvdm, lvdm, tats, vdm, digan, latte: FVD, KVD and IS-K400, which need the
  weights of I3D; random: rand-FD, which needs none. NAME:128 is the 128-frame form, NAME:eps=1e-5:ddof=1 changes
  switches. Two names explain the difference between their figures, switch by switch.

examples:
  videodiff evaluate data/ucf101/train runs/vdm/1/generate/1
  videodiff evaluate real/ generated/ --protocol random --num_clips 64
  videodiff evaluate real/ generated/ --protocol styleganv,pvdm --resolution 256
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``evaluate``."""
    p = LightParser(
        "videodiff evaluate",
        description="Compare a folder of generated videos with a folder of real ones.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add(
        "real",
        metavar="REAL",
        type=Path,
        help="folder of videos, or of folders of frames; or cached statistics .npz",
    )
    add(
        "generated",
        metavar="GENERATED",
        type=Path,
        help="folder of generated videos, or of folders of frames",
    )
    add(
        "--protocol",
        default="styleganv",
        metavar="P[,Q]",
        help="how to measure (default styleganv); see below",
    )
    add("--frames", type=whole(), metavar="N", help="frames per clip (default 16)")
    add(
        "--layout",
        choices=("auto", "images"),
        default="auto",
        help="images: each picture is a clip, with --frames 1 (default auto: a folder of pictures is a video)",
    )
    add("--num_clips", type=whole(2), metavar="N", help="clips of each side (default: the protocol's)")
    add(
        "--resolution",
        type=size_option(1, 32_768),
        metavar="N|HxW",
        help="crop and resize both sides to this size first, as for training (default: no resizing)",
    )
    add(
        "--resize",
        metavar="RULE",
        help="rule for --resolution, as data.resize of training (default antialias)",
    )
    add(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights of I3D (default: searched for; see docs/evaluation.md)",
    )
    add("--inception", action="store_true", help="also the inception score of C3D, for UCF-101")
    add(
        "--batch_size",
        type=whole(1, 100_000),
        default=16,
        help="clips read together; does not change the numbers (default 16)",
    )
    add("--seed", type=int, default=0, help="seed of clip windows and shuffling (default 0)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto)")
    add(
        "--against",
        metavar="FILE",
        help="show the numbers of another record beside the new ones; refused if not measured in the same way",
    )
    add("--json", action="store_true", help="print the record on stdout")
    add(
        "--out",
        type=writable,
        metavar="FILE|DIR",
        help="where to write the record: FILE.json, or DIR for a file named after its settings",
    )
    return p


def run(argv: Sequence[str]) -> int:
    """Parse, compare, report; returns the exit code."""
    args = parser().parse_args(argv)
    protocols = check(args)
    from videodiff.device import pick_device
    from videodiff.evaluation.folders import Folder, FolderComparison

    looks = (args.resolution, args.layout, args.resize or "antialias")
    compared = FolderComparison(
        args.real if args.real.is_file() else Folder(args.real, *looks),
        Folder(args.generated, *looks),
        args.seed,
        args.num_clips,
        pick_device(args.device),
        args.batch_size,
        args.weights and str(args.weights),
        args.inception,
        progress=Lines(),
    )
    check_target(args.out, [compared.call(protocol) for protocol in protocols])
    against = None
    if args.against is not None:
        from videodiff.evaluation.against import find_against

        against = find_against(args.against)
        against.check(*compared.measurement(protocols[0]))
    results = [compared.result(protocol) for protocol in protocols]
    record: dict[str, Any] = results[0].to_dict()
    for result in results:
        result.check_finite()
        tell(result)
    if len(results) == 2:
        explanation = explain(compared, protocols)
        print(explanation.table(), file=sys.stderr if args.json else sys.stdout)
        record = {"results": [result.to_dict() for result in results], "explanation": explanation.to_dict()}
    if args.json:
        print(json.dumps(record, indent=2, allow_nan=False))
    else:
        for result in results:
            print(result.table())
    if args.out is not None:
        save(results, record, args)
    if against is not None:
        print(f"\n{against.beside(results[0])}", file=sys.stderr if args.json else sys.stdout)
    return 0


def check(args: argparse.Namespace) -> list[Any]:
    """Folders and protocols, before anything heavy is loaded."""
    from videodiff.evaluation.protocol import get_protocol

    switches = {} if args.frames is None else {"frames": args.frames}
    protocols = [get_protocol(text, **switches) for text in args.protocol.split(",")]
    if len(protocols) > 2:
        raise UsageError(
            f"--protocol takes one protocol, or two to explain their difference, got {len(protocols)}"
        )
    if args.against is not None and len(protocols) > 1:
        raise UsageError("--against takes one protocol, not two whose difference is explained")
    if any(p.is_prediction for p in protocols):
        raise UsageError(
            f"--protocol {args.protocol} is of continued clips, and nothing says which of a folder's continue which: "
            "use videodiff test or compare"
        )
    if any(p.network == "evaluator" for p in protocols):
        raise UsageError(
            "--protocol evaluator measures the built-in data: use videodiff test; folders take --protocol random"
        )
    if len({p.network for p in protocols}) > 1:
        raise UsageError(f"--protocol {args.protocol}: the two use different networks and share nothing")
    if args.resize is not None and args.resolution is None:
        raise UsageError("--resize needs --resolution, the size to bring frames to")
    if args.num_clips is not None:
        protocols = [enlarged(protocol, args.num_clips) for protocol in protocols]
    for name in ("real", "generated"):
        path = getattr(args, name)
        cached = name == "real" and path.is_file() and path.suffix == ".npz"
        if not path.exists():
            raise UsageError(f"{name.upper()} {path}: no such folder")
        if not (path.is_dir() or cached):
            raise UsageError(
                f"{name.upper()} {path} is a file; give a folder of videos or of folders of frames"
            )
    if args.weights is not None and not args.weights.exists():
        raise UsageError(f"--weights {args.weights}: no such file")
    return protocols


def enlarged(protocol: Any, num_clips: int) -> Any:
    """The protocol with the count raised, if more clips are asked for than it wants; it is a custom one then."""
    wanted = {k: num_clips for k in ("num_real", "num_generated") if num_clips > getattr(protocol, k)}
    return protocol.changed(**wanted)


def explain(compared: Any, protocols: list[Any]) -> Any:
    """The way from the first protocol to the second."""
    from videodiff.evaluation.explain import explain_difference
    from videodiff.evaluation.folders import WITHOUT_EFFECT

    start, end = protocols
    return explain_difference(compared.look, start, end, without_effect=WITHOUT_EFFECT)


def tell(result: Any) -> None:
    """The warnings, on stderr."""
    for warning in result.warnings:
        print(f"videodiff: warning: {warning}", file=sys.stderr, flush=True)


def check_target(out: Path | None, calls: list[dict[str, Any]]) -> None:
    """A file may be overwritten only by the call that wrote it.

    Raises:
        UsageError: for a file that holds anything else, with the first thing it differs in.
    """
    from videodiff.evaluation.folders import call_of

    if out is None or out.suffix != ".json" or not out.exists():
        return
    try:
        found = parse_json(out.read_text(encoding="utf-8"))
        held = [call_of(record) for record in found.get("results", [found])]
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(
            f"--out {out} is no record of evaluate; nothing is overwritten, name another file"
        ) from error
    differ = [
        f"{key} {old.get(key)} against {new[key]}"
        for old, new in zip(held, calls, strict=False)
        for key in new
        if old.get(key) != new[key]
    ]
    if len(held) != len(calls):
        differ.insert(0, f"{counted(len(held), 'protocol')} against {len(calls)}")
    if differ:
        raise UsageError(
            f"--out {out} holds another measurement ({differ[0]}); nothing is overwritten, name another file"
        )


def save(results: list[Any], record: dict[str, Any], args: argparse.Namespace) -> None:
    """``--out``: one file, or one per protocol in a folder; written whole or not at all."""
    from videodiff.evaluation.names import digest_of, record_name

    if args.out.suffix == ".json":
        args.out.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(args.out, record, allow_nan=False)
        return
    for result in results:
        result.save(args.out / f"{record_name(result)}.json")
    if len(results) == 2:
        names = [record_name(result) for result in results]
        stem = f"explanation_{results[0].name}_{results[1].name}_{digest_of({'of': names})}"
        atomic.write_json(args.out / f"{stem}.json", record["explanation"])


class Lines:
    """Progress on stderr: in place on a terminal, else a line every half minute."""

    def __init__(self, every_seconds: float = 30.0) -> None:
        self.every_seconds, self.last = every_seconds, time.monotonic()

    def __call__(self, side: str, done: int, total: int) -> None:
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if now - self.last < (0.5 if terminal else self.every_seconds) and (done < total or not terminal):
            return
        self.last = now
        text = f"{side} clips {done}/{total}"
        end = "\n" if not terminal or done >= total else ""
        print(f"\r{text}" if terminal else f"videodiff: {text}", end=end, file=sys.stderr, flush=True)
