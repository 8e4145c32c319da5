"""docs/families.md: which technique works with which family of models, from the registries and what is refused.

./mgt families"""

from support.families import EXACT, FAMILIES, REFUSED, TECHNIQUES, TIME, TIMED
from support.pack import ROOT

PAGE = ROOT / "docs" / "families.md"
KINDS = ("patch", "modifier", "sampler", "schedule")
HEAD = """# Families and techniques

What works with which family of models. `tests/test_families.py` runs every cell that says yes on a tiny model of the
family, two pictures together and one alone, and gets the sentence for every other. `./mgt families` writes this page
anew.

A cell that says no says why. *The same*: another way to compute what is computed without it. *No effect*: the network
is not told the time. Of sound, image to image starts from a given sound, inpainting and outpainting are of a range and
a continuation in time, and samplers that keep one of several candidates go by the model's own sureness: a reward looks
at pictures, and is refused.
"""


def cell(family: str, technique: str) -> str:
    if (family, technique) in REFUSED:
        return f"no: {REFUSED[family, technique]}"
    if technique == TIME and family not in TIMED:
        return "no effect"
    return "the same" if technique in EXACT else "yes"


def named(technique: str) -> tuple[str, str]:
    """Its kind, and its name."""
    kind, _, name = technique.partition(" ")
    return (kind, f"`{name}`") if kind in KINDS else ("run", technique)


def page() -> str:
    rows = [("", "Technique", *(f"`{family}`" for family in FAMILIES)), ("---",) * (2 + len(FAMILIES))]
    for technique in sorted(TECHNIQUES, key=lambda each: [*KINDS, "run"].index(named(each)[0])):
        rows.append((*named(technique), *(cell(family, technique) for family in FAMILIES)))
    return HEAD + "\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
