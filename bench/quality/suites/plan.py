"""How much of which suite is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..cases import VANILLA
from ..decoding import Case
from . import choices
from .completion import Completion, tuned
from .hypotheses import named
from .questions import OpenCaptions, axes
from .store import CODEC, Job, jobs


@dataclass(frozen=True)
class Extent:
    """completion: scenes of vanilla and of the choices that a hypothesis names; others: of the other choices. captions:
    of each axis; rounds: pictures of each caption. start: the first scene; seed: of the captions and the draws."""

    completion: int = 1000
    others: int = 100
    captions: int = 10
    rounds: int = 4
    start: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """Chunks by case: of the completion suite, and of the open suites by axis."""

    completion: Completion
    completed: dict[str, list[Job]]
    opened: dict[str, OpenCaptions]
    answered: dict[str, dict[str, list[Job]]]

    @property
    def jobs(self) -> list[Job]:
        """Vanilla first, then case by case."""
        found = [job for own in self.completed.values() for job in own]
        return found + [job for cases in self.answered.values() for own in cases.values() for job in own]


def plan(
    settings: Mapping, extent: Extent, only: Mapping[str, list[str]] | None = None, caption_seed: int | None = None
) -> Plan:
    """settings: the model's. only: names of cases by suite ("completion", "open"); all by default. caption_seed: of
    the open suites instead of the extent's own."""
    base = choices.base(settings)
    completion = Completion(base, tuned()["kept"], extent.seed)
    captions_from = extent.seed if caption_seed is None else caption_seed
    opened = {axis: OpenCaptions(base, axis, extent.captions, captions_from) for axis in axes()}

    def chosen(suite: str, cases: list[Case]) -> list[Case]:
        return [case for case in (*cases, CODEC) if only is None or case.name in only[suite]]

    asked, made = named("completion"), chosen("completion", choices.completion_cases())

    def scenes(case: Case) -> int:
        if case.name == VANILLA:
            return max([scenes(other) for other in made if other.name != VANILLA], default=extent.completion)
        return min(extent.completion, (asked[case.name] or extent.completion) if case.name in asked else extent.others)

    completed = {case.name: jobs(completion, case, scenes(case), extent.start) for case in made}
    answered = {
        axis: {
            case.name: jobs(suite, case, extent.rounds * suite.chunk) for case in chosen("open", choices.open_cases())
        }
        for axis, suite in opened.items()
    }
    return Plan(completion, completed, opened, answered)
