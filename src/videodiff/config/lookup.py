"""Where a check of a config looks up its classes: imported, or as the text of their files has them.

The texts are read first, in a moment: what they show to be wrong is refused before torch and Lightning are imported,
which takes seconds. Everything else is checked against the classes themselves.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any

from videodiff.config import source, trust
from videodiff.config.signatures import Parameters, parameters

CALLBACKS = "videodiff.callbacks"


class Imported:
    """The classes themselves."""

    def resolve(self, path: str, trusted: Sequence[str] = ()) -> Any:
        """The class, or builder function, that a ``class_path`` names.

        Raises:
            ValueError: as :func:`videodiff.config.trust.resolve`.
        """
        return trust.resolve(path, trusted)

    def parameters(self, target: Any) -> Parameters:
        """Its arguments."""
        return parameters(target)

    def builds(self, target: Any) -> type | None:
        """The class that a builder function makes."""
        return trust.builds(target)

    def says(self, hint: Any) -> bool:
        """Whether a type of an argument is all that there is to know."""
        return True

    def short_name_classes(self) -> Iterator[tuple[str, type]]:
        """Every (dotted path, class) that has a short name."""
        return trust.short_name_classes()

    def root_classes(self) -> dict[str, type]:
        """The keys of a config that choose a class, with the base of it."""
        import pytorch_lightning as pl

        return {"model": pl.LightningModule, "data": pl.LightningDataModule}

    def groups(self) -> dict[str, Parameters]:
        """Top-level mappings with the arguments of one fixed class: the trainer and each callback of ours."""
        import pytorch_lightning as pl

        from videodiff import callbacks

        classes = {"trainer": pl.Trainer, **callbacks.TRAINING, **callbacks.WATCHING}
        return {key: parameters(cls) for key, cls in classes.items()}


class Unseen:
    """Stands for a class that no text shows; it may take anything."""


class Source(Imported):
    """The classes as the text of their files has them; what it does not show is left open."""

    def resolve(self, path: str, trusted: Sequence[str] = ()) -> Any:
        """A mirror of the class; ``Unseen`` where the text does not show it.

        Raises:
            ValueError: if the path is refused, or certainly names nothing.
        """
        if not isinstance(path, str):
            return trust.resolve(path, trusted)  # refuses it
        if trust.NAME.fullmatch(path):
            path = self.full_path(path)
        trust.check_prefix(path, trusted)
        module, _, name = path.rpartition(".")
        found = source.mirror(module, name)
        if found is None and source.is_missing(module, name):
            raise ValueError(f"unknown class {name!r} in {module}")
        if found is not None:
            trust.check_denied(path, f"{found.__module__}.{found.__name__}")
        return found or Unseen

    def full_path(self, name: str) -> str:
        """The dotted path of a class given by its short name.

        Raises:
            ValueError: if no class has that name.
        """
        for module in self.short_name_modules():
            if source.mirror(module, name) is not None:
                return f"{module}.{name}"
        raise ValueError(f"unknown class {name!r}")

    def parameters(self, target: Any) -> Parameters:
        return Parameters({}, is_open=True) if target is Unseen else source.arguments(target)

    def builds(self, target: Any) -> type | None:
        return None

    def says(self, hint: Any) -> bool:
        return source.says(hint)

    def short_name_modules(self) -> Iterator[str]:
        """The modules whose classes have short names, ours first."""
        package = importlib.import_module("videodiff")
        rooms = [room.name for room in pkgutil.iter_modules(package.__path__) if room.ispkg]
        ours = sorted(
            (room for room in rooms if room not in ("cli", "config")), key=lambda r: (r != "models", r)
        )
        yield from (f"videodiff.{room}" for room in ours)
        yield from trust.SHORT_NAMES

    def short_name_classes(self) -> Iterator[tuple[str, type]]:
        for module in self.short_name_modules():
            for name in source.names(module):
                made = None if name.startswith("_") else source.mirror(module, name)
                if made is not None:
                    yield f"{module}.{name}", made

    def root_classes(self) -> dict[str, type]:
        names = {"model": "LightningModule", "data": "LightningDataModule"}
        found = {key: source.mirror("pytorch_lightning", name) for key, name in names.items()}
        whole = {key: made for key, made in found.items() if made is not None}
        return whole if len(whole) == len(names) else super().root_classes()

    def groups(self) -> dict[str, Parameters]:
        trainer = source.mirror("pytorch_lightning", "Trainer")
        ours = {**source.table(CALLBACKS, "TRAINING"), **source.table(CALLBACKS, "WATCHING")}
        if trainer is None or not ours:  # installed without its texts
            return super().groups()
        return {key: source.arguments(cls) for key, cls in {"trainer": trainer, **ours}.items()}


IMPORTED, SOURCE = Imported(), Source()
