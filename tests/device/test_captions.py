"""On a GPU no step of a caption waits for the device, though every one of them asks two networks."""

from dataclasses import replace

import pytest
import torch

import mgt_core
from support.muddit import OWN_MUDDIT
from support.on_device import DRAWS, on_device
from support.pretended import PretendedCUDA

pytestmark = pytest.mark.cpu_only("the device is pretended")


def test_no_step_waits():
    pipe = mgt_core.load(OWN_MUDDIT / "1024", base=OWN_MUDDIT / "base", device="cpu")
    side = 2 * pipe.model.side_unit
    images = torch.rand(2, side, side, 3, generator=torch.Generator().manual_seed(0))
    parts = {name: on_device(getattr(pipe, name)) for name in ("model", "text", "codec")}
    with PretendedCUDA() as watch:
        made = mgt_core.caption(replace(pipe, **parts), images, steps=5, callback=lambda step: watch.mark())
    assert made == mgt_core.caption(pipe, images, steps=5)
    assert [note for part in watch.parts[1:-1] for note in part.waits] == []
    assert [note for note in watch.whole.float64 if not note.place.startswith(DRAWS)] == []
