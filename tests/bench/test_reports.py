"""Reports as JSON files."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import reports
from bench.reports import LINE, write_report, written

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=3), st.integers(0, 20))
def test_nothing_of_a_report_is_lost(found, line):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "LINE", line)
        text = written(found)
    assert json.loads(text) == found and list(json.loads(text)) == list(found)


def test_a_case_that_changed_is_a_line_that_changed(tmp_path):
    found = {"seed": 0, "cases": {f"case {i}, 8 → 0": {"kl": i / 7, "interval95": [0.0, i]} for i in range(40)}}
    file = tmp_path / "new" / "report.json"
    write_report(file, found)
    before = file.read_text(encoding="utf-8").splitlines()
    found["cases"]["case 7, 8 → 0"]["kl"] = 0.5
    write_report(file, found)
    after = file.read_text(encoding="utf-8").splitlines()
    assert len(before) == len(after) > 40 and max(map(len, after)) <= LINE + 2
    assert [new for old, new in zip(before, after) if old != new] == [
        '  "case 7, 8 → 0": {"kl": 0.5, "interval95": [0.0, 7]},'
    ]
