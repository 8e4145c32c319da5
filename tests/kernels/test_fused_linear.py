"""Fused linear layers: one product, and the names of the checkpoints."""

import copy

import pytest
import torch
from torch import nn

from mgt_core.kernels.fused_linear import FusedLinear, Fusing

NAMES = ("first", "second", "third")


class Outer(nn.Module):
    def __init__(self, fused: bool, bias: bool = True):
        super().__init__()
        self.inner = Fusing() if fused else nn.Module()
        if fused:
            self.inner.all = FusedLinear(NAMES, 5, 4, bias)
        else:
            for name in NAMES:
                self.inner.add_module(name, nn.Linear(5, 4, bias))


@pytest.mark.parametrize("bias", [True, False])
def test_same_products_under_the_same_names(bias):
    apart, fused, x = Outer(False, bias), Outer(True, bias), torch.randn(3, 5)
    fused.load_state_dict(apart.state_dict())
    wanted = torch.cat([getattr(apart.inner, name)(x) for name in NAMES], dim=-1)
    assert torch.allclose(fused.inner.all(x), wanted, atol=1e-6)
    assert list(fused.state_dict()) == list(apart.state_dict())
    apart.load_state_dict(copy.deepcopy(fused).state_dict())
    for name in NAMES:
        assert torch.equal(fused.inner.all.weight[fused.inner.all.rows(name)], getattr(apart.inner, name).weight)


def test_state_dict_is_views():
    fused = Outer(True)
    fused.state_dict()["inner.second.weight"].zero_()
    assert (fused.inner.all.weight == 0).all(1).tolist() == [False] * 4 + [True] * 4 + [False] * 4


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_a_wrong_state_dict_is_refused(damage):
    values, fused = Outer(False).state_dict(), Outer(True)
    if damage == "missing":
        del values["inner.second.weight"]
    else:
        values["inner.fourth.weight" if damage == "extra" else "inner.second.weight"] = torch.zeros(7, 5)
    with pytest.raises(RuntimeError, match="fourth|second|all.weight"):
        fused.load_state_dict(values)
