"""The torchmetrics classes over features: batches, indices, precision, bad input."""

import copy
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torchmetrics import MetricCollection

from eval_fixtures import eval_file, eval_recipe
from eval_weights import weights_file
from tiny_features import TinyFeatures, clips
from videodiff.metrics import (
    ClipFigure,
    ContentDebiasedFVD,
    FeatureStats,
    FrechetFrameDistance,
    FrechetInfinity,
    FrechetVideoDistance,
    I3DFeatures,
    KernelVideoDistance,
    ReconstructionFVD,
    StandardisedFrechetDistance,
    VideoInceptionScore,
    frechet_distance,
    frechet_interval,
    inception_score,
    kernel_distance,
    kernel_interval,
    softmax,
)

REAL, FAKE = clips(37, seed=1), clips(29, seed=2, low=60)


def fed(metric, batch, real=REAL, fake=FAKE):
    for part in real.split(batch):
        metric.update(part, real=True)
    for part in fake.split(batch):
        metric.update(part, real=False)
    return metric


def of_features(**options):
    return {
        "fvd": lambda: FrechetVideoDistance(TinyFeatures(), **options),
        "sums": lambda: FrechetVideoDistance(TinyFeatures(), keep_features=0, **options),
        "kvd": lambda: KernelVideoDistance(TinyFeatures(), **options),
        "cd_fvd": lambda: ContentDebiasedFVD(TinyFeatures(), **options),
        "frames": lambda: FrechetFrameDistance(TinyFeatures(min_frames=1), **options),
        "first": lambda: FrechetFrameDistance(TinyFeatures(min_frames=1), frames="first", **options),
    }


@pytest.mark.parametrize("kind", of_features())
def test_a_distance_does_not_depend_on_the_batches(kind):
    values = [fed(of_features()[kind](), batch).compute().item() for batch in (1, 3, 16, 100)]
    assert values[0] > 0
    assert values == pytest.approx([values[0]] * 4, rel=1e-9)


def test_the_classes_give_what_the_functions_give():
    net = TinyFeatures()
    real, fake = net(REAL), net(FAKE)
    for ddof in (0, 1):
        metric = fed(FrechetVideoDistance(net, ddof=ddof), 5)
        assert metric.compute().item() == pytest.approx(frechet_distance(real, fake, ddof), rel=1e-12)
        assert metric.compute().dtype == torch.float64
    assert fed(KernelVideoDistance(net), 5).compute().item() == pytest.approx(
        kernel_distance(real, fake), rel=1e-9
    )
    score = VideoInceptionScore(net, splits=3, shuffle_seed=42)
    for part in FAKE.split(4):
        score.update(part)
    mean, deviation = inception_score(softmax(fake), 3, shuffle_seed=42)
    assert score.compute().item() == pytest.approx(mean, rel=1e-12)
    assert score.deviation == pytest.approx(deviation, rel=1e-12)


def test_frame_distances_see_every_frame_or_the_first():
    net = TinyFeatures(min_frames=1)
    real, fake = net(REAL.flatten(0, 1)[:, None]), net(FAKE.flatten(0, 1)[:, None])
    assert fed(of_features()["frames"](), 7).compute().item() == pytest.approx(
        frechet_distance(real, fake), rel=1e-9
    )
    first = frechet_distance(net(REAL[:, :1]), net(FAKE[:, :1]))
    assert fed(of_features()["first"](), 7).compute().item() == pytest.approx(first, rel=1e-9)


def test_reconstruction_fvd_is_the_distance_of_both_sides():
    metric = ReconstructionFVD(TinyFeatures())
    for x, y in zip(REAL.split(5), (255 - REAL).split(5), strict=True):
        metric.update(x, y)
    assert metric.compute().item() == pytest.approx(
        frechet_distance(TinyFeatures()(REAL), TinyFeatures()(255 - REAL)), rel=1e-9
    )
    with pytest.raises(ValueError, match="must have one shape"):
        metric.update(REAL[:3], REAL[:2])


