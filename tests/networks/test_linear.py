"""Linear layers by oneDNN: value, derivatives, and who is left alone."""

import pytest
import torch
import torch.nn.functional as F

from videodiff.networks.linear import Linear, has_onednn, is_by_onednn, linear

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this build of torch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("shape", "features"), [((200, 24), 72), ((3, 40, 72), 24), ((2, 8, 8, 16), 16)])
def test_it_computes_what_torchs_layer_does(shape, features, has_bias):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(features, shape[-1]), torch.randn(features)
    inputs = [x, weight] + ([bias] if has_bias else [])
    inputs = [i.requires_grad_() for i in inputs]
    assert is_by_onednn(x, weight)
    grad = torch.randn(*shape[:-1], features)
    ours, theirs = linear(*inputs), F.linear(*inputs)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    pairs = zip(
        torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad), strict=True
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-5)
        assert a.is_contiguous()


@needs_onednn
def test_views_with_other_strides_are_taken():
    x, weight = torch.randn(3, 24, 100).mT.requires_grad_(), torch.randn(24, 32).mT
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight), atol=1e-5, rtol=1e-5)
    grad = torch.randn(32, 100, 3).permute(2, 1, 0)
    ours, theirs = (torch.autograd.grad(f(x, weight), x, grad)[0] for f in (linear, F.linear))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_autocast_few_rows_and_other_dtypes_go_the_usual_way():
    layer = Linear(8, 8)
    many = torch.randn(100, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_by_onednn(many, layer.weight)
        assert layer(many).dtype == torch.bfloat16
    assert not is_by_onednn(many[:2], layer.weight)
    assert not is_by_onednn(many.double(), layer.weight.double())
    assert Linear(8, 8).double()(many.double()).dtype == torch.float64
