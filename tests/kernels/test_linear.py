"""Linear layers that take over what stands around their product."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mgt_core.kernels.linear import BlockLinear, activated_product, gelu, of_parts, sum_of_products


def layers(wide: int = 5, out: int = 4):
    plain, ours = nn.Linear(wide, out), BlockLinear(wide, out)
    ours.load_state_dict(plain.state_dict())
    return plain, ours


@torch.inference_mode()
def test_what_a_gpu_computes_is_the_same():
    plain, _ = layers()
    x = torch.randn(2, 3, 5)
    parts = x.split([2, 1, 2], dim=-1)
    torch.testing.assert_close(sum_of_products(parts, plain.weight, plain.bias), plain(x), atol=1e-6, rtol=1e-6)
    # On a CPU torch has the exact form of GELU there.
    torch.testing.assert_close(activated_product(x, plain.weight, plain.bias), F.gelu(plain(x)), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_parts_and_gelu_of_any_layer(training):
    """Also where another kind of layer has taken its place."""
    plain, ours = layers()
    x = torch.randn(2, 3, 5)
    with torch.set_grad_enabled(training):
        for layer in (plain, ours):
            assert torch.equal(of_parts(layer, *x.split([2, 3], dim=-1)), plain(x))
            assert torch.equal(gelu(layer, x), F.gelu(plain(x), approximate="tanh"))
