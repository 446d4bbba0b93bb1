"""What every network promises; those in ``videodiff.networks`` are found by themselves."""

import pytest
import torch
from torch import nn

from network_classes import NETWORKS, SMALL, built, latent_of
from videodiff.diffusion import Condition
from videodiff.networks import Network, as_network

CONDITIONED = {
    "SpacetimeDiT": dict(num_classes=3, vector_dim=2, context_dim=5, concat_channels=1),
    "UNet3D": dict(num_classes=3, vector_dim=2, context_dim=5, concat_channels=1),
    "TriplaneUNet": dict(num_classes=3, context_dim=5),
}
POOLED = {name: {**options, "context_by": "pooling"} for name, options in CONDITIONED.items()}


def told(net, z):
    """All that it was built to be told, of two samples."""
    return Condition(
        label=None if net.num_classes is None else torch.tensor([0, -1]),
        vector=None if net.vector_dim is None else torch.ones(2, net.vector_dim),
        context=None if net.context_dim is None else torch.ones(2, 3, net.context_dim),
        context_mask=None if net.context_dim is None else torch.tensor([[True, True, False]] * 2),
        concat=torch.ones(2, net.concat_channels, *z.shape[2:]) if net.concat_channels else None,
    )


def test_every_network_of_the_room_is_tested():
    assert {"UNet3D", "UNet3DPort", "TriplaneUNet", "SpacetimeDiT"} <= set(NETWORKS)
    assert set(SMALL) <= set(NETWORKS)


@pytest.mark.parametrize("conditions", [{}, CONDITIONED, POOLED], ids=["plain", "conditioned", "pooled"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_in_the_shape_of_its_latent_and_all_its_weights_learn(name, conditions):
    net = built(name, **conditions.get(name, {}))
    for parameter in net.parameters():  # a last layer of zeros would hide the rest
        nn.init.normal_(parameter, std=0.1)
    z = latent_of(net)
    out = net(z, torch.tensor([10.0, 900.0]), told(net, z))
    assert out.shape == z.shape
    out.square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("conditions", [CONDITIONED, POOLED], ids=["attention", "pooling"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_sample_does_not_depend_on_those_beside_it(name, conditions):
    net = built(name, **conditions.get(name, {}))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    z, time = latent_of(net), torch.tensor([10.0, 900.0])
    cond = told(net, z)
    with torch.no_grad():
        both = net(z, time, cond)
        alone = net(z[:1], time[:1], cond.map(lambda value: value[:1]))
    torch.testing.assert_close(both[:1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("batch", "conditions"), [(1, CONDITIONED), (3, CONDITIONED), (3, POOLED)])
@pytest.mark.parametrize("name", [name for name, net in NETWORKS.items() if net.takes_unit_times])
def test_equal_times_of_all_units_are_one_time_to_the_last_bit_and_each_unit_is_told_its_own(
    name, batch, conditions
):
    net = built(name, **conditions.get(name, {}))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    z = latent_of(net)[:1].repeat(batch, *[1] * (latent_of(net).ndim - 1))
    time = torch.tensor([10.0, 900.0, 333.3])[:batch]
    cond = told(net, z).map(lambda value: value[:1].repeat(batch, *[1] * (value.ndim - 1)))
    each = time[:, None].repeat(1, z.shape[2])
    with torch.no_grad():
        assert torch.equal(net(z, each, cond), net(z, time, cond))
        each[:, -1] = 500.0
        assert not torch.equal(net(z, each, cond), net(z, time, cond))


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_parts_of_the_network_and_none_lies_in_another(name):
    net = built(name)
    blocks, names = list(net.blocks()), dict(net.named_parameters()).keys()
    own = set(map(id, net.modules()))
    assert blocks
    assert all(id(block) in own for block in blocks)
    inside = [id(m) for block in blocks for m in block.modules()]
    assert len(inside) == len(set(inside))
    compiled = []
    for block in blocks:
        block.compile = lambda block=block, **options: compiled.append(block)
    net.compile_blocks()
    assert compiled == blocks
    assert dict(net.named_parameters()).keys() == names


@pytest.mark.parametrize("name", NETWORKS)
def test_a_condition_that_it_was_not_built_for_is_refused(name):
    net = built(name, **({"concat_channels": 0} if name == "TriplaneUNet" else {}))
    z = latent_of(net)
    conditions = {
        "label": torch.zeros(2, dtype=torch.long),
        "vector": torch.ones(2, 2),
        "context": torch.ones(2, 3, 4),
        "concat": torch.ones(2, 1, *z.shape[2:]),
    }
    for field, value in conditions.items():
        with pytest.raises(ValueError, match="condition"):
            net(z, torch.zeros(2), Condition(**{field: value}))


class Plain(nn.Module):
    """Says nothing of itself but a list of widths under a declared name."""

    channels = [8, 16]

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))])

    def forward(self, z, time, cond):
        return z


def test_a_plain_module_is_seen_with_the_defaults():
    net = as_network(Plain())
    facts = ("channels", "num_frames", "resolution", "num_classes", "vector_dim", "context_dim")
    assert [getattr(net, name) for name in facts] == [None] * 6
    assert (net.concat_channels, net.takes_images) == (0, False)
    assert list(net.blocks()) == list(net.module.blocks)


def test_a_module_without_lists_is_one_block():
    net = nn.Linear(2, 2)
    assert list(as_network(net).blocks()) == [net]


def test_a_network_of_ours_is_itself():
    net = built("UNet3D")
    assert as_network(net) is net
    with pytest.raises(ValueError, match=r"UNet3D is built for 8, --model.resolution .* is 16"):
        as_network(net, resolution=16)


def test_a_list_of_modules_cannot_hide_the_method():
    class Own(Network):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList()

        def forward(self, z, time, cond):
            return z

    with pytest.raises(TypeError, match=r"Own\.blocks is a method"):
        Own()
