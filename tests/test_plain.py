"""Numbers of other libraries wherever one is asked for, and texts that were cut through a character."""

import json
from dataclasses import MISSING, fields
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core import MGTError
from mgt_core.errors import finite_number, whole_number
from mgt_core.plain import lines_of, members, plain_number, plain_whole, whole_text
from mgt_core.quantization.calibration import CalibrationRun
from mgt_core.self_guidance.training import TrainingSettings
from mgt_core.settings import Numbers, WholeNumbers, setting
from mgt_core.views.pictures import labelled_grid
from support.refusals import PIPE, UNIT, condition, sample, state

# Ways in which people's programs hold a whole number, and any number.
WHOLE = {
    **{np.dtype(kind).name: np.dtype(kind).type for kind in "bhilqBHILQ"},
    "numpy without dimensions": np.array,
    "torch without dimensions": torch.tensor,
    "fraction": Fraction,
    "decimal": Decimal,
    "float": float,
    "float64": np.float64,
    "torch float": lambda value: torch.tensor(float(value)),
}
REAL = WHOLE | {"float16": np.float16, "float32": np.float32, "longdouble": np.longdouble}
NO_NUMBERS = {
    "bool": True,
    "numpy bool": np.True_,
    "torch bool": torch.tensor(True),
    "text": "2",
    "numpy text": np.str_("2"),
    "complex": np.complex64(2),
    "one in a list": [2],
    "one in an array": np.array([2]),
    "one in a tensor": torch.tensor([2]),
    "without values": torch.tensor(2, device="meta"),
    "an object": np.array(None),
    "a duration": np.array(2, "timedelta64[s]"),
    "nothing": None,
}
NOT_FINITE = {
    "nan": float("nan"),
    "numpy nan": np.float32("nan"),
    "torch inf": torch.tensor(float("inf")),
    "decimal nan": Decimal("nan"),
    "decimal signal": Decimal("snan"),
    "decimal inf": Decimal("-inf"),
    "beyond floats": Fraction(10**400, 3),
    "very long": Decimal("1e999999999"),
    "thousands of digits": 10**5000,
}


def of_table(table: dict):
    return pytest.mark.parametrize("value", table.values(), ids=table)


@of_table(WHOLE)
def test_whole_numbers_of_any_library(value):
    for number in (plain_whole(value(2)), whole_number("steps", value(2), 0, 9)):
        assert number == 2 and type(number) is int


@of_table(REAL)
def test_numbers_of_any_library(value):
    assert plain_number(value(2)) == 2 and type(plain_number(value(2))) in (int, float)
    number = finite_number("cfg", value(2), 0, 9)
    assert number == 2 and type(number) is float


@of_table(NO_NUMBERS)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(MGTError, match="^steps is .*; accepted are whole numbers from 0 to 9$"):
        whole_number("steps", value, 0, 9)
    with pytest.raises(MGTError, match="^cfg is .*; accepted are numbers from 0 to 9$"):
        finite_number("cfg", value, 0, 9)


@of_table(NOT_FINITE)
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(MGTError, match="^steps is "):
        whole_number("steps", value, 0, 9)
    with pytest.raises(MGTError, match="^cfg is "):
        finite_number("cfg", value, 0, 9)


@pytest.mark.parametrize("value", [10**400, 10**5000, Fraction(10**400)], ids=["400", "5000", "fraction"])
def test_what_no_float_holds_is_refused_without_a_limit_too(value):
    with pytest.raises(MGTError, match="^known_confidence is .* accepted are numbers from 0 to inf$"):
        mgt_core.MaskGIT(known_confidence=value)


@pytest.mark.parametrize("value", [np.float64(2.5), Fraction(5, 2), Decimal("2.5"), torch.tensor(2.5)])
def test_what_is_not_whole_is_refused_as_people_write_it(value):
    with pytest.raises(MGTError, match=r"^steps is 2\.5; accepted are whole numbers from 1 to 9$"):
        whole_number("steps", value, 1, 9)


@given(st.integers(0, 2**64 - 1))
def test_all_64_bits_of_a_seed_count(seed):
    for own in (np.uint64(seed), Fraction(seed), Decimal(seed), np.array(seed, np.uint64)):
        assert plain_whole(own) == seed


@pytest.mark.parametrize("value", [(1, 2), [1, 2], range(1, 3), np.array([1, 2], np.int8), torch.tensor([1, 2])])
def test_members_are_of_lists_and_arrays(value):
    assert list(members(value)) == [1, 2]


@pytest.mark.parametrize("value", ["12", b"12", 12, None, np.array(1), torch.tensor(1), {1, 2}, np.int64(1)])
def test_what_has_no_members(value):
    assert members(value) is None


# Wherever the library asks for one


