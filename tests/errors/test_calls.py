"""Bad arguments: every case gets one sentence that names the input, what it held and what is accepted."""

from collections.abc import Callable

import pytest
import torch

import mgt_core
from support.refusals import CODES, INF, MASK, NAN, PIPE, UNIT, WIDTHS, check, condition, sample, state


def with_tokens(**changes):
    """Sampling of a state that is itself bad, or becomes so by `changes`."""
    return lambda: sample(tokens=state(**changes))()


def with_conditions(**roles: Callable[[], object]):
    return lambda: mgt_core.sample(
        PIPE.model,
        state(batch=3),
        **{role: roles.get(role, condition)() for role in ("positive", "negative")},
        steps=2,
        cfg=3.0,
    )


def size(height, width=UNIT, batch=1):
    return lambda: mgt_core.empty_tokens(PIPE, height=height, width=width, batch=batch)


def filled(value, shape=(1, 2, 4)) -> torch.Tensor:
    return torch.full(shape, value)


CALLS = [
    # sizes
    ("size between units", size(UNIT - 1), f"height is {UNIT - 1} pixels", f"multiples of {UNIT}"),
    ("size zero", size(0), "height is 0"),
    ("size negative", size(-UNIT), f"height is -{UNIT}"),
    ("size of the other unit", size(UNIT, UNIT + UNIT // 2), f"width is {UNIT + UNIT // 2}", f"multiples of {UNIT}"),
    ("size float", size(UNIT + 0.5), f"height is {UNIT + 0.5}", f"the nearest are {UNIT} and {2 * UNIT}"),
    ("size text", size(str(UNIT)), f"height is '{UNIT}'"),
    ("size absurd", size(UNIT * 10**6), f"height is {UNIT * 10**6}", "to 16384"),
    ("batch zero", size(UNIT, batch=0), "batch is 0", "from 1 to"),
    ("batch negative", size(UNIT, batch=-1), "batch is -1"),
    ("batch huge", size(UNIT, batch=10**6), "batch is 1000000", "to 4096"),
    ("batch fraction", size(UNIT, batch=1.5), "batch is 1.5"),
    ("odd grid", with_tokens(grid=(3, 4)), "3 x 4", "multiple of 2"),
    # settings of a run
    ("steps zero", sample(steps=0), "steps is 0", "from 1 to"),
    ("steps negative", sample(steps=-1), "steps is -1"),
    ("steps fraction", sample(steps=1.5), "steps is 1.5"),
    ("steps bool", sample(steps=True), "steps is True"),
    ("steps absurd", sample(steps=10**9), "steps is 1000000000"),
    ("cfg nan", sample(cfg=NAN), "cfg is nan", "numbers from 0"),
    ("cfg inf", sample(cfg=INF), "cfg is inf"),
    ("cfg negative", sample(cfg=-1.0), "cfg is -1.0"),
    ("cfg text", sample(cfg="7"), "cfg is '7'"),
    ("temperature negative", sample(temperature=-1.0), "temperature is -1.0", "numbers from 0"),
    ("temperature nan", sample(temperature=(2.0, NAN)), "temperature is nan"),
    ("temperature of three", sample(temperature=(1, 2, 3)), r"temperature is \(1, 2, 3\)", "one number or two"),
    ("temperature text", sample(temperature="hot"), "temperature is 'hot'"),
    ("seed negative", sample(seed=-1), "seed is -1", "whole numbers from 0"),
    ("seed too big", sample(seed=2**64), f"seed is {2**64}"),
    ("seed float", sample(seed=1.5), "seed is 1.5"),
    ("seeds of others", sample(seed=[1, 2, 3]), "3 seeds for"),
    ("seeds negative", sample(seed=[-1]), "seed is -1"),
    ("sampler unknown", sample(sampler="magic"), "sampler is 'magic'", "maskgit"),
    ("sampler no sampler", sample(sampler=3), "sampler is 3"),
    ("schedule unknown", sample(schedule="zigzag"), "schedule is 'zigzag'", "cosine, linear"),
    ("schedule number", sample(schedule=3), "schedule is 3"),
    ("callback not callable", sample(callback="print"), "callback is 'print'"),
    ("model is a pipeline", sample(model=PIPE), "model is Pipeline", r"\.model of a loaded bundle"),
    ("modifier is a text", lambda: PIPE.model.with_modifier("noise"), "'noise'", "modifier"),
    (
        "timestep rule unknown",
        lambda: PIPE.model.with_timestep_rule("time"),
        "'time'",
        "index, mask_ratio, index_share",
    ),
    # tokens
    ("tokens are a tensor", sample(tokens=filled(MASK)), "tokens are Tensor", "TokenState"),
    (
        "tokens of another mask",
        with_tokens(mask_id=MASK + 1),
        f"{MASK + 1} for a masked cell",
        f"this one {CODES} and {MASK}",
    ),
    ("tokens of another codebook", with_tokens(codebook_size=CODES * 2), f"{CODES * 2} codes", f"this one {CODES} and"),
    ("id too large", with_tokens(tokens=filled(CODES)), f"the code {CODES}", f"0 to {CODES - 1}"),
    ("id negative", with_tokens(tokens=filled(-1)), "the code -1"),
    ("fixed cell masked", with_tokens(fixed=filled(True)), "fixed cell holds the mask"),
    ("tokens of rank two", lambda: state(tokens=filled(1, (2, 4))), r"shape \[2, 4\]", r"\[batch, height, width\]"),
    ("tokens float", lambda: state(tokens=filled(1.0)), "tokens .* torch.float32", "torch.int64"),
    ("tokens a list", lambda: state(tokens=[[[1]]]), "tokens .* list"),
    ("fixed of another shape", lambda: state(fixed=filled(False, (1, 2, 2))), r"fixed has shape \[1, 2, 2\]"),
    ("fixed of numbers", lambda: state(fixed=filled(0)), "fixed .* torch.int64", "torch.bool"),
    # conditions
    ("no positive", with_conditions(positive=lambda: None), "needs a positive condition"),
    ("no negative", with_conditions(negative=lambda: None), "needs a negative condition"),
    ("condition is a text", with_conditions(positive=lambda: "a cat"), "positive condition is str", "text.encode"),
    ("condition is empty", with_conditions(positive=mgt_core.Condition), "condition is empty"),
    (
        "condition without pooled",
        with_conditions(negative=lambda: condition(pooled=None)),
        "negative condition lacks pooled",
    ),
    (
        "condition of another model",
        with_conditions(positive=lambda: condition(hidden=torch.ones(1, 4, WIDTHS["hidden"] + 1))),
        f"hidden of width {WIDTHS['hidden'] + 1}",
        f"takes {WIDTHS['hidden']}",
        "another model",
    ),
    (
        "pooled of another model",
        with_conditions(negative=lambda: condition(pooled=torch.ones(1, 7))),
        "negative .* pooled of width 7",
    ),
    (
        "micro of four",
        with_conditions(positive=lambda: condition(micro=torch.ones(1, 4))),
        "micro of width 4",
        "takes 5",
    ),
    ("two prompts, three images", with_conditions(positive=lambda: condition(2)), "2 prompts for 3 images", "1 or 3"),
    (
        "fields of different batch",
        with_conditions(positive=lambda: condition(2, pooled=torch.ones(3, WIDTHS["pooled"]))),
        "different batch sizes",
        "'hidden': 2",
    ),
    (
        "hidden of rank two",
        lambda: condition(hidden=torch.ones(4, WIDTHS["hidden"])),
        "hidden of shape",
        "3 dimensions",
    ),
    ("hidden a list", lambda: condition(hidden=[1.0]), "hidden of list"),
    (
        "inf in a condition",
        with_conditions(positive=lambda: condition(pooled=torch.full((1, WIDTHS["pooled"]), INF))),
        "positive condition has pooled",
        "not finite",
    ),
    (
        "nan in a condition",
        with_conditions(negative=lambda: condition(hidden=torch.full((1, 4, WIDTHS["hidden"]), NAN))),
        "negative condition has hidden",
        "not finite",
    ),
    # prompts, codec, plain logits, schedules
    ("no prompts", lambda: PIPE.text.encode([]), r"prompts are \[\]", "one or more texts"),
    ("prompts of numbers", lambda: PIPE.text.encode(["a", 1]), r"prompts are \['a', 1\]"),
    ("prompts none", lambda: PIPE.text.encode(None), "prompts are None"),
    ("decode masked cells", lambda: PIPE.codec.decode(state()), "8 of 8 cells are still masked"),
    (
        "decode unknown ids",
        lambda: PIPE.codec.decode(filled(PIPE.codec.codebook_size)),
        f"0 to {PIPE.codec.codebook_size - 1}",
    ),
    ("decode negative ids", lambda: PIPE.codec.decode(filled(-3)), "from -3 to -3"),
    ("decode rank two", lambda: PIPE.codec.decode(filled(1, (2, 2))), r"shape \[2, 2\]", r"\[batch, height, width\]"),
    ("decode floats", lambda: PIPE.codec.decode(filled(1.0)), "torch.float32", "whole numbers"),
    (
        "encode channels first",
        lambda: PIPE.codec.encode(torch.ones(1, 3, 64, 64)),
        r"\[1, 3, 64, 64\]",
        r"\[batch, height, width, 3\]",
    ),
    (
        "encode odd size",
        lambda: PIPE.codec.encode(torch.ones(1, 65, 64, 3)),
        r"\[1, 65, 64, 3\]",
        f"multiples of {PIPE.codec.scale}",
    ),
    ("encode nothing", lambda: PIPE.codec.encode(torch.ones(1, 0, 64, 3)), r"\[1, 0, 64, 3\]"),
    (
        "encode bytes",
        lambda: PIPE.codec.encode(torch.ones(1, 64, 64, 3, dtype=torch.uint8)),
        "torch.uint8",
        "floats in 0 to 1",
    ),
    ("logits of rank two", lambda: PIPE.model.logits(filled(1, (1, 4)), condition(), 0), r"shape \[1, 4\]"),
    ("logits of unknown ids", lambda: PIPE.model.logits(filled(MASK + 1), condition(), 0), f"the code {MASK + 1}"),
    (
        "logits at three times",
        lambda: PIPE.model.logits(filled(1), condition(), torch.zeros(3)),
        "3 values for 1 images",
    ),
    ("progress beyond the end", lambda: mgt_core.SCHEDULES.get("cosine")().ratio(1.5), "progress is 1.5", "0 to 1"),
    # load's own arguments
    ("model none", lambda: mgt_core.load(None), "model is 'None'", "demo"),
    ("model empty", lambda: mgt_core.load(""), "model is ''"),
    ("model of a lost home", lambda: mgt_core.load("~nobody-here/model"), "~nobody-here/model"),
    ("device unknown", lambda: mgt_core.load("demo", device="abacus"), "device is 'abacus'", "cpu"),
    ("device absent", lambda: mgt_core.load("demo", device="cuda:99"), "device is 'cuda:99'"),
    ("device without values", lambda: mgt_core.load("demo", device="meta"), "device is 'meta'"),
    ("dtype int8", lambda: mgt_core.load("demo", dtype=torch.int8), "dtype is torch.int8", "torch.float16"),
    ("dtype text", lambda: mgt_core.load("demo", dtype="float16"), "dtype is 'float16'", "torch.float16"),
]


@pytest.mark.parametrize("action, pieces", [pytest.param(a, p, id=n) for n, a, *p in CALLS])
def test_bad_calls(action, pieces):
    check(action, pieces)


def test_table_is_long_enough():
    names = [name for name, *_ in CALLS]
    assert len(names) == len(set(names)) >= 45
