"""The rows of whole runs: those of bench.speed, so that a new technique is there by itself, with graphs and packing."""

from dataclasses import dataclass, replace

import mgt_core
from mgt_core.presets import attached

from ..speed.rows import APPROXIMATE, EXACT, RECORDED, ROWS, TECHNIQUES

GRAPHS, SKIPPING, COMPILE = "cuda_graphs", "step_skipping", "compile"  # registered names of patches
LONG = 240.0  # seconds that compiling or packing may take
NEEDED = 100.0  # without which compiling is not begun
EIGHT = ("w8a8_fp8", "w8a8", "fp8")  # schemes whose products are of 8 bits


COMBINED = {"together": APPROXIMATE, "recorded": RECORDED}


@dataclass(frozen=True)
class DeviceRow:
    """One way to sample. parts: techniques by name, in the order attached. scheme: of the transformer's weights, float
    where None. large: also measured at the larger batches. kitchen: False as if comfy-kitchen was not there."""

    parts: tuple[str, ...] = ()
    scheme: str | None = None
    large: bool = False
    kitchen: bool = True

    @property
    def name(self) -> str:
        names = self.plain or (() if self.scheme else (EXACT,))
        for name, parts in COMBINED.items():
            if names[: len(parts)] == parts:
                names = (name, *names[len(parts) :])
        packing, graphs = (self.scheme,) * bool(self.scheme), ("graphs",) * (GRAPHS in self.parts)
        return ", ".join((*names, *packing, *graphs, *("without comfy-kitchen",) * (not self.kitchen)))

    @property
    def plain(self) -> tuple[str, ...]:
        return tuple(part for part in self.parts if part != GRAPHS)

    @property
    def approximate(self) -> bool:
        """Whether one of the combinations of all that is approximate acts."""
        return any(self.plain[: len(parts)] == parts for parts in COMBINED.values())

    @property
    def exact(self) -> bool:
        """Whether the tokens are those of the plain path, in the same number format."""
        return self.scheme is None and all(part in same_tokens() for part in self.parts)

    @property
    def limit(self) -> dict[str, float]:
        """What a try of it is given."""
        if COMPILE in self.parts:
            return {"needs": NEEDED, "limit": LONG}
        return {"limit": LONG} if self.scheme else {}

    def unknown(self) -> list[str]:
        return [part for part in self.parts if part not in TECHNIQUES]

    def attach(self, model: mgt_core.MGTModel) -> mgt_core.MGTModel:
        """With parts of its own, so that what they hold (graphs, compiled code) goes with the model."""
        return attached(model, tuple(replace(TECHNIQUES[name].part) for name in self.parts))


def same_tokens() -> set[str]:
    """Techniques that run the same operations another way; what is compiled rounds in its own."""
    return {GRAPHS} | {name for name, row in ROWS.items() if row.exact}


def device_rows() -> tuple[list[DeviceRow], list[DeviceRow]]:
    """Those of most worth, and the others, which come behind the larger batches; in order."""
    graphs, schemes = (GRAPHS,), mgt_core.list_quantizations()
    rows = [
        DeviceRow(large=True),
        DeviceRow(graphs, large=True),
        DeviceRow(APPROXIMATE, large=True),
        DeviceRow((*APPROXIMATE, GRAPHS), large=True),
        DeviceRow(scheme="w4a8", large=True),
        DeviceRow(graphs, scheme="w4a8"),
        DeviceRow((SKIPPING,), large=True),
        DeviceRow((SKIPPING, GRAPHS)),
        DeviceRow(RECORDED),
        DeviceRow((*RECORDED, GRAPHS), large=True),
        DeviceRow(kitchen=False),
        DeviceRow(scheme="w4a8", kitchen=False),
        *(DeviceRow(scheme=name) for name in EIGHT if name in schemes),
    ]
    singles = [row.parts for row in ROWS.values() if row.dtype is None and len(row.parts) == 1]
    others = [
        DeviceRow((COMPILE,)),
        DeviceRow((*APPROXIMATE, GRAPHS), scheme="w4a8"),
        *(DeviceRow(parts) for parts in singles if parts[0] not in (GRAPHS, SKIPPING, COMPILE)),
        *(DeviceRow(scheme=name) for name in schemes if name not in ("w4a8", *EIGHT)),
    ]
    return rows, others
