"""Options of a model that one of its conditioners holds."""

from __future__ import annotations

from typing import Any

from videodiff.conditioning import Conditioner


class OptionOf:
    """A model's attribute that is its conditioner's, read and set in both places alike.

    Args:
        kind: class of the conditioner, of which the model has one.
        name: of the conditioner's attribute.
    """

    def __init__(self, kind: type[Conditioner], name: str) -> None:
        self.kind, self.name = kind, name

    def __get__(self, model: Any, owner: type) -> Any:
        return self if model is None else getattr(model.conditioner(self.kind), self.name)

    def __set__(self, model: Any, value: Any) -> None:
        setattr(model.conditioner(self.kind), self.name, value)
