"""What acts inside a network during one evaluation."""

from dataclasses import dataclass

from .merging import ActiveMerging


@dataclass(frozen=True)
class Patches:
    """Handed to `Backbone.features`; what is None does not act. A backbone names the fields that it
    heeds in `supports`, and is never handed another one."""

    merging: ActiveMerging | None = None


NO_PATCHES = Patches()