def of_library(value):
    """The same as numpy has it."""
    if isinstance(value, tuple):
        return np.array(value)
    return np.int64(value) if isinstance(value, int) else np.float32(value)


RUN = {"steps": 2, "cfg": 2.0, "seed": 5, "temperature": 1.5}


@of_table(WHOLE)
def test_a_run_is_the_same_with_numbers_of_any_library(value):
    expected = sample(**RUN | {"temperature": 2.0})().tokens
    found = sample(steps=value(2), cfg=value(2), seed=value(5), temperature=value(2))().tokens
    assert torch.equal(found, expected)


@pytest.mark.parametrize("seeds", [np.array([7, 2**64 - 1], np.uint64), [np.int8(7), Decimal(2**64 - 1)]])
def test_a_seed_an_image(seeds):
    pair = {"tokens": state(batch=2), "positive": condition(2), "negative": condition(2)}
    assert torch.equal(sample(**pair, seed=seeds)().tokens, sample(**pair, seed=[7, 2**64 - 1])().tokens)


def test_the_widest_seed_counts_on_from_its_own():
    pair = {"tokens": state(batch=2), "positive": condition(2), "negative": condition(2)}
    assert torch.equal(sample(**pair, seed=np.uint64(2**64 - 1))().tokens, sample(**pair, seed=[2**64 - 1, 0])().tokens)


def test_temperatures_and_other_pairs_may_be_arrays():
    for ends in (np.array([2.0, 0.5], np.float32), torch.tensor([2.0, 0.5]), [Fraction(2), Decimal("0.5")]):
        assert mgt_core.MaskGIT(temperature=ends) == mgt_core.MaskGIT(temperature=(2.0, 0.5))
    assert mgt_core.FixedOrder(sharpness=np.array([1.0, 2.0])) == mgt_core.FixedOrder(sharpness=(1.0, 2.0))
    assert mgt_core.TokenMerging(stride=np.array([2, 4])) == mgt_core.TokenMerging(stride=(2, 4))
    points = [(0, 1), (0.5, 0.25), (1, 0)]
    assert mgt_core.CustomCurve(np.array(points)) == mgt_core.CustomCurve(tuple(points))


@of_table(WHOLE)
def test_sizes_of_any_library(value):
    side = 2 * UNIT
    made = mgt_core.empty_tokens(PIPE, value(side), value(side), value(2))
    assert made.grid == mgt_core.empty_tokens(PIPE, side, side).grid and made.batch == 2


def test_sizes_that_do_not_fit_are_told_as_people_write_them():
    with pytest.raises(MGTError, match=f"^height is {UNIT + 1} pixels; .*; the nearest are {UNIT} and {2 * UNIT}$"):
        mgt_core.empty_tokens(PIPE, np.int64(UNIT + 1), UNIT)


PARTS = {
    f"{kind} {name}": registry.get(name)
    for kind, registry in {
        "schedule": mgt_core.SCHEDULES,
        "sampler": mgt_core.SAMPLERS,
        "modifier": mgt_core.MODIFIERS,
        "patch": mgt_core.PATCHES,
        "scheme": mgt_core.SCHEMES,
    }.items()
    for name in registry
} | {"calibration": CalibrationRun, "training": TrainingSettings}


def numbers_of(part: type) -> dict:
    """Values of a part's settings that are numbers, as they are by default."""
    if any(f.default is f.default_factory is MISSING for f in fields(part)):
        return {}  # it needs more than numbers
    return {
        f.name: f.default
        for f in fields(part)
        if f.init and (isinstance(setting(part, f.name)[1], (Numbers, WholeNumbers)) or type(f.default) in (int, float))
    }


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if numbers_of(part)])
def test_settings_hold_numbers_of_their_own(name):
    part, values = PARTS[name], numbers_of(PARTS[name])
    values = {key: value if isinstance(value, int) else float(np.float32(value)) for key, value in values.items()}
    plain, ours = part(**values), part(**{key: of_library(value) for key, value in values.items()})
    assert ours == plain and hash(ours) == hash(plain) and repr(ours) == repr(plain)
    held = {key: getattr(ours, key) for key in values}
    assert json.loads(json.dumps(held)) == held == values
    assert all(type(held[key]) in (int, float) for key in held)


def test_switches_of_numpy_are_python_s():
    part = mgt_core.TokenMerging(random=np.False_, blocks=np.str_("all"), known_only=np.array(True))
    assert (part.random, part.known_only) == (False, True) and {type(part.random), type(part.known_only)} == {bool}
    assert type(part.blocks) is str


def test_choices_among_numbers():
    assert repr(mgt_core.W4A8(group_size=np.int64(32))) == repr(mgt_core.W4A8(group_size=32))
    with pytest.raises(MGTError, match=r"group_size is \[16\]; accepted are "):
        mgt_core.W4A8(group_size=[16])
    with pytest.raises(MGTError, match="group_size is tensor"):
        mgt_core.W4A8(group_size=torch.tensor([16, 32]))


