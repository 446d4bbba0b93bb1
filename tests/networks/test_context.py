"""Text in every network that takes it, attended to or pooled: the properties that hold whatever the network is."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from network_classes import NETWORKS, SMALL, built, latent_of
from videodiff.checkpoints.partial import fit_weights
from videodiff.cost.counter import Counter
from videodiff.diffusion import Condition
from videodiff.networks.context import Context, ContextAttention, ContextEmbedding, ContextPooling

DIM, LENGTH = 5, 4
CLOSE = dict(rtol=1e-4, atol=5e-6)  # of outputs up to 1, summed in another order
OPTIONS = {
    "UNet3D": [{}],
    "TriplaneUNet": [{}],
    "SpacetimeDiT": [{"layout": layout} for layout in ("alternating", "joint", "factorised")],
}
CASES = [
    pytest.param(name, {**options, "context_by": by}, id="-".join([name, *options.values(), by]))
    for name in NETWORKS
    for options in OPTIONS.get(name, [])
    for by in ("attention", "pooling")
]
OF_FRAMES = [case for case in CASES if NETWORKS[case.values[0]].takes_images]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awake(net):
    """Every parameter drawn anew, so that no layer hides behind one of zeros."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net.eval()


def told(name, options):
    return awake(built(name, context_dim=DIM, **options))


def texts(*shape, lengths, seed=0):
    """Tokens ``[*shape, LENGTH, DIM]``, so many of each there."""
    mask = torch.arange(LENGTH) < torch.tensor(lengths)[..., None]
    return Condition(context=noise(*shape, LENGTH, DIM, seed=seed), context_mask=mask)


def call(net, cond, batch=2):
    z = latent_of(net)[:1].repeat(batch, *[1] * (latent_of(net).ndim - 1))
    with torch.no_grad():
        return net(z, torch.full((batch,), 300.0), cond)


def test_every_network_of_the_room_that_takes_text_is_tested():
    taking = {name for name, net in NETWORKS.items() if "context_dim" in net.__init__.__annotations__}
    assert taking == set(OPTIONS)
    assert taking <= set(SMALL)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_padding_order_and_dropping_are_those_of_the_text(name, options):
    net = told(name, options)
    cond = texts(2, lengths=[2, 4])
    out = call(net, cond)
    assert (out[0] - out[1]).abs().max() > 1e-4  # the same noise: all that differs is the text
    # numbers behind a text's end say nothing, however many there are
    longer = cond.padded(9)
    longer = replace(longer, context=longer.context + 9.0 * ~longer.context_mask[..., None])
    torch.testing.assert_close(call(net, longer), out, **CLOSE)
    torch.testing.assert_close(call(net, cond.map(lambda v: v.flip(0))), out.flip(0), **CLOSE)
    # a text of which nothing is there is none, and none is a text of zeros
    nothing = call(net, Condition())
    absent = texts(2, lengths=[0, 0])
    torch.testing.assert_close(call(net, absent), nothing, **CLOSE)
    torch.testing.assert_close(call(net, cond.null()), nothing, **CLOSE)
    # all dropped: whatever was said, the same comes out
    drop_all, null = torch.zeros(2, dtype=torch.bool), texts(1, lengths=[1], seed=3)
    both = [replace(texts(2, lengths=n, seed=n[0]), absent=null) for n in ([2, 4], [3, 1])]
    dropped = [replace(cond.drop(drop_all), absent=None) for cond in both]
    assert torch.equal(*(call(net, cond) for cond in dropped))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_text_begins_as_if_it_were_not_there_in_a_network_that_learnt_without(name, options):
    layout = {key: value for key, value in options.items() if key != "context_by"}
    plain = awake(built(name, **layout))
    assert not [key for key in plain.state_dict() if "context" in key or "pooling" in key]
    net = built(name, context_dim=DIM, **options).eval()
    found = fit_weights(net, plain.state_dict(), Path("plain.ckpt"))
    assert found.new
    assert all("context" in key or "pooling" in key for key in found.new)
    assert torch.equal(call(net, texts(2, lengths=[2, 4])), call(plain, Condition()))
    # and from there it learns: the output of each new layer has a gradient at once, all of them after a step
    z = latent_of(net)
    net(z, torch.full((2,), 300.0), texts(2, lengths=[2, 4])).square().mean().backward()
    outs = [m.out.weight for m in net.modules() if isinstance(m, ContextAttention | ContextPooling)]
    assert outs
    assert all(out.grad.abs().max() > 0 for out in outs)


@pytest.mark.parametrize(("name", "options"), OF_FRAMES)
def test_texts_of_frames_are_those_of_their_frames(name, options):
    net = told(name, options)
    frames = net.num_frames
    cond = texts(2, lengths=[2, 4])
    each = cond.map(lambda v: v[:, None].expand(-1, frames, *v.shape[1:]))
    torch.testing.assert_close(call(net, each), call(net, cond), **CLOSE)
    # beside still images: one text for the clip and one for each image, or one for each frame
    images = (False,) * (frames - 2) + (True,) * 2
    few = texts(2, 3, lengths=[[2, 1, 4], [4, 3, 1]])
    many = few.map(lambda v: torch.cat([v[:, :1].expand(-1, frames - 2, *v.shape[2:]), v[:, 1:]], 1))
    few, many = replace(few, images=images), replace(many, images=images)
    out = call(net, few)
    torch.testing.assert_close(call(net, many), out, **CLOSE)
    # the caption of an image is that image's alone, to the bit
    other = few.context.clone()
    other[:, 1] += 1
    changed = call(net, replace(few, context=other))
    moved = (changed != out).flatten(3).any(-1).any(0).any(0)
    assert moved.tolist() == [False] * (frames - 2) + [True, False]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_text_in_half_precision_stays_close_and_no_mask_makes_nan(name, options):
    net = told(name, options)
    cond = texts(2, lengths=[0, 3])
    out = call(net, cond)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = call(net, cond)
    assert half.isfinite().all()
    assert (half - out).abs().max() < 0.05 * out.abs().max()
    low = net.bfloat16()
    z = latent_of(net).bfloat16()
    with torch.no_grad():
        assert low(z, torch.full((2,), 300.0), cond.cast(torch.bfloat16)).isfinite().all()


