"""A card of 8 GB: a whole run at full size, the transformer in 4 bits, text encoder and codec on the host meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch

import mgt_core
from mgt_core.placement import OnDemand
from mgt_core.quantization.layers import stored_bytes

from ..hardware import PeakMemory
from ..speed.runs import NEGATIVE, Clock, prompts
from .session import Session
from .tries import LeftOut, Tries

BUDGET = 8 * 2**30
SCHEME = "w4a8"


def budget(session: Session, tries: Tries) -> None:
    tries("8 GB, w4a8, text and codec on the host", partial(small_card, session))


def small_card(session: Session) -> dict:
    """Bytes are of all that torch held on the card, weights included. The driver's own come beside them; the limit is
    less by those."""
    model = session.pipeline(SCHEME).model
    text, codec = resting(session, session.pipe.text), resting(session, session.pipe.codec)
    pipe = replace(session.pipe, model=model, text=text, codec=codec)
    session.forget()  # what is not packed goes with the names above alone
    with limited(session) as limit:
        clock, memory = Clock(session.device), PeakMemory(session.device)
        held = torch.cuda.memory_allocated(session.device) if session.gpu else 0
        seconds = {}
        conditions = pipe.text.encode(prompts(1)), pipe.text.encode(NEGATIVE)
        pipe.text.placement.release()
        seconds["text_seconds"] = clock.lap()
        side, steps = session.settings.size, session.settings.steps
        out = mgt_core.sample(
            pipe.model,
            mgt_core.empty_tokens(pipe, side, side),
            *conditions,
            steps=steps,
            cfg=session.settings.cfg,
            temperature=session.settings.temperature,
        )
        seconds["sample_seconds"] = clock.lap()
        pipe.codec.decode(out)
        pipe.codec.placement.release()
        seconds["decode_seconds"] = clock.lap()
        beside = memory.read()
    return {
        "limit_bytes": limit,
        "weight_bytes": stored_bytes(model.network),
        "peak_bytes": None if beside is None else beside + held,
        "seconds": sum(seconds.values()),
        **seconds,
    }


def resting(session: Session, part):
    """A text encoder or codec that is on the host but while it works."""
    placement = OnDemand(part.network, session.device)
    placement.release()
    return part.with_placement(placement)


@contextmanager
def limited(session: Session) -> Iterator[int | None]:
    """What torch may hold is BUDGET less what the driver holds for this process; the limit in bytes, None on a CPU."""
    if not session.gpu:
        yield None
        return
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(session.device)
    driver = total - free - torch.cuda.memory_reserved(session.device)
    limit = BUDGET - driver
    if total < BUDGET:
        raise LeftOut(f"the card has {total / 2**30:.1f} GiB, less than the 8 that are tried")
    torch.cuda.set_per_process_memory_fraction(limit / total, session.device)
    try:
        yield limit
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, session.device)
