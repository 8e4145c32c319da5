"""The rows of whole runs: those of bench.speed, so that a new technique is there by itself, and with graphs and packing."""

from dataclasses import dataclass, replace

import mgt_core
from mgt_core.presets import attached

from ..speed.rows import APPROXIMATE, EXACT, ROWS, TECHNIQUES

GRAPHS, SKIPPING, COMPILE = "cuda_graphs", "step_skipping", "compile"  # registered names of patches
LONG = 240.0  # seconds that compiling may take
NEEDED = 100.0  # and without which it is not begun
EIGHT = ("fp8", "w8a8")  # schemes whose products are of 8 bits


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
        names = ("together",) if self.approximate else self.plain or (() if self.scheme else (EXACT,))
        packing, graphs = (self.scheme,) * bool(self.scheme), ("graphs",) * (GRAPHS in self.parts)
        return ", ".join((*names, *packing, *graphs, *("without comfy-kitchen",) * (not self.kitchen)))

    @property
    def plain(self) -> tuple[str, ...]:
        return tuple(part for part in self.parts if part != GRAPHS)

    @property
    def approximate(self) -> bool:
        return self.plain == APPROXIMATE

    @property
    def exact(self) -> bool:
        """Whether the tokens are those of the plain path, in the same number format."""
        return self.scheme is None and all(part in same_tokens() for part in self.parts)

    @property
    def limit(self) -> dict[str, float]:
        """What a try of it is given."""
        return {"needs": NEEDED, "limit": LONG} if COMPILE in self.parts else {}

    def unknown(self) -> list[str]:
        return [part for part in self.parts if part not in TECHNIQUES]

    def attach(self, model: mgt_core.MGTModel) -> mgt_core.MGTModel:
        """With parts of its own, so that what they hold (graphs, compiled code) goes with the model."""
        return attached(model, tuple(replace(TECHNIQUES[name].part) for name in self.parts))


def same_tokens() -> set[str]:
    """Techniques that change how the same is computed."""
    kinds = {name: type(technique.part) for name, technique in TECHNIQUES.items()}
    exact = {name for name, row in ROWS.items() if row.exact}
    return {GRAPHS} | exact | {name for name, kind in kinds.items() if getattr(kind, "place", "") == "network"}


def device_rows() -> list[DeviceRow]:
    """In the order of their worth; what takes longest is last."""
    graphs = (GRAPHS,)
    singles = [row.parts for row in ROWS.values() if row.dtype is None and len(row.parts) == 1]
    others = [parts for parts in singles if parts[0] not in (GRAPHS, SKIPPING, COMPILE)]
    rows = [
        DeviceRow(large=True),
        DeviceRow(graphs, large=True),
        DeviceRow(APPROXIMATE, large=True),
        DeviceRow((*APPROXIMATE, GRAPHS), large=True),
        DeviceRow(scheme="w4a8", large=True),
        DeviceRow(graphs, scheme="w4a8"),
        DeviceRow((SKIPPING,), large=True),
        DeviceRow((SKIPPING, GRAPHS)),
        DeviceRow(kitchen=False),
        DeviceRow(scheme="w4a8", kitchen=False),
        DeviceRow((*APPROXIMATE, GRAPHS), scheme="w4a8"),
        *map(DeviceRow, others),
        *(DeviceRow(scheme=name) for name in sorted(mgt_core.list_quantizations(), key=lambda name: name not in EIGHT)),
        DeviceRow((COMPILE,)),
    ]
    return list(dict.fromkeys(rows))
