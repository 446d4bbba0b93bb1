"""Published state dicts: every fixture's numbers, every full-size list of keys, and what is refused."""

import pytest
import torch

from published_files import expected_of, filled, given, keys_of, needs_assets, shapes
from videodiff.checkpoints.published import convert, load
from videodiff.diffusion import Condition

pytestmark = needs_assets
LIMIT = 1e-4


def far(a, b):
    return (a - torch.as_tensor(b)).abs().max().item()


@torch.no_grad()
def test_pvdm_autoencoder():
    net, expected = (
        load("pvdm-autoencoder", filled("pvdm_autoencoder_small")),
        expected_of("pvdm_autoencoder_small"),
    )
    assert net.video_shape == (3, 16, 32, 32)
    latent = net.encode(given("video", (1, 3, 16, 32, 32)).tanh())
    assert far(latent, expected["latent"]) < LIMIT
    assert far(net.decode(latent)[0].transpose(0, 1), expected["recon"]) < LIMIT


@torch.no_grad()
@pytest.mark.parametrize("name", [pytest.param("cond", marks=pytest.mark.slow), "uncond"])
def test_pvdm_unet(name):
    net, expected = load("pvdm-unet", filled("pvdm_unet_small")), expected_of("pvdm_unet_small")
    concat = given("cond", (2, 4, 2048)).tanh() if name == "cond" else None
    out = net(given("latent", (2, 4, 2048)), torch.from_numpy(expected["t"]), Condition(concat=concat))
    assert far(out, expected[f"out_{name}"]) < LIMIT


@torch.no_grad()
def test_lvdm_autoencoder():
    net, expected = load("lvdm-autoencoder", filled("lvdm_autoencoder")), expected_of("lvdm_autoencoder")
    mean = torch.from_numpy(expected["moments"])[:, :4]
    latent = net.encode(given("video", (1, 3, 16, 32, 32)).tanh())  # unscaled, as the file holds no scale
    assert far(latent, mean) < LIMIT
    assert far(net.decode(latent), expected["recon_of_mean"]) < LIMIT


@torch.no_grad()
def test_lvdm_unet():
    net, expected = load("lvdm-unet", filled("lvdm_unet_small")), expected_of("lvdm_unet_small")
    out = net(given("latent", (2, 4, 4, 16, 16)), torch.from_numpy(expected["t"]), Condition())
    assert far(out, expected["out"]) < LIMIT


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lvdm-prediction-unet", "lvdm-interpolation-unet"])
def test_lvdm_masked_unets(kind):
    net, expected = (
        load(kind, filled("lvdm_prediction_unet_small")),
        expected_of("lvdm_prediction_unet_small"),
    )
    both = given("latent5", (2, 5, 4, 16, 16))
    level = torch.from_numpy(expected["noise_level"]).float()
    cond = Condition(concat=both[:, 4:], concat_time=(level + 1) / 1000)
    out = net(both[:, :4], torch.from_numpy(expected["t"]), cond)
    assert far(out, expected["out"]) < LIMIT


@torch.no_grad()
def test_lucidrains_unet3d():
    net, expected = (
        load("lucidrains-unet3d", filled("lucidrains_unet3d_dim16")),
        expected_of("lucidrains_unet3d_dim16"),
    )
    out = net(given("video", (2, 3, 5, 16, 16)), torch.from_numpy(expected["t"]), Condition())
    assert far(out, expected["out"]) < LIMIT


