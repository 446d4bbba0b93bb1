"""Still images behind a clip: what holds for every network that takes them (Ho et al. 2022, section 3)."""

import pytest
import torch

from network_classes import NETWORKS, built, latent_of
from videodiff.diffusion import Condition

OPTIONS = {
    "UNet3D": [
        {},
        {"temporal_position": "rotary"},
        {"temporal_position": "t5"},
        {"temporal_position": "shaw_lvdm", "resample": "conv"},
        {"patch_size": 2, "causal": True, "attention_resolutions": (2,)},
        {"context_dim": 5},
        {"context_dim": 5, "context_by": "pooling"},
    ],
    "UNet3DPort": [{}, {"vector_dim": 2}],
    "SpacetimeDiT": [
        {"layout": "joint"},
        {"layout": "joint", "causal": True, "positions": "rotary"},
        {"layout": "alternating"},
        {"layout": "factorised", "positions": "rotary"},
        {"layout": "alternating", "context_dim": 5, "shared_modulation": True},
        {"layout": "joint", "context_dim": 5, "context_by": "pooling"},
    ],
}
CASES = [
    pytest.param(name, options, id="-".join([name, *map(str, options.values())]))
    for name, all_options in OPTIONS.items()
    for options in all_options
]
IMAGES = (False,) * 4 + (True,) * 3


def joint(name, options):
    """The network awake, a clip of four frames with three images behind it, and all that it is told."""
    generator = torch.Generator().manual_seed(0)
    net = built(name, num_classes=3, **options) if name != "UNet3DPort" else built(name, **options)
    for parameter in net.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    z = torch.cat([latent_of(net), latent_of(net)[:, :, :3].flip(2)], dim=2)

    def told(frames, images):
        """One of the rows of what each frame is told, by the numbers of these."""
        rows = torch.arange(len(IMAGES))[frames]
        label = torch.tensor([[0, 1, 2]]).expand(2, -1)[:, (rows - 3).clamp(min=0) % 3]
        context = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(2))
        return Condition(
            label=None if net.num_classes is None else label,
            vector=None if net.vector_dim is None else 1.0 + rows[None, :, None].expand(2, -1, 2),
            context=None if net.context_dim is None else context[:, (rows - 3).clamp(min=0)],
            images=images,
        )

    return net.eval(), z, told


def test_every_network_that_takes_images_is_tested():
    assert set(OPTIONS) == {name for name, net in NETWORKS.items() if net.takes_images}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_clip_and_its_images_see_nothing_of_each_other(name, options):
    net, z, told = joint(name, options)
    time, cond = torch.tensor([300.0, 700.0]), told(slice(None), IMAGES)
    z.requires_grad_()
    out = net(z, time, cond)
    # the clip's loss has no gradient in the images, and an image's only in itself: exactly
    (of_clip,) = torch.autograd.grad(out[:, :, :4].square().sum(), z, retain_graph=True)
    assert of_clip[:, :, :4].abs().amax() > 0
    assert (of_clip[:, :, 4:] == 0).all()
    (of_image,) = torch.autograd.grad(out[:, :, 5].square().sum(), z)
    assert [bool((of_image[:, :, t] != 0).any()) for t in range(7)] == [t == 5 for t in range(7)]
    with torch.no_grad():
        z = z.detach()
        # other images leave the clip as it is, to the bit; an image changes itself alone
        for changed in ((4, 5, 6), (5,)):
            other = z.clone()
            other[:, :, list(changed)] += 1.0
            moved = (net(other, time, cond) != out).flatten(3).any(-1).any(1).any(0)
            assert moved.tolist() == [t in changed for t in range(7)]
        # each part is what it is alone
        close = dict(rtol=1e-4, atol=5e-6 * max(out.abs().max().item(), 1))
        clip = net(z[:, :, :4], time, told(slice(4), ()))
        torch.testing.assert_close(out[:, :, :4], clip, **close)
        for t in (4, 5, 6):
            alone = net(z[:, :, t : t + 1], time, told(slice(t, t + 1), (True,)))
            torch.testing.assert_close(out[:, :, t : t + 1], alone, **close)


def test_norms_over_clips_take_no_images():
    net = built("UNet3D", norm="clip")
    assert not net.takes_images
    with pytest.raises(ValueError, match="UNet3D as built takes no still images beside a clip, got 2"):
        net(latent_of(net), torch.zeros(2), Condition(images=(False, False, True, True)))
