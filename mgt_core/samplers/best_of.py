"""Best of n: several runs for every picture, and the one that a reward likes best."""

from dataclasses import dataclass

import torch

from ..registry import SAMPLERS
from ..sampling import memory
from ..settings import whole
from ..types import TokenState
from .steered import MOST, Judge, Steered, Task, View, joined, rows_of, told_rewards


@SAMPLERS.register("best_of")
@dataclass(frozen=True)
class BestOf(Steered):
    """n runs of a sampler for every picture; the finished picture of the highest reward is kept, of equal ones the
    first. With one cell a step, an exact model and rewards that are all different it follows
    F(r(x))^n - F(r(x)-)^n, shared out among pictures of one reward as p(x) is: F is the law of the reward under p.

    Best-of-n as the limit of importance sampling with all the weight on one: arXiv 2501.06848 compares with it.
    The first candidate has the image's seed, and is the picture of n = 1; candidate j has a seed hashed from both, so
    that a larger n only adds candidates. at_once: how many candidates of a picture run together, 0 for as many as the
    device has room for; the others follow, and the result is the same. Nothing is asked of the device but what a run
    ends with.
    """

    at_once: int = whole(0, 0, MOST, kw_only=True)

    def parts(self, task: Task) -> list[range]:
        """Candidates that run together."""
        size = min(self.at_once or self.fitting(task), self.n)
        return [range(first, min(first + size, self.n)) for first in range(0, self.n, size)]

    def fitting(self, task: Task) -> int:
        """How many have room together, one at least."""
        free = task.model.room().free
        guidances = task.model.guidances(task.cfg, task.steps)

        def fits(count: int) -> bool:
            state = rows_of(task.state, torch.arange(task.state.batch).repeat(count * self.together))
            conditions = task.positive, task.negative
            return memory.step_bytes(task.model, state, *conditions, guidances, self.keeps_logits) <= free

        return self.n if free is None else next((n for n in range(self.n, 1, -1) if fits(n)), 1)

    def steer(self, task: Task, judge: Judge, view: View) -> tuple[TokenState, str]:
        parts, images = self.parts(task), range(task.state.batch)
        best, rewards, first = None, None, None
        view.runs = len(parts)
        for part in parts:
            own = self.each_repeated(len(images), len(part))
            found = task.wide(part, self.levels - 1).run(own.sampler, view.begin(len(part)))
            of = [image for image in images for _ in part]
            scores = judge(found.tokens, found.confidence.flatten(1).mean(1), of).view(len(images), len(part))
            place = scores.argmax(1)  # of equal ones the first
            own, rows = scores.gather(1, place[:, None])[:, 0], torch.arange(len(images)) * len(part) + place
            view.rows = rows.tolist()
            if best is None:
                best, rewards, first = rows_of(found, rows), own, scores[:, 0]
            else:
                rows = torch.where(own > rewards, len(images) + rows, torch.arange(len(images)))
                best, rewards = rows_of(joined(best, found), rows), torch.maximum(own, rewards)
            view.best = best if len(parts) > 1 else None
        kept, plain = (told_rewards(values.tolist()) for values in (rewards, first))
        return best, f"reward {kept}: the best of {self.n}, where the first has {plain}"