def test_names_tell_the_network_and_the_splits():
    i3d, c3d, tiny = (TinyFeatures(name=name) for name in ("i3d_kinetics400", "c3d_ucf101", "tiny"))
    named = {
        "fvd": FrechetVideoDistance(i3d),
        "frechet_tiny": FrechetVideoDistance(tiny),
        "kvd": KernelVideoDistance(i3d),
        "r_fvd": ReconstructionFVD(i3d),
        "cd_fvd_tiny": ContentDebiasedFVD(tiny),
        "frame_fid_tiny_all": FrechetFrameDistance(tiny),
        "is_splits10": VideoInceptionScore(c3d, splits=10),
        "is_k400_splits1": VideoInceptionScore(i3d, splits=1),
        "is_tiny_splits2": VideoInceptionScore(tiny, splits=2),
    }
    assert [metric.name for metric in named.values()] == list(named)


@pytest.mark.parametrize("kind", of_features())
def test_clips_that_come_twice_by_their_index_count_once(kind):
    metric, order = of_features()[kind](), torch.randperm(37, generator=torch.Generator().manual_seed(0))
    for part in torch.cat([order, order[:11]]).split(6):
        metric.update(REAL[part], real=True, index=part)
    metric.update(FAKE, real=False)
    if kind == "sums":
        with pytest.raises(ValueError, match="came twice"):
            metric.compute()
    else:
        assert metric.compute().item() == pytest.approx(
            fed(of_features()[kind](), 50).compute().item(), rel=1e-9
        )


def test_the_inception_score_takes_clips_in_the_order_of_their_index():
    order = torch.randperm(29, generator=torch.Generator().manual_seed(0))
    score = VideoInceptionScore(TinyFeatures(), splits=4)
    for part in order.split(3):
        score.update(FAKE[part], index=part)
    assert score.compute().item() == pytest.approx(
        inception_score(softmax(TinyFeatures()(FAKE)), 4)[0], rel=1e-12
    )
    with pytest.raises(ValueError, match="in every update"):
        score.update(FAKE[:2])


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)
        self.fvd = FrechetVideoDistance(TinyFeatures())
        self.score = VideoInceptionScore(TinyFeatures(), splits=1)


@pytest.mark.parametrize(
    "cast", [nn.Module.half, nn.Module.bfloat16, nn.Module.float, lambda m: m.to(torch.bfloat16)]
)
def test_states_stay_float64_whatever_happens_to_the_module_around(cast):
    module = Module()
    expected = fed(FrechetVideoDistance(TinyFeatures()), 8).compute().item()
    fed(module.fvd, 8)
    cast(module)
    fed(module.fvd, 8, REAL[:0], FAKE[:0])
    assert module.fvd.real_sum.dtype == module.fvd.generated_outer.dtype == torch.float64
    assert module.fvd.compute().item() == pytest.approx(expected, rel=1e-12)
    module.fvd.reset()
    assert fed(module.fvd, 8).compute().item() == pytest.approx(expected, rel=1e-12)


def test_the_network_is_no_part_of_the_module_that_holds_the_metric():
    module = Module()
    fed(module.fvd, 8)
    assert sorted(module.state_dict()) == ["net.bias", "net.weight"]
    assert len(list(module.parameters())) == 2
    assert not any(isinstance(part, TinyFeatures) for part in module.modules())


