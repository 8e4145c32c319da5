"""ComfyUI's nodes on pictures and masks, as the runner has them; a host compares them in tests/host."""

import pytest
import torch

from runner.host_nodes import NODES
from runner.problems import RunError


@pytest.mark.parametrize("masks, given, accepted", [(1, 3, "1"), (3, 2, "1 or 3"), (2, 0, "1 or 2")])
def test_masks_of_another_count_are_told(masks, given, accepted):
    """The frames of an animation on a mask that was drawn once."""
    node = NODES["MaskComposite"][0]()
    with pytest.raises(RunError, match=f"holds {given} masks and destination {masks}; expected {accepted} in source"):
        node.run(torch.zeros(masks, 4, 4), torch.ones(given, 4, 4), 0, 0, "add")


@pytest.mark.parametrize("masks, given", [(1, 1), (3, 1), (3, 3)])
def test_one_mask_goes_on_all(masks, given):
    node = NODES["MaskComposite"][0]()
    (made,) = node.run(torch.zeros(masks, 4, 4), torch.ones(given, 2, 2), 1, 1, "add")
    assert made.shape == (masks, 4, 4) and made.sum((1, 2)).tolist() == [4] * masks
