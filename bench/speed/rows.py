"""The rows of the benchmark: a technique is one entry of TECHNIQUES, a row one of ROWS."""

from dataclasses import dataclass

import mgt_core
from mgt_core.presets import Attachment, attached, patches


@dataclass(frozen=True)
class WholeTable(mgt_core.Modifier):
    """Changes nothing, but asks for the logits of every cell."""

    neutral = {}

    @property
    def all_positions(self) -> bool:
        return True

    def begin(self):
        return lambda logits, step: logits


@dataclass(frozen=True)
class Technique:
    """part: what is attached to the model."""

    label: str
    part: Attachment


TECHNIQUES = {
    "every_cell": Technique("token head on every cell", WholeTable()),
    "interval": Technique("guidance in the first 60 % of steps", mgt_core.GuidanceSchedule(start=0.0, end=0.6)),
    "published_merging": Technique("token merging 0.25, joint blocks (as published)", mgt_core.TokenMerging()),
    "merging": Technique("token merging 0.5, all blocks", mgt_core.TokenMerging(0.5, blocks="all")),
    "known_merging": Technique(
        "token merging 0.5 of known tokens", mgt_core.TokenMerging(0.5, blocks="all", known_only=True)
    ),
    "token_cache": Technique(
        "token cache, a tenth recomputed, refreshed every 8th step", mgt_core.TokenCache(0.1, every=8)
    ),
    "step_skipping": Technique("step skipping, all blocks every 2nd step", mgt_core.StepSkipping()),
    "step_skipping_4": Technique("step skipping, all blocks every 4th step", mgt_core.StepSkipping(4)),
    "guidance_reuse": Technique("guidance residual every 4th step", mgt_core.GuidanceReuse(every=4)),
}
# Patches that none of these attaches, each as it is by default.
ATTACHED = {type(technique.part) for technique in TECHNIQUES.values()}
OTHERS = {n: Technique(kind.title, kind()) for n, kind in patches().items() if kind not in ATTACHED}
TECHNIQUES |= OTHERS
# The cheapest combination found that keeps the judge's accuracy on the built-in model.
APPROXIMATE = ("known_merging", "token_cache", "guidance_reuse")
# What of them a CUDA graph can hold.
RECORDED = ("token_cache", "guidance_reuse")


def attach_all(names: tuple[str, ...], model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    """The techniques `names` on a model, one after the other."""
    return attached(model, tuple(TECHNIQUES[name].part for name in names))


@dataclass(frozen=True)
class Row:
    """One way to sample. parts: techniques, in the order attached. dtype: None is the one asked for.
    throughput: also measured at the larger batches. exact: the tokens are those of the plain path."""

    name: str
    parts: tuple[str, ...] = ()
    dtype: str | None = None
    throughput: bool = False
    exact: bool = False

    @property
    def label(self) -> str:
        parts = (
            "everything approximate"
            if self.parts == APPROXIMATE
            else ", ".join(TECHNIQUES[part].label for part in self.parts)
        )
        return " in ".join(filter(None, (parts or "exact", self.dtype)))

    def missing(self, model: mgt_core.MGTModel) -> str | None:
        """Why the row cannot be measured with this model, if so."""
        try:
            self.attach(model)
        except mgt_core.MGTError as error:
            return str(error)
        return None

    def attach(self, model: mgt_core.MGTModel) -> mgt_core.MGTModel:
        return attach_all(self.parts, model)


EXACT = "exact"
REFERENCE = "reference"
ROWS = {
    row.name: row
    for row in (
        Row(EXACT, throughput=True, exact=True),
        Row("every_cell", ("every_cell",), exact=True),
        Row("float32", dtype="float32"),
        Row("bfloat16", dtype="bfloat16"),
        Row("float16", dtype="float16"),
        *(Row(name, (name,)) for name in TECHNIQUES if name != "every_cell"),
        Row("together", APPROXIMATE, throughput=True),
        Row("recorded", RECORDED),
        Row("together_bfloat16", APPROXIMATE, dtype="bfloat16"),
    )
}
DEFAULT_ROWS = tuple(name for name in ROWS if name not in ("float32", "float16", "recorded", *OTHERS))


def choose_rows(names: list[str] | None, reference: bool) -> list[str]:
    """Names in the order of the table, the exact row always among them as all ratios are to it.

    Raises MGTError for a name that is no row.
    """
    known = [*ROWS, REFERENCE]
    for name in names or ():
        if name not in known:
            raise mgt_core.MGTError(f"row is {name!r}; accepted are {', '.join(known)}")
    if REFERENCE in (names or ()) and not reference:
        raise mgt_core.MGTError("row 'reference' needs --reference DIR and --python PY")
    wanted = {EXACT, *(names or DEFAULT_ROWS), *([REFERENCE] if reference and not names else [])}
    return [name for name in (REFERENCE, *ROWS) if name in wanted]