def test_keys_and_values_of_a_text_are_computed_once_for_all_frames_of_a_clip():
    layer, seen = ContextAttention(8, 6, 4), []
    layer.kv.register_forward_hook(lambda module, args, out: seen.append(args[0].shape))
    layer(noise(2, 7, 9, 8), Context(noise(2, 1, 3, 6), None))
    layer(noise(2, 7, 9, 8), Context(noise(2, 3, 3, 6), None))
    assert seen == [(2, 1, 3, 6), (2, 3, 3, 6)]


def test_attention_to_a_text_is_the_formula_over_the_tokens_that_are_there():
    torch.manual_seed(0)
    layer = awake(ContextAttention(8, 6, 4))
    x, given = noise(2, 3, 5, 8), noise(2, 1, 4, 6, seed=1)
    mask = torch.tensor([[[True, True, False, False]], [[True, False, True, True]]])
    out = layer(x, Context(given, mask))
    for sample in range(2):
        seen = given[sample, 0][mask[sample, 0]]
        k, v = (layer.kv(seen).view(-1, 2, 2, 4)[:, i] for i in range(2))  # [L, heads, D]
        q = layer.q(x[sample]).view(3, 5, 2, 4)
        weights = (torch.einsum("fnhd,lhd->fnhl", q, k) / 2).softmax(-1)
        gathered = torch.einsum("fnhl,lhd->fnhd", weights, v).flatten(2)
        torch.testing.assert_close(out[sample], layer.out(gathered), **CLOSE)


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        (
            Condition(context=torch.zeros(2, 3, 4)),
            r"context must have shape \[2, 3, 5\] or \[2, 4, 3, 5\], got",
        ),
        (Condition(context=torch.zeros(2, 5)), r"context must have shape \[2, 1, 5\] .*, got \[2, 5\]"),
        (Condition(context_mask=torch.ones(2, 3, dtype=torch.bool)), "a context_mask but no context"),
        (
            Condition(context=torch.zeros(2, 3, 5), context_mask=torch.ones(2, 4, dtype=torch.bool)),
            r"context_mask must have shape \[2, 3\], got \[2, 4\]",
        ),
        (
            Condition(context=torch.zeros(2, 3, 5), context_mask=torch.ones(2, 3)),
            "context_mask must be bool, True where a token is there, got torch.float32",
        ),
        (
            Condition(context=torch.zeros(2, 4, 3, 5), images=(False, True)),
            "flags still images for 2 frames, z has 4",
        ),
    ],
)
def test_a_text_that_does_not_fit_is_refused_in_one_line(cond, message):
    net = built("UNet3D", context_dim=DIM)
    with pytest.raises((ValueError, TypeError), match=message):
        call(net, cond)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_text_are_checked(name):
    with pytest.raises(ValueError, match="context_by must be attention or pooling, got 'film'"):
        built(name, context_dim=3, context_by="film")
    with pytest.raises(ValueError, match="context_dim must be at least 1"):
        built(name, context_dim=0)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_what_a_text_costs_is_counted(name, options):
    """Each token more passes the layers that make keys and values, and is multiplied with every query, twice."""
    layout = {key: value for key, value in options.items() if key != "context_by"}
    nets = {0: built(name, **layout), 1: built(name, context_dim=DIM, **options)}

    def flop(net, length):
        z = latent_of(net)
        text = torch.zeros(2, length, DIM)
        cond = Condition(context=text, context_mask=torch.ones(2, length, dtype=torch.bool))
        with torch.no_grad(), Counter(is_real=True) as counter, sdpa_kernel(SDPBackend.MATH):
            net(z, torch.full((2,), 300.0), cond if net.context_dim else Condition())
        return counter.flop

    plain, short, long = flop(nets[0], 1), flop(nets[1], 1), flop(nets[1], 65)
    assert plain < short < long
    kinds = (ContextAttention, ContextPooling, ContextEmbedding)
    layers = [module for module in nets[1].modules() if isinstance(module, kinds)]
    seen = 0
    for layer in layers:
        if isinstance(layer, ContextEmbedding):
            seen += layer.first.weight.numel() + layer.second.weight.numel()
        else:
            seen += layer.kv.weight.numel()
    queries = {}

    def note(module, args, out):
        queries[module] = out.shape[:-1].numel() * out.shape[-1]

    hooks = [m.q.register_forward_hook(note) for m in layers if isinstance(m, ContextAttention)]
    with torch.no_grad():
        nets[1](latent_of(nets[1]), torch.full((2,), 300.0), texts(2, lengths=[2, 4]))
    for hook in hooks:
        hook.remove()
    if options["context_by"] == "pooling":
        queries = {None: 2 * sum(m.query.numel() for m in layers)}
    elif name == "SpacetimeDiT":  # sample by sample on a CPU
        queries = {module: 2 * count for module, count in queries.items()}
    assert long - short == 64 * (2 * 2 * seen + 4 * sum(queries.values()))
