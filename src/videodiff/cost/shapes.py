"""Tensors that are a shape, a layout, a type and a device without numbers, and what torch's operators make of them.

A training step of a large network is some 15 000 operators, most of which were seen before with the same shapes.
``FakeTensorMode`` answers each in a millisecond of Python; here views and in-place operators run on a tensor of the
meta device, in C++, and what the others return is remembered by the shapes they were given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .flop import flop_formulas

aten = torch.ops.aten
META = torch.device("meta")
CPU = torch.device("cpu")
CONVOLUTIONS = frozenset((aten.convolution.default, aten.convolution_backward.default))
Key = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]
PLAIN = frozenset((int, float, bool, str, type(None), torch.dtype, torch.memory_format, torch.layout))


class ShapeTensor(Tensor):
    """A tensor of some device whose numbers do not exist.

    Autograd, autocast and the choice of fused attention see an ordinary tensor of its device. Works within a
    :class:`ShapeMode`, and with operators called on it outside of one.

    Args:
        meta: tensor of the meta device with the same shape, layout, type and views.
        device: where the tensor seems to be.

    Attributes:
        key: all that an operator can tell of it: shape, strides, type and device.

    Raises:
        TypeError: from operators that would read its numbers.
    """

    meta: Tensor
    key: Key
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as torch documents it

    @staticmethod
    def __new__(cls, meta: Tensor, device: torch.device | str) -> ShapeTensor:
        shape, stride, dtype, device = meta.shape, meta.stride(), meta.dtype, torch.device(device)
        self = Tensor._make_wrapper_subclass(
            cls, shape, strides=stride, storage_offset=meta.storage_offset(), dtype=dtype, device=device
        )
        self.meta, self.key = meta, (shape, stride, dtype, device)
        return self

    def __repr__(self, *_: Any, **__: Any) -> str:  # type: ignore[override]  # that of torch has no types
        return f"ShapeTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # as torch documents it
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return ShapeMode().answer(func, args, kwargs or {})


def shape_of(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A :class:`ShapeTensor` like ``tensor``; a parameter gives a parameter."""
    meta = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)
    shape = ShapeTensor(meta, device)
    if isinstance(tensor, nn.Parameter):
        shape._is_param = True
        shape.requires_grad_(tensor.requires_grad)
    return shape


class Answer:
    """What a functional operator returned for some shapes.

    Attributes:
        value: arguments of ``torch.empty_strided`` with a device, a list of them, or what is no tensor.
        kind: ``one`` tensor, ``many``, a ``plain`` value, or a result that shares memory and is never remembered.
        flop: of the operator.
    """

    __slots__ = ("flop", "kind", "value")

    def __init__(self, kind: str, value: Any = None) -> None:
        self.kind, self.value, self.flop = kind, value, 0


