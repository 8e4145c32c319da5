"""What a step costs is said before it begins, and refused where a device can never pay it."""

import os
from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core import room
from mgt_core.codecs.base import Direction
from mgt_core.room import CHECK, GB, LEEWAY, Room, main_memory
from mgt_core.sampling import cost, memory
from support.families import FAMILIES
from support.runs import NEGATIVE, PIPE, POSITIVE, empty, run
from support.trials import is_sentence

CPU = torch.device("cpu")


class Place:
    """A device with so much memory, which counts how often it is asked to compute."""

    def __init__(self, total=None, free=None):
        self.known, self.asked = Room(CPU, total, free), 0

    def room(self):
        return self.known

    def acquire(self, memory=0):
        self.asked += 1
        return CPU


def placed(**bytes_of):
    place = Place(**bytes_of)
    return replace(PIPE, model=PIPE.model.with_placement(place)), place


def needed(state):
    return memory.step_bytes(PIPE.model, state, POSITIVE, NEGATIVE, [3.0])


def test_what_can_never_be_had_is_refused_before_any_work():
    state = empty((16, 16))
    pipe, place = placed(total=int(needed(state) * LEEWAY) - 1, free=0)
    unit = PIPE.model.pixels_per_token
    with pytest.raises(mgt_core.MGTError, match=f"a step at {16 * unit} x {16 * unit} takes about .* and this") as told:
        run(state, pipe=pipe)
    assert is_sentence(str(told.value)) and "make a smaller picture" in str(told.value) and place.asked == 0


def test_what_may_just_work_is_tried_and_said(caplog):
    """The estimate is not to stop what would have worked."""
    state = empty((16, 16))
    pipe, _ = placed(total=needed(state), free=needed(state) - 1)
    assert torch.equal(run(state, pipe=pipe).tokens, run(state).tokens)
    assert "of which" in caplog.text and "are free" in caplog.text


def test_who_knows_better_may_try(monkeypatch, caplog):
    """What the device seems never to have, such as memory that a driver lends it."""
    state = empty((16, 16))
    pipe, _ = placed(total=int(needed(state) * LEEWAY) - 1, free=0)
    with pytest.raises(mgt_core.MGTError, match=f"{CHECK}=0 in the environment has it tried"):
        run(state, pipe=pipe)
    monkeypatch.setenv(CHECK, "0")
    assert torch.equal(run(state, pipe=pipe).tokens, run(state).tokens)
    assert "it may be very slow or fail" in caplog.text


def test_a_run_with_nothing_to_do_costs_nothing():
    state = run(empty((16, 16)))
    pipe, _ = placed(total=1, free=0)
    assert cost.step_note(pipe.model, state, POSITIVE, NEGATIVE, [3.0]) is None


def test_nothing_is_said_where_there_is_room_or_nobody_knows(caplog):
    state = empty((16, 16))
    for pipe, _ in (placed(total=needed(state), free=needed(state)), placed()):
        run(state, pipe=pipe)
    assert "memory" not in caplog.text


@pytest.mark.parametrize("cells, times", [(64, None), (96, None), (256, 20), (1024, 1000)])
def test_steps_that_take_far_longer_than_trained_ones(cells, times):
    model = replace(PIPE.model, trained_size=(64 * PIPE.model.pixels_per_token,) * 2)
    note = cost.time_note(model, empty((cells, cells)))
    assert (note is None) == (times is None)
    if note:
        said = int(note.split("about ")[1].split(" times")[0].replace(",", ""))
        assert times / 2 <= said <= 100 * times and is_sentence(note)


def test_the_huge_picture_of_a_big_model_is_refused_on_a_small_machine():
    """8192 x 8192 with 16 GB, and what 16 GB do every day is not: 1024 x 1024."""
    small = Room(CPU, 16 * GB, 12 * GB)
    unit, demo = PIPE.model.pixels_per_token, mgt_core.load("demo", device="cpu")
    state = mgt_core.empty_tokens(demo, 8192, 8192)
    text = demo.text.encode("a")
    huge = memory.step_bytes(demo.model, state, text, text, [2.0])
    assert 6 * GB < huge < 16 * GB and unit
    with pytest.raises(mgt_core.MGTError, match="decoding a picture of 67.1 megapixels takes about"):
        replace(demo.codec, placement=Place(16 * GB, 12 * GB)).decode_note(state.grid)
    usual = mgt_core.empty_tokens(demo, 1024, 1024)
    assert small.note(memory.step_bytes(demo.model, usual, text, text, [2.0]), "a step", "less") is None
    assert replace(demo.codec, placement=Place(16 * GB, 12 * GB)).decode_note(usual.grid) is None


def test_what_encoding_really_takes_is_not_refused():
    """Of the built-in codec at 2048 x 2048 measured: 767 MiB whole and 543 in strips, where decoding takes 1303."""
    codec, side = mgt_core.load("demo", device="cpu").codec, 2048
    encoding = Direction(codec._latents, codec._latents_tiled, codec.latents_bytes, "encoding")
    for direction, taken in ((encoding, 767 * 2**20), (codec.decoding(), 1303 * 2**20)):
        just = replace(codec, placement=Place(taken))
        assert just.memory_note(direction, side**2) is None
        with pytest.raises(mgt_core.MGTError, match=f"{direction.name} a picture of 4.19 megapixels"):
            replace(codec, placement=Place(taken // 2)).memory_note(direction, side**2)


def test_a_share_that_was_measured_for_one_codec_is_none_of_another(tmp_path):
    """MaskGIT's takes less than its maps alone (2.7 of 3.1 GB at 2048 x 2048, 64 channels)."""
    own, other = (mgt_core.load(FAMILIES[name](tmp_path / name), device="cpu").codec for name in ("amused", "openmuse"))
    assert own.decoding().share > other.decoding().share == 1


def test_attention_by_tables_counts():
    """In bfloat16 on a CPU, where a head has a table of its own."""
    network, rows = PIPE.model.network, 4096
    assert network.attention_bytes(rows, torch.bfloat16, CPU) == 2 * 2 * rows**2
    assert network.attention_bytes(rows, torch.float32, CPU) == 0
    assert network.attention_bytes(rows, torch.bfloat16, torch.device("cuda")) == 0


def test_main_memory_is_what_the_system_says(tmp_path):
    own = main_memory(CPU)
    if hasattr(os, "sysconf"):
        assert 2**28 < own.total < 2**50
    assert own.free is None or 0 < own.free <= own.total
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 9 kB\nMemAvailable:   3 kB\n")
    assert room.stated("MemAvailable", table) == 3072
    assert room.stated("SwapTotal", table) is None and room.stated("MemTotal", tmp_path / "none") is None


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not tell what it has")
def test_swap_counts_and_a_container_has_no_more_than_its_limit(tmp_path):
    """What swaps is slow and works, so that it is not refused; what is beyond the limit is killed."""
    table, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    table.write_text("MemAvailable: 4096 kB\nSwapTotal: 8 kB\n")
    limit.write_text("max\n")
    assert main_memory(CPU, table, [limit, tmp_path / "none"]) == Room(CPU, physical + 8192, 2**22)
    limit.write_text(f"{2**20}\n")
    assert main_memory(CPU, table, [limit]) == Room(CPU, 2**20 + 8192, 2**20)
    limit.write_text(f"{2**63 - 4096}\n")  # of the first kind of groups: none
    assert main_memory(CPU, tmp_path / "none", [limit]) == Room(CPU, physical)


def test_unified_memory_is_main_memory():
    assert room.room_on(torch.device("mps")).total == main_memory(CPU).total
