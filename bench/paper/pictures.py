"""The paired pictures: one of each prompt and choice, a prompt's all from one seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mgt_core.errors import MGTError

from ..sweep.run import Cluster, make
from ..sweep.spec import Job, Spec
from ..sweep.store import Store
from .choices import VANILLA, twin_name, twins
from .prompts import Prompt


@dataclass(frozen=True)
class Comparison:
    """spec: model and choices. Prompt i has the seed `spec.seeds[0] + i`. source: of the prompts, as it was named."""

    spec: Spec
    prompts: Sequence[Prompt]
    source: str = ""

    def job(self, name: str, index: int) -> Job:
        return self.spec.job(self.prompts[index].text, self.spec.seeds[0] + index, name)

    def jobs(self, prompts: int | None = None) -> Iterator[Job]:
        """Prompt by prompt, so that a run that is stopped has whole pairs."""
        for index in range(len(self.prompts[:prompts])):
            for name in self.spec.settings:
                yield self.job(name, index)

    def having(self, settings: dict[str, dict]) -> "Comparison":
        return replace(self, spec=replace(self.spec, settings=settings))


@dataclass(frozen=True)
class Tried:
    """A comparison whose choices the model can make. costs: the row of the first picture, by name of the choice;
    equal: the twin at as many passes, by name of a choice that makes more or fewer; refused: why a choice was left
    out."""

    comparison: Comparison
    costs: dict[str, dict]
    equal: dict[str, str]
    refused: dict[str, str]

    def passes(self, name: str) -> int:
        """Of a picture; a twin's that is not made yet follow from its steps."""
        if name in self.costs:
            return self.costs[name]["passes"]
        own, steps = self.costs[VANILLA], self.comparison.spec.settings[name]["steps"]
        return round(steps * own["passes"] / own["steps"])

    def seconds(self, name: str) -> float:
        own = self.costs[VANILLA]
        cost = self.costs.get(name)
        return cost["seconds"] if cost else own["seconds"] * self.passes(name) / own["passes"]


def attempt(comparison: Comparison, store: Store, cluster: Cluster) -> Tried:
    """Make the first picture with every choice, to know what each costs. Raises MGTError where vanilla has none, or
    no choice has."""
    rows: dict[str, dict] = {}
    make(list(comparison.jobs(1)), store, rows, cluster)
    first = {name: rows[comparison.job(name, 0).name] for name in comparison.spec.settings}
    refused = {name: row["error"] for name, row in first.items() if row["error"]}
    if VANILLA in refused:
        raise MGTError(f"{comparison.spec.model} makes no picture: {refused[VANILLA]}")
    if len(refused) == len(first) - 1:
        raise MGTError(f"{comparison.spec.model} can make none of the choices: {next(iter(refused.values()))}")
    costs = {name: row for name, row in first.items() if name not in refused}
    equal = twins(costs)
    settings = {name: values for name, values in comparison.spec.settings.items() if name in costs}
    settings |= {twin_name(steps): settings[VANILLA] | {"steps": steps} for steps in equal.values()}
    return Tried(comparison.having(settings), costs, {name: twin_name(s) for name, s in equal.items()}, refused)


def by_choice(comparison: Comparison, rows: Mapping[str, dict]) -> dict[str, list[dict | None]]:
    """The row of every prompt, by name of the choice; None where there is no picture."""

    def row(name: str, index: int) -> dict | None:
        found = rows.get(comparison.job(name, index).name)
        return found if found and not found["error"] else None

    return {name: [row(name, index) for index in range(len(comparison.prompts))] for name in comparison.spec.settings}
