"""Settings declare what they may be, where they are."""

from dataclasses import dataclass

import pytest

from mgt_core import MGTError
from mgt_core.settings import (
    Choices,
    Numbers,
    Settings,
    WholeNumbers,
    choice,
    construct,
    from_json,
    number,
    setting,
    share,
    whole,
)


@dataclass(frozen=True)
class Part(Settings):
    neutral = None
    interval_of = "the part"

    size: float = number(1.0, 0.5, 4, "part size", step=0.5)
    count: int = whole(3, 1, 9)
    kind: str = choice("plain", ("plain", "fancy"))
    start: float = share(0.0)
    end: float = share(1.0)


@dataclass(frozen=True)
class Larger(Part):
    size: float = 2.0  # another default, the same range


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 5}, "part size is 5; accepted are numbers from 0.5 to 4"),
        ({"size": float("nan")}, "part size is nan"),
        ({"count": 1.5}, "count is 1.5; accepted are whole numbers from 1 to 9"),
        ({"kind": "none"}, "kind is 'none'; accepted are plain, fancy"),
        ({"start": 2}, "the part start is 2; accepted are numbers from 0 to 1"),
        ({"start": 0.8, "end": 0.2}, "the part starts at 0.8 and ends at 0.2"),
    ],
)
@pytest.mark.parametrize("cls", [Part, Larger])
def test_what_is_declared_is_checked(cls, values, message):
    with pytest.raises(MGTError) as told:
        cls(**values)
    assert str(told.value).startswith(message)


def test_what_is_declared_can_be_asked_for():
    assert setting(Part, "size") == (1.0, Numbers(0.5, 4, 0.5)) and setting(Larger, "size") == (
        2.0,
        Numbers(0.5, 4, 0.5),
    )
    assert setting(Part, "count") == (3, WholeNumbers(1, 9)) and setting(Part, "kind")[1] == Choices(("plain", "fancy"))


def test_construct_names_what_is_not_there():
    assert construct(Part, "part", count=4) == Part(count=4) == from_json(Part, "part", {"count": 4})
    with pytest.raises(MGTError, match="part has no setting color; known are size, count, kind, start, end"):
        construct(Part, "part", color=1)
    with pytest.raises(MGTError, match="part is 4; expected its settings by name"):
        from_json(Part, "part", 4)