class Validated(pl.LightningModule):
    """Feeds its metric as a model would, and lets Lightning compute it at the end of the epoch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)
        self.fvd = FrechetVideoDistance(TinyFeatures())

    def validation_step(self, batch, index):
        assert self.net.weight.dtype == torch.bfloat16
        self.fvd.update(batch[0], real=True)
        self.fvd.update(batch[1], real=False)
        self.log("val/fvd_29", self.fvd)


def test_lightning_in_bfloat16_logs_the_value_of_float64(tmp_path):
    pairs = torch.utils.data.TensorDataset(REAL[:29], FAKE)
    trainer = pl.Trainer(
        precision="bf16-true",
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
    )
    module = Validated()
    logged = trainer.validate(module, torch.utils.data.DataLoader(pairs, batch_size=4), verbose=False)
    expected = fed(FrechetVideoDistance(TinyFeatures()), 29, REAL[:29]).compute().item()
    assert logged[0]["val/fvd_29"] == pytest.approx(expected, rel=1e-6)
    assert sorted(module.state_dict()) == ["net.bias", "net.weight"]
    assert module.fvd.real_sum.dtype == torch.float64


def test_a_collection_feeds_all_and_the_values_stay(tmp_path):
    net = TinyFeatures()
    together = MetricCollection({"fvd": FrechetVideoDistance(net), "kvd": KernelVideoDistance(net)})
    found = fed(together, 8).compute()
    assert found["fvd"].item() == pytest.approx(fed(FrechetVideoDistance(net), 5).compute().item(), rel=1e-9)
    assert found["kvd"].item() == pytest.approx(fed(KernelVideoDistance(net), 5).compute().item(), rel=1e-9)


def test_copies_go_on_by_themselves():
    metric = fed(FrechetVideoDistance(TinyFeatures()), 8)
    before = metric.compute().item()
    fed(copy.deepcopy(metric), 8, FAKE, REAL)
    assert metric.compute().item() == before


def test_evaluating_leaves_the_global_generators_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for make in of_features().values():
        fed(make(), 16).compute()
    score = VideoInceptionScore(TinyFeatures(), splits=2, shuffle_seed=42)
    score.update(FAKE)
    score.compute()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_a_stored_reference_stands_for_the_real_side(tmp_path):
    metric = fed(FrechetVideoDistance(TinyFeatures()), 8)
    expected = metric.compute().item()
    metric.stats(real=True).save(tmp_path / "real.npz")
    again = FrechetVideoDistance(TinyFeatures())
    again.use(real=type(metric.stats(real=True)).load(tmp_path / "real.npz"))
    for _ in range(2):
        fed(again, 8, REAL[:0])
        assert again.compute().item() == pytest.approx(expected, rel=1e-12)
        again.reset()
    with pytest.raises(ValueError, match="no real clips can be added"):
        again.update(REAL, real=True)
    with pytest.raises(ValueError, match="were added already"):
        metric.use(real=again.stats(real=True))


@pytest.mark.parametrize("kind", ["fvd", "kvd", "standardised"])
def test_an_entry_holds_the_value_with_counts_interval_and_floor(kind):
    net, other = TinyFeatures(), clips(29, seed=3)
    make, interval = {
        "fvd": (FrechetVideoDistance, frechet_interval),
        "kvd": (KernelVideoDistance, kernel_interval),
        "standardised": (StandardisedFrechetDistance, None),
    }[kind]
    metric = fed(make(net), 8)
    metric.use(other_real=FeatureStats.from_features(net(other)))
    entry = metric.entry()
    assert entry["value"] == metric.compute().item()
    assert (entry["count"], entry["num_real"], entry["num_fake"]) == (29, 37, 29)
    assert entry["interval"][0] < entry["value"] < entry["interval"][1]
    if interval is not None:
        found = interval(metric.stats(real=True), metric.stats(real=False))
        assert entry["interval"] == [found.low, found.high]
    assert entry["floor"] == pytest.approx(fed(make(net), 8, fake=other).compute().item(), rel=1e-9)
    # The same from features alone, where they are known already.
    known = make(name="known").use(*(FeatureStats.from_features(net(side)) for side in (REAL, FAKE)))
    assert known.entry()["value"] == pytest.approx(entry["value"], rel=1e-12)
    assert known.name == "known"
    with pytest.raises(ValueError, match="made without a network"):
        make().update(REAL, real=True)


def test_the_fit_at_infinity_is_of_enough_clips_alone():
    rng = np.random.default_rng(0)
    few, many = (FeatureStats.from_features(rng.normal(size=(n, 4))) for n in (511, 512))
    metric = FrechetInfinity().use(many, many)
    assert not metric.is_defined(many, few)
    assert metric.is_defined(many, many)
    assert metric.entry() == {
        "value": metric.compute().item(),
        "count": 512,
        "num_real": 512,
        "num_fake": 512,
    }


def test_an_exact_figure_is_a_mean_over_the_clips_that_have_one():
    values = torch.tensor([0.5, float("nan"), 1.0, 0.75, 1.0])
    figure = ClipFigure("digit_present")
    for part in torch.tensor([4, 0, 2, 1, 3, 3]).split(2):
        figure.update(values[part], index=part)
    assert figure.per_clip().tolist() == pytest.approx(values.tolist(), nan_ok=True)
    assert figure.compute().item() == 0.8125
    entry = figure.entry()
    assert (entry["value"], entry["median"], entry["count"]) == (0.8125, 0.875, 4)
    assert entry["interval"][1] <= 1  # a share
    assert ClipFigure("x").use(values.numpy(), np.array([0.2, 0.4])).entry()["floor"] == pytest.approx(0.3)
    assert ClipFigure("x").use(np.array([np.nan])).entry() == {"value": None, "count": 0}


def test_features_beyond_the_limit_are_dropped_and_the_value_stays():
    kept, dropped = (fed(FrechetVideoDistance(TinyFeatures(), keep_features=k), 4) for k in (37, 30))
    assert kept.stats(real=True).features is not None
    assert dropped.stats(real=True).features is None
    assert dropped.stats(real=False).features is not None
    assert dropped.compute().item() == pytest.approx(kept.compute().item(), rel=1e-9)


def test_real_equal_to_fake_is_zero_with_a_warning():
    with pytest.warns(UserWarning, match="the same features"):
        assert fed(FrechetVideoDistance(TinyFeatures()), 8, REAL, REAL).compute().item() == pytest.approx(
            0, abs=1e-9
        )


def test_constant_clips_have_a_distance_and_a_warning():
    black = torch.zeros(8, 4, 16, 16, 3, dtype=torch.uint8)
    white = black + 255
    metric = fed(FrechetVideoDistance(TinyFeatures()), 3, black, white)
    net = TinyFeatures()
    gap = (net(black[:1]).double() - net(white[:1]).double()).square().sum().item()
    with (
        pytest.warns(UserWarning, match="all 8 real clips have the same features"),
        pytest.warns(UserWarning, match="all 8 generated clips have the same features"),
    ):
        assert metric.compute().item() == pytest.approx(gap, rel=1e-9)


def test_fewer_clips_than_asked_for_or_than_numbers_warn():
    metric = fed(FrechetVideoDistance(TinyFeatures(), num_clips=37), 8)
    with pytest.warns(UserWarning, match="29 generated clips where 37 were asked for"):
        metric.compute()
    metric = fed(FrechetVideoDistance(TinyFeatures(dim=40)), 8)
    with pytest.warns(UserWarning, match="fewer clips than numbers"):
        metric.compute()
    frames = fed(FrechetFrameDistance(TinyFeatures(min_frames=1), num_clips=29), 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames.compute()


@pytest.mark.parametrize("kind", ["fvd", "sums", "kvd", "cd_fvd", "first"])
@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_clips_are_refused_in_one_line(kind, count):
    metric = of_features()[kind]()
    fed(metric, 8, REAL, FAKE[:count])
    with pytest.raises(ValueError, match=f"needs at least 2 generated clips, got {count}$"):
        metric.compute()


def test_a_score_of_too_few_clips_is_refused():
    score = VideoInceptionScore(TinyFeatures(), splits=10)
    score.update(FAKE[:9])
    with pytest.raises(ValueError, match="is_tiny_splits10 needs at least 10 clips, got 9"):
        score.compute()


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (REAL.float() / 127.5 - 1, TypeError, "real clips must be uint8 .*to_uint8"),
        (REAL[0], ValueError, r"must have the shape \[B, T, H, W, 3\]"),
        (REAL.movedim(-1, 1), ValueError, r"must have the shape \[B, T, H, W, 3\]"),
        (REAL[:, :1], ValueError, "have 1 frames, earlier clips 4"),
    ],
)
def test_wrong_clips_are_refused_in_one_line(wrong, error, words):
    metric = FrechetVideoDistance(TinyFeatures())
    metric.update(FAKE, real=False)
    with pytest.raises(error, match=words) as caught:
        metric.update(wrong, real=True)
    assert "\n" not in str(caught.value)


def test_refused_clips_leave_no_trace():
    metric, expected = FrechetVideoDistance(TinyFeatures()), fed(FrechetVideoDistance(TinyFeatures()), 8)
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        metric.update(REAL[:, :1], real=True)
    with pytest.raises(ValueError, match="one number per clip, got 3 for 4"):
        metric.update(REAL[:4], real=True, index=torch.arange(3))
    assert fed(metric, 8).compute().item() == pytest.approx(expected.compute().item(), rel=1e-9)


def test_a_bad_reconstruction_does_not_leave_its_clip_behind():
    class Blind(TinyFeatures):
        def extract(self, network, clips):
            features = super().extract(network, clips)
            features[clips.flatten(1).max(1).values == 255] = float("nan")
            return features

    metric = ReconstructionFVD(Blind())
    dark = REAL.clamp(max=200)
    metric.update(dark[:9], dark[9:18])
    with pytest.raises(ValueError, match=r"features of generated clip 9 .*are not finite"):
        metric.update(dark[:2], torch.full_like(dark[:2], 255))
    assert metric.stats(real=True).n == metric.stats(real=False).n == 9


def test_clips_shorter_than_the_network_needs_are_refused():
    with pytest.raises(ValueError, match="at least 9 frames, got 4"):
        FrechetVideoDistance(TinyFeatures(min_frames=9)).update(REAL, real=True)


def test_other_sizes_warn_and_give_a_number():
    metric = fed(FrechetVideoDistance(TinyFeatures()), 8)
    with pytest.warns(UserWarning, match="generated clips are 20x20, earlier clips 16x16"):
        metric.update(clips(4, size=20), real=False)
    assert torch.isfinite(metric.compute())


def test_features_that_are_not_finite_name_the_clip():
    metric = fed(FrechetVideoDistance(TinyFeatures()), 8)
    features = torch.zeros(5, 6)
    features[3, 2] = float("nan")
    with pytest.raises(ValueError, match="features of generated clip 32 are not finite"):
        metric.update_features(features, real=False)
    score = VideoInceptionScore(TinyFeatures(), splits=1)
    with pytest.raises(ValueError, match="features of generated clip 3 are not finite"):
        score.update_features(features)


def test_forward_updates_without_a_value_for_the_batch():
    metric = FrechetVideoDistance(TinyFeatures())
    assert metric(REAL, real=True) is None
    metric(FAKE, real=False)
    assert metric.compute().item() == pytest.approx(
        fed(FrechetVideoDistance(TinyFeatures()), 3).compute().item()
    )


@pytest.mark.slow
def test_fvd_kvd_and_the_kinetics_score_from_pixels_to_the_published_figures():
    """32 clips through I3D: about a minute on two cores; the batches differ between the sides' feeds."""
    recipe, expected = eval_recipe(), eval_file("expected.json")
    net = I3DFeatures(weights=str(weights_file("i3d_kinetics400_rgb.fp16.safetensors")))
    real, fake = (
        torch.from_numpy(recipe.synth(spec["seed"], spec["n"], spec["t"], fast=spec["fast"]))
        for spec in (expected["inputs"]["a"], expected["inputs"]["b"])
    )
    plain, kernel, score = (
        FrechetVideoDistance(net),
        KernelVideoDistance(net),
        VideoInceptionScore(net, splits=1),
    )
    for side, batch, is_real in ((real, 16, True), (fake, 3, False)):
        for part in side.split(batch):
            features = net(part)
            for metric in (plain, kernel):
                metric.update_features(features, is_real)
            score.update_features(features)
    assert (plain.name, kernel.name, score.name) == ("fvd", "kvd", "is_k400_splits1")
    assert plain.compute().item() == pytest.approx(expected["fvd"]["styleganv"], abs=0.02)
    unbiased = frechet_distance(plain.stats(real=True), plain.stats(real=False), ddof=1)
    assert unbiased == pytest.approx(expected["fvd"]["divisor_n_minus_1"], abs=0.02)
    assert kernel.compute().item() == pytest.approx(expected["kvd"], rel=1e-3)
    assert score.compute().item() == pytest.approx(expected["is_k400"]["splits1"], rel=1e-3)


@pytest.mark.slow
def test_features_of_i3d_do_not_depend_on_the_batch_by_a_bit():
    net = I3DFeatures(weights=str(weights_file("i3d_kinetics400_rgb.fp16.safetensors")))
    videos = clips(3, frames=9, size=32)
    assert torch.equal(net(videos), torch.cat([net(video[None]) for video in videos]))
