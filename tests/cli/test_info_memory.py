"""What ``info`` counts without memory is what real steps take: torch's allocator and its own counter of FLOP."""

import importlib.util
import json
import weakref
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from turns import by_turns
from videodiff.cli import main
from videodiff.cli.commands.info import Progress, on_meta
from videodiff.config import read_configs
from videodiff.cost.accelerators import GIB, find_card, listed
from videodiff.cost.batches import make_batch, without_randomness
from videodiff.cost.counter import Counter
from videodiff.cost.group_norm import remembered
from videodiff.cost.measured import real_model
from videodiff.cost.meta_model import MetaModel, autocast, hold_perceptual
from videodiff.cost.pieces import joined
from videodiff.cost.training import step_of
from videodiff.models import AutoencoderModule
from videodiff.networks import attention

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(file.stem for file in (ROOT / "configs").glob("*.yaml"))
SMALL = (
    "vdm_digits",
    "dit_digits",
    "lvdm_digits",
    "pvdm_digits",
    "lvdm_autoencoder_digits",
    "pvdm_autoencoder_digits",
)


def benchmark():
    spec = importlib.util.spec_from_file_location("memory_estimate", ROOT / "benchmarks/memory_estimate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small(name):
    """A config at about a tenth of its size, with clips as its first stage takes them."""
    if name == "lvdm_digits":
        return read_configs([name], "fit", ["--model.net.width", "16", "--model.net.num_blocks", "1"])
    if name == "pvdm_digits":
        return read_configs([name], "fit", ["--model.net.width", "32"])
    return read_configs([name, "with/smoke"], "fit")


@pytest.mark.parametrize(("name", "clips"), by_turns([(name,) for name in SMALL], (4, 1)))
def test_memory_is_within_15_percent_of_what_the_allocator_gives(name, clips):
    script, config = benchmark(), small(name)
    memory = script.estimated(config, "fp32")
    assert memory.at(clips) == pytest.approx(script.measured(config, clips, "fp32"), rel=0.15)


class FakeCounter(TorchDispatchMode):
    """The same count by torch's own ``FakeTensorMode``: every operator of a step, none remembered."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.held = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1
        out = func(*args, **(kwargs or {}))
        self.take(tree_leaves(out))
        return out

    def take(self, tensors):
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.held:
                    self.held[key] = weakref.ref(storage, lambda _, key=key, size=size: self.drop(key, size))
                    self.live += size
                    self.peak = max(self.peak, self.live)

    def drop(self, key, size):
        del self.held[key]
        self.live -= size


def peak_by_fake_tensors(config, clips, precision):
    """Largest live bytes of loss and backward beyond weights and batch, gradients starting as none."""
    model, mode = on_meta(config, ()), FakeTensorMode(allow_non_fake_inputs=True)
    hold_perceptual(model, "meta")
    without_randomness(model)
    model.train()
    if hasattr(model, "_device"):
        model._device = torch.device("cpu")
    with mode:
        for part in MetaModel.parts(SimpleNamespace(model=model)):
            for store in (part._parameters, part._buffers):
                for name, value in store.items():
                    if value is not None:
                        fake = torch.empty_strided(
                            value.shape, value.stride(), dtype=value.dtype, device="cpu"
                        )
                        is_weight = isinstance(value, torch.nn.Parameter)
                        store[name] = torch.nn.Parameter(fake, value.requires_grad) if is_weight else fake
        batch, counter = make_batch(model, config["data"]["init_args"], clips, "cpu"), FakeCounter()
        counter.take([*model.parameters(), *model.buffers(), batch["video"]])
        before = counter.live
        return peak_of_step(model, batch, precision, counter) - before


def peak_of_step(model, batch, precision, counter):
    with counter:
        with autocast(precision, "cpu"):
            is_autoencoder = isinstance(model, AutoencoderModule)
            loss = model.losses(batch)[0] if is_autoencoder else model.losses(batch, "train").mean()
        loss.backward()
    return counter.peak


def peak_by_shapes(config, clips, precision):
    meta, counter = MetaModel(on_meta(config, ())), Counter()
    without_randomness(meta.model)
    meta.model.train()
    with Counter():
        batch = make_batch(meta.model, config["data"]["init_args"], clips, "cpu")
    counter.take([*meta.model.parameters(), *meta.model.buffers(), batch["video"]])
    before = counter.live
    with remembered(counter):
        return peak_of_step(meta.model, batch, precision, counter) - before


@pytest.mark.parametrize(
    ("name", "clips", "precision"),
    [
        ("lvdm_autoencoder_digits", 2, "bf16-mixed"),
        *(pytest.param(name, 1, "fp32", marks=pytest.mark.slow) for name in SMALL),
        *(
            pytest.param(name, 2, "bf16-mixed", marks=pytest.mark.slow)
            for name in SMALL
            if name != "lvdm_autoencoder_digits"
        ),
    ],
)
def test_memory_is_that_of_torchs_fake_tensors(name, clips, precision):
    config = small(name)
    expected = peak_by_fake_tensors(config, clips, precision)
    assert peak_by_shapes(config, clips, precision) == pytest.approx(expected, rel=0.01)


def test_progress_is_told_once_it_takes_long(capsys):
    Progress(seconds=60)("a forward pass")
    assert capsys.readouterr().err == ""
    Progress(seconds=0)("a forward pass")
    assert capsys.readouterr().err == "videodiff info: counting a forward pass\n"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16-mixed"])
@pytest.mark.parametrize("name", SMALL)
def test_memory_of_the_whole_configs(name, precision):
    script, config = benchmark(), read_configs([name], "fit")
    memory = script.estimated(config, precision)
    for clips in (1, 4):
        assert memory.at(clips) == pytest.approx(script.measured(config, clips, precision), rel=0.15)


@pytest.mark.parametrize(
    ("name", "recompute"), by_turns([("vdm_digits",), ("pvdm_autoencoder_digits",)], (False, True))
)
def test_flop_are_those_of_a_real_step(name, recompute):
    part = "autoencoder" if "autoencoder" in name else "net"
    config = read_configs([name, "with/smoke"], "fit", [f"--model.{part}.recompute", str(recompute).lower()])
    data, model = config["data"]["init_args"], real_model(config["model"]).train()
    if isinstance(model, AutoencoderModule):
        model.start_step = 0
    batch = {**make_batch(model, data, 2, "cpu"), "sample": torch.arange(2)}
    batch["video"].zero_()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        is_autoencoder = isinstance(model, AutoencoderModule)
        loss = model.losses(batch)[0] if is_autoencoder else model.losses(batch, "train").mean()
        loss.backward()
    step = step_of(MetaModel(on_meta(config, ())), data, 2)
    assert step.flop == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_recomputing_costs_flop_and_saves_memory():
    plain, again = (
        step_of(
            MetaModel(on_meta(c, ())),
            c["data"]["init_args"],
            2,
        )
        for c in (
            read_configs(["vdm_digits", "with/smoke"], "fit", ["--model.net.recompute", value])
            for value in ("false", "true")
        )
    )
    assert again.flop > 1.1 * plain.flop
    assert again.forward_bytes < 0.8 * plain.forward_bytes


@pytest.mark.parametrize("name", ["lvdm_digits", pytest.param("pvdm_digits", marks=pytest.mark.slow)])
def test_the_first_stage_is_counted_apart_from_what_is_trained(name):
    meta, data = MetaModel(on_meta(small(name), ())), small(name)["data"]["init_args"]
    step, kept = (step_of(meta, data, 1, kept_latents=kept) for kept in (False, True))
    assert step.first_stage_flop > kept.first_stage_flop == 0
    assert step.flop == kept.flop


def test_pieces_are_counted_as_if_each_were_run(monkeypatch):
    """Thirty pieces, one of them smaller, whose inside is ten times as wide as what they are given."""
    layer = torch.nn.Sequential(torch.nn.Linear(32, 320), torch.nn.GELU(), torch.nn.Linear(320, 32))
    weights, features = MetaModel(layer).tensors(), attention.CPU_PIECE // 200

    def counted(context, with_graph):
        counter = Counter()
        with counter, context(counter), torch.set_grad_enabled(with_graph):
            counter.take(weights)
            x = torch.zeros(4, 1490, 32, requires_grad=with_graph)
            y = attention.in_pieces(layer, x, features)
            forward = counter.restart_peak()
            if with_graph:
                y.sum().backward()
            numbers = counter.flop, forward, counter.peak, counter.live
        for weight in weights:
            weight.grad = None
        return numbers

    def each(counter):
        return nullcontext()

    for with_graph in (True, False):
        flop, *numbers = counted(joined, with_graph)
        assert counted(each, with_graph) == (flop, *[pytest.approx(number, rel=0.01) for number in numbers])
    monkeypatch.setattr(attention, "CPU_PIECE", 2**40)
    assert counted(each, False)[1] > 2 * numbers[0]  # they do matter


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_is_answered(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["info", name, "--json", "--card", "a100"]) == 0
    found = json.loads(capsys.readouterr().out)
    training = found["training"]
    assert training is not None, found
    assert training["flop_per_clip"] > 2e9 * found["forward_gflop_per_clip"]
    sizes = list(training["memory_bytes"]["fp32"].values())
    assert sizes[1:] == sorted(sizes[1:])  # one clip alone may need more than two on a CPU
    assert (found["sampling"] is None) == ("autoencoder" in name)
    assert found["time"]["hours"] > 0


def test_the_answer_holds_together(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["vdm_digits", "with/smoke", "--json", "--card", "2GiB", "--steps", "1000", "--tflops", "0.5"]
    assert main(["info", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    training, card = found["training"], found["card"]
    step = training["batch_size"] * (training["flop_per_clip"] + training["first_stage_flop_per_clip"])
    assert training["flop_per_step"] == step
    assert found["time"]["hours"] == pytest.approx(1000 * step / 0.5e12 / 3600)
    assert found["sampling"]["network_calls"] == 50
    largest = card["largest_batch"]["fp32"]
    line = {int(k): v for k, v in training["memory_bytes"]["fp32"].items()}
    per_clip = (line[64] - line[32]) / 32
    assert line[64] + (largest - 64) * per_clip <= card["usable_bytes"]
    assert line[64] + (largest + 2 - 64) * per_clip > card["usable_bytes"]


def test_cards_by_size_and_name():
    assert find_card("24GiB").num_bytes == find_card("24").num_bytes == 24 * GIB
    assert find_card("80GB").num_bytes == 80 * 10**9
    assert find_card("H100").peak == 989.4e12
    with pytest.raises(ValueError, match="rtx4090"):
        find_card("abacus")


@pytest.mark.parametrize(
    ("shown", "card"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA A100 80GB PCIe", "a100"),
        ("NVIDIA A1000", None),
        ("NVIDIA A10G", None),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L40", None),
        ("Tesla V100-PCIE-32GB", "v100-pcie"),
        ("Tesla T4", "t4"),
        ("NVIDIA T400", None),
        ("NVIDIA RTX A6000", "a6000"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
    ],
)
def test_a_card_is_known_by_the_name_that_its_driver_shows_and_no_other_is_taken_for_it(shown, card):
    assert listed(shown) == card


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--card", "abacus"], "--card must be"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--tflops", "-1"], "--tflops must be at least 0"),
        (["--measure", "--tflops", "3"], "leave one of them out"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_counted(words, reason, capsys):
    assert main(["info", "vdm_digits", *words]) == 2
    assert reason in capsys.readouterr().err


def test_measured_throughput_is_told(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["info", "vdm_digits", "with/smoke", "--measure"]) == 0
    assert "fp32 steps of 2 clips" in capsys.readouterr().out


def test_a_size_of_memory_names_no_speed_and_a_config_that_does_not_fit_is_told_the_smaller(capsys):
    assert main(["info", "vdm_ucf101", "--card", "24GiB"]) == 0
    said = capsys.readouterr().out
    assert "not counted" not in said
    assert "videodiff info vdm_ucf101 with/small --card 24GiB" in said
    assert "24GiB says nothing of speed: name the card, or give --tflops" in said
