"""A test run with VideoEvaluation on a model that draws in closed form; several processes can import and do it."""

import json
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn

from eval_fakes import fake_detector
from videodiff.data import BouncingDigits, VideoDataModule, video_io
from videodiff.data.pixels import to_float, to_uint8
from videodiff.diffusion import DDIMSampler
from videodiff.evaluation.callback import VideoEvaluation
from videodiff.evaluation.continued import NEXT_DRAW
from videodiff.sampling import VideoModel
from videodiff.seeding import generator

PREDICTION = "random:8:given=2:draws=3:best_of=2"


class Draws(pl.LightningModule, VideoModel):
    """Generated clip i is test clip 4000 + i with grain: as good as real when the grain is 0."""

    video_shape = (3, 8, 16, 16)
    guidance_scale = 1.0

    def __init__(self, grain=0.0, classes=None, poison=False):
        super().__init__()
        self.net = nn.Linear(1, 1)  # what DDP holds
        self.sampler, self.classes = DDIMSampler(7), classes
        self.grain, self.poison = grain, poison
        self.calls = []

    def test_step(self, batch, batch_idx):
        self.log("test/loss", batch["video"].mean(), batch_size=len(batch["sample"]), sync_dist=True)

    @property
    def num_classes(self):
        return self.classes

    @property
    def answers(self):
        return frozenset({"label"})

    @property
    def first_stage(self):
        return None

    def parts(self):
        return {}

    def is_long(self, num_frames):
        return False

    def check_request(self, request, num_frames):
        pass

    def decode_frames(self, latent, num_frames):
        yield latent

    def generate_windows(self, call):
        assert not torch.is_inference_mode_enabled()
        self.calls.append((list(call.indices), call.request.label))
        source = BouncingDigits("test", 5000, call.num_frames, 16)
        clips = torch.stack([source.read(4000 + i, 0, call.num_frames, 1) for i in call.indices])
        noise = [torch.randn(clips[0].shape, generator=generator(call.seed, i)) for i in call.indices]
        video = video_io.to_float(clips) + self.grain * torch.stack(noise)
        if self.poison:
            video[0, 0, 0, 0, 0] = float("nan")
        return video.permute(0, 4, 1, 2, 3).clamp(-1, 1)


class Continues(Draws):
    """Draw d of test clip i is that clip with grain; its given frames come back darker, as a first stage may do it."""

    def __init__(self, grain=0.3, darker=0.0, **options):
        super().__init__(grain, **options)
        self.darker, self.made = darker, {}

    @property
    def answers(self):
        return frozenset({"label", "frames"})

    def generate_windows(self, call):
        truth = torch.stack([truth_of(index % NEXT_DRAW) for index in call.indices])
        given = len(call.request.positions)
        assert torch.equal(call.request.frames, to_float(truth).permute(0, 4, 1, 2, 3)[:, :, :given])
        noise = [torch.randn(truth[0].shape, generator=generator(call.seed, i)) for i in call.indices]
        video = (to_float(truth) + self.grain * torch.stack(noise)).permute(0, 4, 1, 2, 3)
        video[:, :, :given] = call.request.frames - self.darker
        self.calls.append((list(call.indices), call.request.label))
        video = video.clamp(-1, 1)
        self.made |= {i: to_uint8(v).permute(1, 2, 3, 0) for i, v in zip(call.indices, video, strict=True)}
        return video


class Follows(Draws):
    """Generated clip i is real clip i, whose caption it is told; or the one before, which it is not."""

    def __init__(self, late=0):
        super().__init__()
        self.late, self.prompts = late, []

    @property
    def answers(self):
        return frozenset({"prompt"})

    def generate_windows(self, call):
        self.prompts += call.request.prompt
        clips = torch.stack([truth_of((index + self.late) % 12) for index in call.indices])
        return to_float(clips).permute(0, 4, 1, 2, 3)


def truth_of(place):
    return BouncingDigits("test", 12, 8, 16).read(place, 0, 8, 1)


def data(**options):
    options = {"dataset": "bouncing_digits", "num_test_clips": 12, **options}
    return VideoDataModule(num_frames=8, resolution=16, num_workers=0, batch_size=4, **options)


def run(tmp_path, model=None, datamodule=None, loggers=False, devices=1, **options):
    options = {"folders": [tmp_path / "run"], "cache": tmp_path / "cache", **options}
    judge = VideoEvaluation(**options)
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, logger=loggers, callbacks=[judge], enable_progress_bar=False,
        use_distributed_sampler=False, enable_checkpointing=False, default_root_dir=str(tmp_path),
        strategy="ddp" if devices > 1 else "auto",
    )  # fmt: skip
    found = trainer.test(model or Draws(), datamodule=datamodule or data(), verbose=False)
    return judge, found


def with_fakes(**options):
    return {"protocol": "random:8", "make_detectors": lambda p: [fake_detector("random")], **options}


def rank_of_job(folder, batch_size):
    """One of two processes: real clips from their shares at first, from the cache the second time."""
    folder = Path(folder)
    options = {"devices": 2, "batch_size": batch_size, "folders": [folder / "run"], **with_fakes()}
    for turn in range(2):
        judge, _ = run(folder, Draws(grain=0.1, classes=10), data(num_test_clips=11), **options)
        if judge.result is not None:
            (folder / f"two{turn}.json").write_text(json.dumps(judge.result.to_dict()))


def rank_of_prediction(folder):
    """One of two processes, each of which continues its share of the clips."""
    folder = Path(folder)
    fakes = {"make_detectors": lambda p: [fake_detector("random")]}
    judge, _ = run(
        folder,
        Continues(),
        data(num_test_clips=11),
        protocol=PREDICTION,
        devices=2,
        folders=[folder / "run"],
        **fakes,
    )
    if judge.result is not None:
        (folder / "two.json").write_text(json.dumps(judge.result.to_dict()))
