import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgt_core.errors import MGTError
from mgt_core.loading.references import DEEPEST, resolved

CONFIG = {
    "rate": 16000,
    "codec": {"rate": "${rate}", "ratios": [8, "${codec.first}"], "first": 5, "again": "${codec.rate}"},
    "user": "${oc.env:USER}",
    "text": "a ${rate}",
    "nowhere": "${codec.none}",
    "circle": "${circle}",
    "unset": "???",
    "nothing": None,
}


def test_references_are_followed():
    assert resolved(CONFIG, "codec.again") == 16000
    assert resolved(CONFIG, "codec.ratios") == [8, 5]
    assert resolved(CONFIG, "nothing") is None and resolved(CONFIG, "nothing", 3) is None
    assert resolved(CONFIG, "codec.other", 7) == 7 and resolved(CONFIG, "unset", 7) == 7


@pytest.mark.parametrize(
    "path, told",
    [
        ("codec.other", "config has no codec.other"),
        ("unset", "config has no unset"),
        ("rate.first", "config has no rate.first"),
        ("user", "only references such as ${a.b} are read"),
        ("text", "only references such as ${a.b} are read"),
        ("nowhere", "and no codec.none"),
        ("circle", "more than 16 references"),
    ],
)
def test_what_leads_nowhere(path, told):
    with pytest.raises(MGTError) as raised:
        resolved(CONFIG, path)
    assert told in str(raised.value)


@given(st.integers(0, 2 * DEEPEST), st.text() | st.integers() | st.none() | st.floats(allow_nan=False))
def test_chains_of_any_length(length, end):
    config = {f"v{i}": f"${{v{i + 1}}}" for i in range(length)} | {f"v{length}": end}
    if length >= DEEPEST or end == "???" or isinstance(end, str) and "${" in end:
        with pytest.raises(MGTError):
            resolved(config, "v0")
    else:
        assert resolved(config, "v0") == end
