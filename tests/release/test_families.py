"""Every architecture is in the table of families and techniques, and the page shows it as it is."""

import mgt_core
from release import make_families
from support.families import FAMILIES, REFUSED, TECHNIQUES


def test_every_backbone_has_a_tiny_bundle():
    missing = set(mgt_core.BACKBONES) - set(FAMILIES)
    assert missing == set(), "make a tiny bundle of each in tests/support/bundles.py, and name it in families.py"


def test_the_page_is_up_to_date():
    assert make_families.PAGE.read_text(encoding="utf-8") == make_families.page(), "run ./mgt families"


def test_the_page_has_a_cell_for_each():
    rows = [line for line in make_families.page().splitlines() if line.startswith("| ")][2:]
    cells = [row.strip("| ").split(" | ")[2:] for row in rows]
    assert len(cells) == len(TECHNIQUES) and {len(own) for own in cells} == {len(FAMILIES)}
    refused = [each for own in cells for each in own if each.startswith("no: ")]
    assert sorted(refused) == sorted(f"no: {why}" for why in REFUSED.values())