def edited(number) -> list[torch.Tensor]:
    """What the functions of editing and views make with these numbers."""
    half, one, two, side = number(0.5), number(1), number(2), number(UNIT)
    model, known = PIPE.model, sample(steps=2, seed=3)()
    picture = torch.linspace(0, 1, 2 * UNIT * 2 * UNIT * 3).reshape(1, 2 * UNIT, 2 * UNIT, 3)
    mask = torch.zeros(1, *known.grid)
    mask[0, 0, 0] = 1
    padded = mgt_core.pad_tokens(model, known, (side, number(0), side, number(0)), redraw=one)
    encoded = mgt_core.encode_image(model, PIPE.codec, picture, strength=half, tile_size=number(0))
    return [
        mgt_core.mask_tokens(known, mask, grow=one).tokens,
        mgt_core.vary_tokens(known, half, seed=two).tokens,
        padded.tokens,
        encoded.tokens,
        sample(tokens=encoded, seed=1)().tokens,
        mgt_core.paste_back(picture, 1 - picture, torch.ones(1, 4, 4), feather=two),
        mgt_core.micro_conditions((side, side), (one, two), half),
        labelled_grid([picture[0], picture[0]], ["a", "b"], columns=one),
    ]


@pytest.mark.parametrize("kind", [of_library, torch.tensor, lambda value: Decimal(str(value))])
def test_editing_is_the_same_with_numbers_of_any_library(kind):
    for ours, expected in zip(edited(kind), edited(lambda value: value), strict=True):
        assert torch.equal(ours, expected)


def test_states_and_parts_of_conditions_hold_plain_numbers():
    made = state(strength=np.float32(0.5), mask_id=np.int64(PIPE.model.mask_id))
    assert (type(made.strength), type(made.mask_id)) == (float, int)
    part = mgt_core.ConditionPart(condition(), np.float32(2), Fraction(1, 4), torch.tensor(1))
    assert [(v, type(v)) for v in (part.weight, part.start, part.end)] == [(2, float), (0.25, float), (1, float)]


def test_counts_of_a_schedule_are_whole_numbers():
    schedule = mgt_core.SCHEDULES.get("cosine")()
    assert schedule.counts(np.int64(4), np.int32(64)) == schedule.counts(4, 64)
    assert torch.equal(schedule.ratio(Fraction(1, 2)), schedule.ratio(0.5))
    with pytest.raises(MGTError, match="^steps is 0; accepted are whole numbers from 1"):
        schedule.counts(0, 64)


# Texts


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("a \ud83d heart", "a \ufffd heart"),
        ("\ude00", "\ufffd"),
        ("\ud83d\ud83d\ude00!", "\ufffd\U0001f600!"),
        ("caf\udce9", "caf\ufffd"),
        ("a\u2028b\0é\U0001f600 \ufeff", "a\u2028b\0é\U0001f600 \ufeff"),
        ("", ""),
    ],
)
def test_halves_of_characters_are_replaced(text, whole):
    assert whole_text(text) == whole


def test_lines_end_as_editors_end_them():
    assert lines_of("a\nb\r\nc\rd\u2028e\x0bf\x0cg\x1ch\x85i\u2029j") == [
        "a",
        "b",
        "c",
        "d\u2028e\x0bf\x0cg\x1ch\x85i\u2029j",
    ]


@pytest.mark.parametrize("prompt", ["a \ud83d heart", "\udc00", "(half \ud83d:1.3) of it", "\ud83d " * 100])
def test_prompts_with_half_a_character_are_encoded(prompt):
    for options in ({}, {"weights": True, "chunks": True}):
        ours, whole = PIPE.text.encode([prompt], **options), PIPE.text.encode([whole_text(prompt)], **options)
        assert torch.equal(ours.hidden, whole.hidden) and torch.equal(ours.pooled, whole.pooled)
    assert PIPE.text.length_note(prompt) == PIPE.text.length_note(whole_text(prompt))


ODD_TEXTS = [
    "\0",
    "a\u2028b\u2029c",
    "\x1b[31m",
    "\u202eabc",
    "e\u0301" * 50,
    "\U0001f469\u200d\U0001f680",
    "\ufeffa",
    "\uffff",
]


@pytest.mark.parametrize("prompt", ODD_TEXTS, ids=ascii)
def test_odd_prompts_are_encoded(prompt):
    assert torch.isfinite(PIPE.text.encode([prompt], weights=True, chunks=True).hidden).all()


@given(st.text(st.characters()))
def test_every_text_can_be_written_and_whole_ones_stay(text):
    made = whole_text(text)
    made.encode()
    assert whole_text(made) == made and (made == text or any("\ud800" <= letter <= "\udfff" for letter in text))
