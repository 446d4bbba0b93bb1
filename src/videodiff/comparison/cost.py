"""What sampling and training cost: floating-point operations counted, memory of tensors followed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from videodiff.comparison.drawing import Draws
from videodiff.data.pixels import to_float

COUNTED_STEPS = 2, 3  # of a sampler; the cost of others lies on the line through these


def counted(work: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products and convolutions in `work`, two per multiply-add.

    Attention takes its explicit form, whose two products every version of torch counts.
    """
    with Products() as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.flop


class Products(TorchDispatchMode):
    """Counts by torch's own formulas, like its ``FlopCounterMode``, but follows no modules.

    That mode hangs hooks on modules which refuse ``torch.autograd.grad``, and guidance by reconstruction lives on it.

    Attributes:
        flop: counted so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.flop += int(formula(*args, **kwargs, out_val=found))
        return found


def flop_per_video(draws: Draws) -> int:
    """Of one video, sampling and decoding; counted at two short samplers, as every further step costs the same."""
    steps = draws.sampler.num_steps
    if steps <= max(COUNTED_STEPS):
        return counted(lambda: draws.clips([0]))
    short = [with_steps(draws.sampler, n) for n in COUNTED_STEPS]
    low, high = (counted(partial(draws.clips, [0], sampler)) for sampler in short)
    return low + (high - low) // (COUNTED_STEPS[1] - COUNTED_STEPS[0]) * (steps - COUNTED_STEPS[0])


def with_steps(sampler: Any, steps: int) -> Any:
    """The same sampler with another number of steps."""
    other = copy(sampler)
    other.num_steps = steps
    return other


def flop_per_step(model: Any, batch: dict[str, Any], batch_size: int) -> int | None:
    """Of forward and backward of one optimizer step, encoding by the first stage included.

    Counted on one training clip and taken `batch_size` times.

    Args:
        model: that draws; None comes back for one that is not trained as a whole.
        batch: of one clip, on the model's device.
        batch_size: of the run.
    """

    def step() -> None:
        if (loss := model.training_loss(batch)) is not None:
            loss.backward()

    model.train()
    try:
        with torch.enable_grad():
            return batch_size * counted(step) or None
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()


def training_batch(data: Any, device: torch.device) -> dict[str, Any]:
    """The first training clip as a batch: ``video [1, 3, T, R, R]`` in [-1, 1], ``sample``, ``label``."""
    source = data.source("train")
    clip = source.read(0, 0, data.num_frames, data.frame_stride)
    batch: dict[str, Any] = {
        "video": to_float(clip[None]).permute(0, 4, 1, 2, 3).to(device),
        "sample": torch.zeros(1, dtype=torch.long),
        "num_images": 0,
    }
    if source.labels:
        batch["label"] = torch.tensor([source.labels[0]], device=device)
    return batch


# --- memory -------------------------------------------------------------------------------------------------------


def peak_memory(draws: Draws) -> int:
    """Bytes that drawing one batch takes at its peak, the weights included.

    On CUDA what the allocator had handed out. On a CPU the sum of all tensors alive at once, followed operation by
    operation through a short sampler (memory does not grow with steps); scratch space inside an operation is not seen.
    """
    device, indices = draws.model.device, list(range(min(draws.batch_size, draws.count)))
    short = with_steps(draws.sampler, min(draws.sampler.num_steps, max(COUNTED_STEPS)))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        draws.clips(indices, short)
        return int(torch.cuda.max_memory_allocated(device))
    with LiveTensors(draws.model) as live:
        draws.clips(indices, short)
    return live.peak


class LiveTensors(TorchDispatchMode):
    """Follows the memory of all tensors that operations return, from their birth to their release.

    Args:
        module: whose parameters and buffers count from the beginning.

    Attributes:
        now: bytes alive.
        peak: the most there were.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.now = self.peak = 0
        for tensor in (*module.parameters(), *module.buffers()):
            self.add(tensor)

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor once, until it is released."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.release, key, size)

    def release(self, key: int, size: int) -> None:
        """Take a storage off again."""
        self.known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                self.add(leaf)
        return found