class ShapeMode(TorchDispatchMode):
    """Within a ``with`` every new tensor is a :class:`ShapeTensor`; operators on real tensors alone run for real.

    Attributes:
        flop: floating-point operations of matrix products, convolutions and attention so far, a multiply-add being two.
    """

    functional: dict[Any, bool] = {}
    """Whether an operator's result has memory of its own and its arguments stay as they are."""
    answers: dict[Any, Answer] = {}
    """By operator, shapes, strides, types and all other arguments."""
    formulas = flop_formulas()

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True would import torch._dynamo, a second or two

    def fresh(self, tensor: Tensor) -> None:
        """Called with each tensor that has new memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.answer(func, args, kwargs or {})

    def answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operator's result; ``args`` and ``kwargs`` are its own."""
        if func is aten.empty_strided.default and kwargs.get("device") == META:
            return func(*args, **kwargs)  # from ``make``, called within the mode
        is_functional = self.functional.get(func)
        if is_functional is None:
            is_functional = self.functional[func] = not (func._schema.is_mutable or func.is_view)
        if is_functional and any(type(arg) is ShapeTensor for arg in args):
            answer = self.answers.get(_key_of_call(func, args, kwargs))
            if answer is not None and answer.kind != "shared":
                return self._again(answer)
        shapes: list[ShapeTensor] = []
        metas = [_meta(arg, shapes) for arg in args]
        named = {name: _meta(arg, shapes) for name, arg in kwargs.items()}
        if not shapes and any(True for _ in _tensors((*args, *kwargs.values()))):
            return self.really(func, args, kwargs)
        if func is aten._local_scalar_dense.default:
            return 1  # checks of the kind "is every sample in order?" read yes
        if func._schema.is_mutable:
            out = self._in_place(func(*metas, **named), shapes)
            self.flop += self._count_flop(func, args, kwargs, out)
            return out
        if func.is_view:
            return self._views(func(*metas, **named), shapes[0].device)
        key = _key_of_call(func, args, kwargs)
        answer = self.answers.get(key)
        if answer is None:
            answer = self.answers[key] = self._ask(func, args, kwargs, metas, named)
        if answer.kind == "shared":
            self.flop += answer.flop
            return self._views(func(*metas, **named), shapes[0].device)
        return self._again(answer)

    def _again(self, answer: Answer) -> Any:
        """A result that was given before, anew."""
        self.flop += answer.flop
        if answer.kind == "one":
            return self.make(*answer.value)
        if answer.kind == "many":
            return tuple(entry and self.make(*entry) for entry in answer.value)
        return answer.value

    def really(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operator's result on real tensors."""
        out = func(*args, **kwargs)
        self.flop += self._count_flop(func, args, kwargs, out)
        for tensor in _tensors((out,)):
            self.fresh(tensor)
        return out

    def _ask(self, func: Any, args: Any, kwargs: Any, metas: list[Any], named: dict[str, Any]) -> Answer:
        """The answer of the meta device, in the layout that the operator's device would choose."""
        out = func(*metas, **named)
        if func in CONVOLUTIONS:
            out = _in_layout_of_backend(func, args, out)
        answer = _remember(
            out, (*metas, *named.values()), kwargs.get("device") or _device((args, *kwargs.values()))
        )
        answer.flop = self._count_flop(func, args, kwargs, out)
        return answer

    def _count_flop(self, func: Any, args: Any, kwargs: Any, out: Any) -> int:
        formula = self.formulas.get(func._overloadpacket)
        return 0 if formula is None else int(formula(*args, **kwargs, out_val=out))

    def make(self, shape: Any, stride: Any, dtype: torch.dtype, device: torch.device) -> ShapeTensor:
        """A new tensor without numbers."""
        tensor = ShapeTensor(torch.empty_strided(shape, stride, dtype=dtype, device=META), device)
        self.fresh(tensor)
        return tensor

    def _views(self, out: Any, device: torch.device) -> Any:
        if isinstance(out, Tensor):
            return ShapeTensor(out, device)
        return [ShapeTensor(part, device) for part in out]

    def _in_place(self, out: Any, shapes: list[ShapeTensor]) -> Any:
        """The tensors that were written into, in place of their twins; what is new beside them."""
        if isinstance(out, (list, tuple)):
            return tuple(self._in_place(part, shapes) for part in out)
        if not isinstance(out, Tensor):
            return out
        for shape in shapes:
            if shape.meta is out:
                if shape.shape != out.shape or shape.stride() != out.stride():
                    raise NotImplementedError(
                        "operators that change the shape of a tensor in place are not counted"
                    )
                return shape
        return self.make(out.shape, out.stride(), out.dtype, shapes[0].device)


def _remember(out: Any, given: Any, device: torch.device) -> Answer:
    """What makes ``out`` again, on ``device``; ``given`` are the tensors it may share memory with."""
    many = isinstance(out, (tuple, list))
    made = list(_tensors(out if many else (out,)))
    if not made:
        return Answer("plain", out)
    memory = [t.untyped_storage()._cdata for t in made]
    if len(set(memory)) < len(memory) or any(t.untyped_storage()._cdata in memory for t in _tensors(given)):
        return Answer("shared")
    entries = [t if t is None else (t.shape, t.stride(), t.dtype, device) for t in (out if many else (out,))]
    return Answer("many", entries) if many else Answer("one", entries[0])


def _device(args: Any) -> torch.device:
    """That of the tensors; one without axes follows the others."""
    tensors = list(_tensors(args))
    return next((t.device for t in tensors if t.ndim), tensors[0].device if tensors else CPU)


def _in_layout_of_backend(func: Any, args: Any, out: Any) -> Any:
    """A convolution's results, channels-last where oneDNN or cuDNN returns them so."""
    backward = func is aten.convolution_backward.default
    x, weight, bias = (args[1], args[2], None) if backward else args[:3]
    options, sizes = (args[4:10], args[3]) if backward else (args[3:9], None)
    if x.ndim < 4:
        return out
    backend = torch._C._select_conv_backend(x, weight, bias, *options, sizes)
    layout = torch._C._conv_determine_backend_memory_format(x, weight, backend)
    if not backward:
        return out.to(memory_format=layout)
    return tuple(t if t is None or t.ndim < 4 else t.to(memory_format=layout) for t in out)


def _meta(arg: Any, shapes: list[ShapeTensor]) -> Any:
    """The argument for the meta device; tensors without numbers are added to ``shapes``."""
    kind = type(arg)
    if kind is ShapeTensor:
        shapes.append(arg)
        return arg.meta
    if kind in PLAIN:
        return arg
    if isinstance(arg, Tensor):
        return arg.to(META)
    if isinstance(arg, (list, tuple)):
        return kind([_meta(part, shapes) for part in arg])
    return META if kind is torch.device else arg


def _tensors(args: Any) -> Iterator[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg
        elif isinstance(arg, (list, tuple)):
            yield from _tensors(arg)


def _key_of_call(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operator's result depends on."""
    if not kwargs:
        return (func, *map(key_of, args))
    return (func, *map(key_of, args), *[(name, key_of(arg)) for name, arg in kwargs.items()])


def key_of(arg: Any) -> Any:
    """What an operator can tell of an argument: of a tensor all but its numbers."""
    kind = type(arg)
    if kind is ShapeTensor:
        return arg.key
    if isinstance(arg, Tensor):
        return arg.shape, arg.stride(), arg.dtype, arg.device
    if kind is list or kind is tuple:
        return tuple([key_of(part) for part in arg])
    return (kind, arg) if kind is bool or kind is float else arg  # 1, 1.0 and True are the same key
