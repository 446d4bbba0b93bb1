"""Train the built-in evaluator on the built-in sets and write the weights file that the package carries.

    OMP_NUM_THREADS=1 python scripts/train_evaluator.py

The same seed, torch and machine give the same file. The training clips are made with a seed of their own, so that
none of them is a clip that the default sets show to a model; the figures in the file's header are of the test split.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import videodiff
from videodiff.data.synthetic import BouncingDigits, DriftingClouds, bounce
from videodiff.metrics import baselines
from videodiff.metrics.features.evaluator_net import DAMAGES, ClipNet, DigitNet
from videodiff.metrics.motion.locate import locate
from videodiff.seeding import generator, key_to_seed

SHIPPED = Path(videodiff.__file__).parent / "metrics" / "features" / "evaluator-v1.safetensors"
FRAMES, SIZE = 16, 32
DATA_SEED = 1  # the default sets have 0


@dataclass
class Clips:
    """Clips uint8 ``[N, T, H, W, 3]``, classes ``[N]`` (digits 0-9, weathers 10-13), mean motion ``[N, 4]``."""

    clips: Tensor
    classes: Tensor
    motion: Tensor

    def __len__(self) -> int:
        return len(self.clips)


def draw(split: str, num_digits: int, num_clouds: int, seed: int, size: int = SIZE) -> Clips:
    """Clips of both sets, digits first."""
    digits = BouncingDigits(split, num_digits, FRAMES, size, seed)
    clouds = DriftingClouds(split, num_clouds, FRAMES, size, seed)
    motion = []
    for index in range(num_digits):
        path = digits.paths(index)[0]
        steps = np.diff(bounce(path.start, path.velocity, np.arange(FRAMES), digits.room), axis=0)
        motion.append(np.concatenate([np.abs(steps).mean(0), steps.mean(0)]))
    for index in range(num_clouds):
        velocity = clouds.sky(index).velocity
        motion.append(np.concatenate([np.abs(velocity), velocity]))
    clips = [source.read(index, 0, FRAMES, 1) for source in (digits, clouds) for index in range(len(source))]
    classes = torch.tensor(digits.labels + [10 + label for label in clouds.labels])
    return Clips(torch.stack(clips), classes, torch.from_numpy(np.stack(motion)).float() * 32 / size)


def damaged(clips: Tensor, others: Tensor, kind: str, seed: int, rng: torch.Generator) -> Tensor:
    """The clips with one kind of damage of random strength; `others` are of the same set."""
    if kind == "noise":
        amplitude = 0.03 * 10 ** torch.rand((), generator=rng).item()  # 0.03 .. 0.3
        return baselines.add_noise(clips, amplitude, seed)
    if kind == "blur":
        return baselines.blur(clips)
    if kind == "shuffled":
        return baselines.shuffle_frames(clips, seed)
    if kind == "frozen":
        return baselines.frozen_clips(clips)
    if kind == "jitter":
        shifts = torch.randint(-2, 3, (clips.shape[1], 2), generator=rng).tolist()
        return torch.stack([clips[:, t].roll(shift, (1, 2)) for t, shift in enumerate(shifts)], 1)
    if kind == "cut":
        at = int(torch.randint(4, clips.shape[1] - 3, (), generator=rng))
        return torch.cat([clips[:, :at], others[:, at:]], 1)
    if kind == "mixed":
        return ((clips.float() + others.float()) / 2).round().to(torch.uint8)
    return clips


@dataclass
class Batch:
    """Clips of one step; the masks say for which of them the class and the motion are defined."""

    clips: Tensor
    classes: Tensor
    motion: Tensor
    damage: Tensor
    has_class: Tensor
    has_motion: Tensor


def generate_batch(data: Clips, half: int, size: int, seed: int, step: int) -> Batch:
    """Half digits, half clouds; in each half five of eight clips are whole, the rest have one kind of damage."""
    rng = generator(seed, "evaluator batch", step)
    clips, rows, damage = [], [], []
    for first, end in ((0, half), (half, len(data))):
        row = torch.randint(first, end, (size // 2,), generator=rng)
        whole = size // 2 * 5 // 8
        kinds = torch.randperm(len(DAMAGES) - 1, generator=rng)[: size // 2 - whole] + 1
        kinds = torch.cat([torch.zeros(whole, dtype=torch.long), kinds])
        clips.append(data.clips[row[:whole]])
        for place in range(whole, len(row)):
            kind, here = DAMAGES[int(kinds[place])], data.clips[row[place]][None]
            other = data.clips[row[place - whole]][None]
            clips.append(damaged(here, other, kind, key_to_seed(seed, step, place), rng))
        rows.append(row)
        damage.append(kinds)
    row, kinds = torch.cat(rows), torch.cat(damage)
    names = np.array(DAMAGES)[kinds.numpy()]
    motion = data.motion[row].clone()
    motion[torch.from_numpy(names == "frozen")] = 0
    return Batch(
        torch.cat(clips),
        data.classes[row],
        motion,
        kinds,
        torch.from_numpy(~np.isin(names, ("cut", "mixed"))),
        torch.from_numpy(~np.isin(names, ("shuffled", "jitter", "cut", "mixed"))),
    )


def loss_of(net: ClipNet, batch: Batch) -> Tensor:
    """Cross-entropies of content and damage and the squared error of the motion, defined targets only."""
    content, motion, damage = net.heads(net.features(batch.clips))
    content_loss = F.cross_entropy(
        content[batch.has_class], batch.classes[batch.has_class], label_smoothing=0.02
    )
    motion_loss = F.mse_loss(motion[batch.has_motion], batch.motion[batch.has_motion])
    return content_loss + 2 * motion_loss + 0.5 * F.cross_entropy(damage, batch.damage)


def optimise(net: nn.Module, loss, steps: int, peak: float) -> None:
    """AdamW with one rise and fall of the learning rate; ``loss(step)`` gives the scalar to descend."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.15)
    net.train()
    for step in range(steps):
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps - 1:
            print(f"step {step}: loss {value.item():.4f}, {time.process_time():.0f} CPU s", flush=True)
    net.eval()


