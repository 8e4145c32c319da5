"""How loud a sound is handed on: properties that hold for every wave."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgt_core.errors import MGTError
from mgt_core.sound_level import LEVELS, levelled

VALUES = st.floats(-1e6, 1e6, width=32)
WAVES = st.lists(st.lists(VALUES, min_size=5, max_size=5), min_size=1, max_size=3).map(
    lambda rows: torch.tensor(rows)[:, None]
)


@given(WAVES)
def test_no_clipping_touches_only_what_would_be_cut_off(wave):
    made, note = levelled(wave, "no clipping")
    loud = wave.abs().amax((1, 2)) > 1
    assert torch.equal(made[~loud], wave[~loud]) and made.abs().max() <= 1 and bool(note) == bool(loud.any())
    assert torch.equal(levelled(made, "no clipping")[0], made)


@given(WAVES)
def test_full_scale_is_reached_and_keeps_the_shape(wave):
    made, _ = levelled(wave, "full scale")
    for before, after in zip(wave, made, strict=True):
        peak = before.abs().max()
        if peak < 1e-30:  # silence, or as good
            continue
        torch.testing.assert_close(after.abs().max(), torch.tensor(1.0))
        torch.testing.assert_close(after * peak, before, rtol=1e-4, atol=float(peak) * 1e-6)


@given(WAVES)
def test_as_it_is_changes_nothing(wave):
    made, note = levelled(wave, "as it is")
    assert torch.equal(made, wave) and bool(note) == bool((wave.abs() > 1).any())


@pytest.mark.parametrize("level", LEVELS)
def test_silence_stays_silent(level):
    made, note = levelled(torch.zeros(2, 1, 8), level)
    assert not made.any() and note == ""


def test_an_unknown_level_names_the_others():
    with pytest.raises(MGTError, match="level is 'loud', but the known ones are no clipping, full scale, as it is"):
        levelled(torch.zeros(1, 1, 8), "loud")
