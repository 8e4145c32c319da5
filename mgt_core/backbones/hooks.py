"""What acts inside a network: during one evaluation, and over a run."""

from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..patches.token_cache import ActiveCache, Entry
from ..patches.token_merging import ActiveMerging

if TYPE_CHECKING:
    from ..model import MGTModel


@dataclass(frozen=True)
class Patches:
    """Handed to `Backbone.features`; what is None does not act. A backbone names the fields that it
    heeds in `supports`, and is never handed another one.

    top_down: for each block [B, S, C], S what the blocks see of the image, which joins what attention reads
    through its value projection (Self-Guidance); not together with merging and cache. taps: gets the states
    [B, S, C] before each block and after the last. perturb: what becomes of the token embeddings [B, h, w, C].
    """

    merging: ActiveMerging | None = None
    cache: ActiveCache | None = None
    top_down: Sequence[Tensor] | None = None
    taps: MutableSequence[Tensor] | None = None
    perturb: Callable[[Tensor], Tensor] | None = None

    def tap(self, states: Tensor) -> None:
        if self.taps is not None:
            self.taps.append(states)


NO_PATCHES = Patches()


class RunPatches:
    """The patches of a model during one run."""

    def __init__(self, model: "MGTModel"):
        self.network = model.network
        self.merging = model.merging.begin() if model.merging is not None else None
        self.cache = model.cache.begin() if model.cache is not None else None
        self.all_masked: list[bool] = []

    def enter(self, index: int, total: int, all_masked: Sequence[bool]) -> None:
        """Told before every network evaluation: step `index` of `total`, and of which images no cell is known."""
        self.all_masked = list(all_masked)
        for patch in (self.merging, self.cache):
            if patch is not None:
                patch.enter(index, total)

    def evaluation(self, entries: tuple[Entry, ...], tokens: Tensor) -> Patches:
        """For one evaluation of `entries` on tokens [B, h, w]: the images once for each of them."""
        if self.merging is None and self.cache is None:
            return NO_PATCHES
        cells, mask_id, side = self.network.row_cells(tokens), self.network.mask_id, self.network.row_side
        merging = cache = None
        if self.cache is not None:
            grid = tokens.shape[1] // side, tokens.shape[2] // side
            cache = self.cache.evaluation(entries, cells, mask_id, grid)
        # Between refreshes the few rows that are computed are not merged.
        if self.merging is not None and (cache is None or cache.rows is None):
            known = (cells != mask_id).all(-1)
            merging = self.merging.evaluation(entries, self.all_masked * len(entries), known)
        return Patches(merging, cache)