@torch.no_grad()
def test_lucidrains_unet3d_with_its_text_and_its_leak():
    """Its text is one vector; frames that attend to themselves are still images, which its first layer forgets."""
    state, expected = filled("lucidrains_unet3d_cond"), expected_of("lucidrains_unet3d_cond")
    net = load("lucidrains-unet3d", state)
    assert (net.vector_dim, net.heads, net.mask_first) == (24, 2, False)
    z, cond, t = given("video", (2, 3, 5, 16, 16)), given("cond", (2, 24)), torch.from_numpy(expected["t"])
    out, null = net(z, t, Condition(vector=cond)), net(z, t, Condition(vector=cond).null())
    assert far(out, expected["out"]) < LIMIT
    assert far(null, expected["out_null"]) < LIMIT
    assert torch.equal(null, net(z, t, Condition()))
    assert far(null + 2 * (out - null), expected["out_cond_scale_2"]) < LIMIT
    each = cond[:, None].expand(-1, 5, -1)
    torch.testing.assert_close(net(z, t, Condition(vector=each)), out, atol=1e-5, rtol=1e-4)
    # all samples of images, or the second one alone
    images = Condition(vector=cond, images=(True,) * 5)
    alone = net(z, t, images)
    assert far(alone, expected["out_focus_all"]) < LIMIT
    assert far(torch.cat([out[:1], alone[1:]]), expected["out_focus"]) < LIMIT
    other = z.clone()
    other[1, :, 1:] = given("other", (3, 4, 16, 16))
    assert far(net(other, t, images)[1:], expected["out_focus_other_frames"][1:]) < LIMIT
    assert far(alone[1, :, 0], net(other, t, images)[1, :, 0]) > 0.5  # the leak
    ours = load("lucidrains-unet3d", state, mask_first=True)
    assert torch.equal(ours(z, t, images)[1, :, 0], ours(other, t, images)[1, :, 0])


@torch.no_grad()
@pytest.mark.parametrize("is_old", [False, True])
def test_image_autoencoder(is_old):
    state = filled("vae_small")
    if is_old:  # attention as 1x1 convolutions under the names that published files have
        names = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
        for old, new in names.items():
            for part in ("encoder", "decoder"):
                place = f"{part}.mid_block.attentions.0"
                state[f"{place}.{old}.weight"] = state.pop(f"{place}.{new}.weight")[:, :, None, None]
                state[f"{place}.{old}.bias"] = state.pop(f"{place}.{new}.bias")
    net, expected = load("autoencoder-kl", state, norm_num_groups=32), expected_of("vae_small")
    image = given("image", (2, 3, 32, 32)).tanh()[:, :, None]
    moments = torch.cat(net.moments(image), 1)[:, :, 0]
    assert far(moments, expected["moments"]) < LIMIT
    assert torch.equal(net.encode(image)[:, :, 0], moments[:, :4])  # unscaled, as the file holds no scale
    latent = given("latent", (2, 4, 16, 16))[:, :, None]
    assert far(net.decode(latent)[:, :, 0], expected["decoded"]) < LIMIT


def test_the_image_autoencoder_of_stable_diffusion_has_its_names():
    net = convert("autoencoder-kl", shapes("vae_sd1")).network
    published = {name: tuple(entry["shape"]) for name, entry in keys_of("vae_sd1").items()}
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == published
    assert sum(p.numel() for p in net.parameters()) == 83_653_863


@pytest.mark.parametrize(
    ("kind", "name", "buffers"),
    [
        ("pvdm-autoencoder", "pvdm_autoencoder_256", 0),
        ("pvdm-unet", "pvdm_unet_S", 0),
        ("pvdm-unet", "pvdm_unet_L", 0),
        ("lvdm-autoencoder", "lvdm_autoencoder", 0),
        ("lvdm-unet", "lvdm_unet_sky", 0),
        ("lvdm-prediction-unet", "lvdm_prediction_unet_sky", 0),
        ("lvdm-interpolation-unet", "lvdm_interpolation_unet_sky", 0),
        ("autoencoder-kl", "vae_sd1", 0),
        ("lucidrains-unet3d", "lucidrains_unet3d_dim64", 16),  # rotary frequencies are a buffer with us
    ],
)
def test_published_sizes_map_completely(kind, name, buffers):
    found = convert(kind, shapes(name))
    counted = sum(torch.Size(e["shape"]).numel() for e in keys_of(name).values() if e["kind"] == "parameter")
    assert sum(p.numel() for p in found.network.parameters()) + buffers == counted
    report = found.report
    assert set(report.placed) | set(report.ignored) == set(keys_of(name))
    assert not set(report.placed) & set(report.ignored)
    assert all(keys_of(name)[key]["kind"] != "parameter" for key in report.ignored)
    assert all("latent_scale" in key or "concat_time" in key for key in report.missing)
