"""A training step on a GPU, on tensors that are there in name only: devices are not mixed, and none is waited for."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from videodiff import conditioning
from videodiff.cli.commands.info import on_meta
from videodiff.config import read_configs
from videodiff.cost.batches import keep_latents, make_batch
from videodiff.cost.meta_model import hold_perceptual
from videodiff.models import AutoencoderModule, autoencoder

CONFIGS = ["vdm_ucf101", "lvdm_autoencoder_digits", "pvdm_autoencoder_sky", "lvdm_digits", "pvdm_digits"]
aten = torch.ops.aten
READS = (aten._local_scalar_dense, aten.nonzero, aten.equal, aten.is_nonzero, aten.masked_select)


class HostWaits(TorchDispatchMode):
    """Lists what needs a number of the GPU before it can go on."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        on_gpu = any(isinstance(a, torch.Tensor) and a.device.type == "cuda" for a in tree_leaves(args))
        is_copy = func._overloadpacket is aten._to_copy and str(kwargs.get("device")) == "cpu"
        if on_gpu and (is_copy or func._overloadpacket in READS):
            self.found.append(str(func))
        indices = args[1] if func._overloadpacket in (aten.index, aten.index_put, aten.index_put_) else ()
        if any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append(f"{func} by a mask")
        if (
            func._overloadpacket is aten._local_scalar_dense
        ):  # the host may read its own; the number is nobody's
            return True if args[0].dtype == torch.bool else 0.25
        return func(*args, **(kwargs or {}))


def without_numbers(keys, shape, device):
    return torch.empty(len(keys), *shape, device=device)  # no generator without a driver


def small(name):
    """The config in its smallest form, its first stage untrained."""
    config = read_configs([name, "with/smoke"], "fit")
    stage = config["model"]["init_args"].get("autoencoder", {})
    if stage.get("class_path", "").endswith("FirstStage"):
        first = read_configs([stage["init_args"]["checkpoint"], "with/smoke"], "fit")["model"]
        config["model"]["init_args"]["autoencoder"] = first["init_args"]["autoencoder"]
    return config


def onto_gpu(model):
    """The model with fake weights on a GPU, and the mode in which they can be used."""
    hold_perceptual(model, "meta")
    parts = [part for module in model.modules() for part in (module, *getattr(module, "_held", ()))]
    stores = [
        store for part in parts for inner in part.modules() for store in (inner._parameters, inner._buffers)
    ]
    copies, mode = {}, FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        for store in stores:
            for name, value in store.items():
                if value is not None and value.device.type == "meta":  # not yet replaced
                    copy = copies.setdefault(id(value), torch.empty_like(value, device="cuda"))
                    store[name] = torch.nn.Parameter(copy) if isinstance(value, torch.nn.Parameter) else copy
    if hasattr(model, "_device"):
        model._device = torch.device("cuda")
    return mode


@pytest.mark.parametrize(
    ("name", "kept"), [*((name, False) for name in CONFIGS), ("lvdm_digits", True), ("pvdm_digits", True)]
)
def test_the_forward_pass_of_a_training_step_waits_for_nothing(name, kept, monkeypatch):
    config = small(name)
    for module in (autoencoder, conditioning.base):
        monkeypatch.setattr(module, "normals", without_numbers)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)  # asked of a driver
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    model = on_meta(config, ()).train()
    if isinstance(model, AutoencoderModule):
        model.start_step = 0
    waits = HostWaits()
    with onto_gpu(model), torch.no_grad():
        batch = make_batch(model, config["data"]["init_args"], 4, "cuda")
        if kept:
            batch = keep_latents(model, batch)
        with waits:
            loss = (
                model.losses(batch) if isinstance(model, AutoencoderModule) else model.losses(batch, "train")
            )
    assert (loss[0] if isinstance(loss, tuple) else loss).device.type == "cuda"
    assert waits.found == []
