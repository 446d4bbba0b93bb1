"""The networks and first stages of the package, found by themselves."""

import importlib
import inspect
import pkgutil

from videodiff import networks
from videodiff.networks import Autoencoder, Network

for module in pkgutil.iter_modules(networks.__path__):
    importlib.import_module(f"{networks.__name__}.{module.name}")


def kinds(base):
    """Finished subclasses, however deep."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("videodiff.networks") and not inspect.isabstract(kind):
            yield kind
        yield from kinds(kind)


NETWORKS = {kind.__name__: kind for kind in kinds(Network) if kind.__name__ != "PlainNetwork"}
STAGES = {kind.__name__: kind for kind in kinds(Autoencoder) if not kind.is_identity}
