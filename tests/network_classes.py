"""The networks and first stages of the package, found by themselves."""

import importlib
import inspect
import pkgutil

import torch

from videodiff import networks
from videodiff.frame_size import FrameSize
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
# Arguments that make one small, for those whose defaults are not: a new network is tested with its defaults.
SMALL = {
    "UNet3D": dict(resolution=8, num_frames=4, width=8, num_blocks=1, attention_resolutions=(4,), head_dim=8),
    "UNet3DPort": dict(resolution=8, num_frames=4, width=8),
    "TriplaneUNet": dict(num_frames=4, plane_size=4, width=16, num_blocks=1, attention_levels=(), heads=2),
}
SMALL = {name: {"channel_multipliers": (1, 2), **options} for name, options in SMALL.items()}
SMALL["SpacetimeDiT"] = dict(size=None, depth=2, width=32, num_heads=2, num_frames=4, resolution=8)


def built(name, **options):
    torch.manual_seed(0)
    return NETWORKS[name](**{**SMALL.get(name, {}), **options})


def latent_of(net):
    """Noise of the shape that it is made for."""
    planes = getattr(net, "plane_sizes", None)
    axes = (net.num_frames, *FrameSize.of(net.resolution)) if planes is None else (planes.num_tokens,)
    return torch.randn(2, net.channels or 3, *axes, generator=torch.Generator().manual_seed(1))