@torch.inference_mode()
def in_pieces(function, *tensors: Tensor, size: int = 64) -> Tensor:
    """The function on rows, a few at a time."""
    return torch.cat([function(*part) for part in zip(*(t.split(size) for t in tensors), strict=True)])


def train_digit_net(data: Clips, steps: int, seed: int) -> DigitNet:
    """The reader of single digits, on crops that :func:`locate` cut from two frames of each training clip."""
    crops = in_pieces(lambda clips: locate(clips).crops, data.clips[:, [3, 12]]).flatten(0, 1)
    classes = data.classes.repeat_interleave(2)
    net = DigitNet()

    def loss(step: int) -> Tensor:
        rng = generator(seed, "digit batch", step)
        row = torch.randint(len(crops), (128,), generator=rng)
        shade = 0.7 + 0.3 * torch.rand((128, 1, 1), generator=rng)
        grain = 0.05 * torch.randn((128, *crops.shape[1:]), generator=rng)
        return F.cross_entropy(net(shade * crops[row] + grain), classes[row], label_smoothing=0.02)

    optimise(net, loss, steps, 3e-3)
    return net


def measure(clip_net: ClipNet, digit_net: DigitNet, test: Clips, half: int) -> dict[str, float]:
    """Figures of the test split: shares of right classes, and R^2 of the four motions by set."""
    features = in_pieces(clip_net.features, test.clips)
    with torch.inference_mode():
        content, motion, _ = clip_net.heads(features)
    right = (content.argmax(1) == test.classes).double()
    figures = {"digit_accuracy": right[:half].mean().item(), "weather_accuracy": right[half:].mean().item()}
    for name, rows in (("digit", slice(0, half)), ("cloud", slice(half, None))):
        error = (motion[rows] - test.motion[rows]).square().mean(0)
        figures[f"{name}_motion_r2"] = (1 - error / test.motion[rows].var(0)).mean().item()
    crops = in_pieces(lambda clips: locate(clips).crops, test.clips[:half]).flatten(0, 1)
    read = in_pieces(lambda part: digit_net(part).argmax(1), crops, size=1024)
    truth = test.classes[:half].repeat_interleave(FRAMES)
    figures["frame_accuracy"] = (read == truth).double().mean().item()
    return {name: round(value, 4) for name, value in figures.items()}


def to_file(clip_net: ClipNet, digit_net: DigitNet, mean: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Kernels and matrices in fp16, everything else in fp32 (the variances of a batch norm may be tiny)."""
    tensors = {f"clip.{name}": value for name, value in clip_net.state_dict().items()}
    tensors |= {f"digit.{name}": value for name, value in digit_net.state_dict().items()}
    tensors |= {"mean": mean, "scale": scale}
    tensors = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    return {name: (v.half() if v.ndim > 1 else v.float()).contiguous() for name, v in tensors.items()}


def main() -> None:
    """Draw, train, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps", type=int, default=4000, help="of the clip network; the digit reader takes half"
    )
    parser.add_argument("--clips", type=int, default=4096, help="of each set to train on")
    parser.add_argument("--test_clips", type=int, default=1024, help="of each set to measure on")
    parser.add_argument("--batch_size", type=int, default=32)
    args = parser.parse_args()

    start = time.process_time()
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    data = draw("train", args.clips, args.clips, DATA_SEED)
    print(f"{len(data)} clips drawn, {time.process_time() - start:.0f} CPU s", flush=True)
    clip_net = ClipNet()
    optimise(
        clip_net,
        lambda step: loss_of(clip_net, generate_batch(data, args.clips, args.batch_size, args.seed, step)),
        args.steps,
        3e-3,
    )
    digits = Clips(data.clips[: args.clips], data.classes[: args.clips], data.motion[: args.clips])
    digit_net = train_digit_net(digits, max(args.steps // 2, 1), args.seed)
    features = in_pieces(clip_net.features, data.clips).double()
    mean, scale = features.mean(0), features.std(0)
    tensors = to_file(clip_net, digit_net, mean, scale)

    for net, prefix in (
        (clip_net, "clip."),
        (digit_net, "digit."),
    ):  # measure what is stored, not what was trained
        stored = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
        net.load_state_dict(stored, strict=False)
    test = draw("test", args.test_clips, args.test_clips, 0)
    figures = measure(clip_net, digit_net, test, args.test_clips)
    command = (
        f"python scripts/train_evaluator.py --seed {args.seed} --steps {args.steps} --clips {args.clips} "
        f"--batch_size {args.batch_size}"
    )
    about = {
        "name": "evaluator-v1",
        "command": command,
        "versions": f"torch {torch.__version__}, numpy {np.__version__}",
        "figures": {"test_clips": args.test_clips, **figures},
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    # One entry: safetensors writes several in an order that changes from run to run, and with it the file's digest.
    save_file(tensors, args.output, metadata={"record": json.dumps(about)})
    print(json.dumps(about, indent=1))
    print(
        f"{args.output}: {args.output.stat().st_size} bytes, {time.process_time() - start:.0f} CPU s in all"
    )


if __name__ == "__main__":
    main()
