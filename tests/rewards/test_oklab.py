"""Oklab: published values, and what is claimed of its distances."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mgt_core.rewards.oklab import oklab
from support.device import HERE

# sRGB -> L, a, b, by the colour-science of the author's page and of CSS Color 4.
KNOWN = {
    (1.0, 1.0, 1.0): (1.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (0.62796, 0.22486, 0.12585),
    (0.0, 1.0, 0.0): (0.86644, -0.23389, 0.17950),
    (0.0, 0.0, 1.0): (0.45201, -0.03246, -0.31153),
    (0.5, 0.5, 0.5): (0.59818, 0.0, 0.0),
}
COLOUR = st.tuples(*[st.floats(0, 1, width=32)] * 3)


def test_published_values():
    found = oklab(torch.tensor(list(KNOWN), device=HERE["device"])).cpu()
    torch.testing.assert_close(found, torch.tensor(list(KNOWN.values())), rtol=0, atol=2e-4)


@given(COLOUR, COLOUR)
def test_no_two_colours_are_further_than_black_and_white(one, other):
    a, b = oklab(torch.tensor([one, other]))
    assert 0 <= float((a - b).norm()) <= 1 + 1e-4
    assert float(a[1:].abs().max()) < 0.4
