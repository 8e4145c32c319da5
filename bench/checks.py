"""Figures of a published report beside those of other random numbers."""

from dataclasses import dataclass

LEVEL = 0.01
EXACT = ("steps", "calls", "passes")  # figures that chance has no part in


@dataclass(frozen=True)
class Check:
    """One figure of one case. p: how likely two samples of one kind are to differ as much, 0 or 1 for exact ones."""

    case: str
    figure: str
    published: float
    here: float
    p: float


def failed(checks: list[Check]) -> list[Check]:
    """Bonferroni over all that chance has a part in."""
    level = LEVEL / max(1, sum(check.figure not in EXACT for check in checks))
    return [check for check in checks if check.p < level]


def told(checks: list[Check], width: int = 44) -> str:
    """A line each. width: of the names of cases."""
    bad = failed(checks)
    lines = [f"{'case':{width}} {'figure':12} {'published':>10} {'here':>10} {'p':>8}"]
    for check in checks:
        mark = "  DIFFERS" if check in bad else ""
        lines.append(
            f"{check.case:{width}.{width}} {check.figure:12} {check.published:10.4g} {check.here:10.4g} "
            f"{check.p:8.2g}{mark}"
        )
    return "\n".join([*lines, f"{len(checks) - len(bad)} of {len(checks)} figures hold"])
