"""Every node of the pack, called with what its widgets do not offer and with what other packs' nodes may send it."""

import random
import sys
from functools import cache
from inspect import signature
from pathlib import Path

import matplotlib.font_manager  # noqa: F401 it makes its folder when it is imported
import pytest
import torch
import torch._dynamo  # so does this

import mgt_core
from mgt_core.errors import MGTError
from support.golden import bundles, pipeline
from support.node_runs import NODES, inputs
from support.pack import ALIAS
from support.trials import refused

SHORT = 80
OUTCOMES = ("answered", "refused")
SHORTEST = {"states": 1, "reconstruct": 0, "finetune": 0}  # of a calibration, which takes seconds at the least
SIDES = {"width", "height", "left", "top", "right", "bottom"}
LONG = {"steps", "states", "reconstruct", "finetune", *SIDES}  # whose highest values are hours or gigabytes of work
NUMBERS = (
    *(float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e-308, -1, 0, 1, 2, 0.5, -0.0, 2**31, 2**63, 2**64),
    *(True, "3", "", None, [1], torch.tensor(1.5), 1e19, 10**400),
)
TEXTS = (
    *("", " ", "\0", "\x1b[2J", "\ud800", "é" * 500, "word " * 20_000, "(" * 3000),
    *("((a:1e308)b:nan)", "(a:-5)", "\n" * 500, "../../x"),
    *( "/etc/passwd", "%date%", "(a:1e999)", "1e999 0", "0 1\n1 0", "nan nan", "tench", "999999999999", "\u0663"),
    *("9" * 5000, None, 3, b"bytes", ["a"], {}),
)  # fmt: skip
OFTEN = ("MGTSample",) * 12 + ("MGTDecode", "MGTEncodeImage", "MGTMaskTokens", "MGTPadTokens", "MGTPasteBack") * 2
MADE = ("MGT_MODEL", "MGT_SCHEDULE", "MGT_SAMPLER", "CONDITIONING", "MGT_TOKENS", "IMAGE", "MASK")


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    torch.manual_seed(seed)
    name = draws.choice((*sorted(NODES), *OFTEN))
    with pytest.MonkeyPatch.context() as patch:
        search = [(kind, folder / kind, 3) for kind in ("mgt", "vae")]
        patch.setattr(sys.modules[f"{ALIAS}.nodes.host"], "_search_paths", lambda *kinds: search)
        try:
            given = {key: value_of(draws, key, *declared) for key, declared in inputs(NODES[name]).items()}
            for key in draws.sample(sorted(given), min(len(given), draws.choice((0, 0, 1, 1, 2)))):
                given[key] = odd(draws, key, *inputs(NODES[name])[key])
            for key in NODES[name].INPUT_TYPES().get("optional", {}):
                if draws.random() < 0.5:
                    del given[key]
            call(name, given)
        except MGTError as error:
            return refused(error)
    return "answered"


def call(name: str, given: dict) -> tuple:
    """As a host does: its own check of the values first, then the node."""
    node = NODES[name]
    if check := getattr(node, "VALIDATE_INPUTS", None):
        looked_at = {key: given[key] for key in signature(check).parameters if key in given}
        if (told := check(**looked_at)) is not True:
            raise MGTError(told)
    given = {**dict.fromkeys(node.INPUT_TYPES().get("hidden", ())), **given}
    with torch.inference_mode():
        answer = getattr(node(), node.FUNCTION)(**given)
    return answer.get("result", ()) if isinstance(answer, dict) else answer


@cache
def things() -> dict:
    """What flows between nodes, as it should be."""
    pipe = pipeline(bundles()[0])
    unit = pipe.model.pixels_per_token * pipe.model.grid_multiple
    text = call("MGTTextEncode", {"text": "a cat", "text_encoder": pipe.text})[0]
    empty = mgt_core.empty_tokens(pipe, unit, 2 * unit, 2)
    tokens = mgt_core.sample(pipe.model, empty, pipe.text.encode("a"), pipe.text.encode(""), steps=2, cfg=2.0)
    return {
        "MGT_MODEL": pipe.model,
        "MGT_TEXT": pipe.text,
        "MGT_CODEC": pipe.codec,
        "MGT_TOKENS": tokens,
        "MGT_SCHEDULE": mgt_core.SCHEDULES.get("cosine")(),
        "MGT_SAMPLER": mgt_core.MaskGIT((1.0, 0.0)),
        "MGT_BRANCH": mgt_core.fresh_branch(pipe.model.network),
        "CONDITIONING": text,
        "IMAGE": pipe.codec.decode(tokens),
        "MASK": torch.ones(1, unit, unit),
        "AUDIO": {"waveform": torch.linspace(-1, 1, 800)[None, None], "sample_rate": 1600},
        "empty": empty,
    }


def value_of(draws: random.Random, key: str, kind: str | list, options: dict) -> object:
    """One that a node may be given, as a person would or a little wilder."""
    if isinstance(kind, list):
        return "none" if key == "quantization" else draws.choice(kind)  # calibrating takes long
    if kind in things():
        if kind == "MGT_TOKENS" and draws.random() < 0.5:
            return things()["empty"]
        return made(draws, kind) if kind in MADE and draws.random() < 0.3 else things()[kind]
    if key in SIDES:
        return draws.choice((16, 32))
    if key in LONG:
        return SHORTEST[key] if key in SHORTEST else draws.choice((1, 2, 3))
    if key == "prompts":
        return "a cat"
    if kind in ("INT", "FLOAT"):
        low, high = options.get("min", 0), options.get("max", 100)
        default = options.get("default", low)
        return draws.choice((default, default, low, min(high, low + options.get("step", 1))))
    return options.get("default", "a cat\na dog")


def made(draws: random.Random, kind: str) -> object:
    """What some node gives, whose widgets stand anywhere in their ranges."""
    makers = [name for name in sorted(NODES) if kind in NODES[name].RETURN_TYPES and name not in UNWANTED]
    name = draws.choice(makers)
    given = {}
    for key, (asked, options) in inputs(NODES[name]).items():
        if isinstance(asked, str) and asked in things():
            given[key] = things()[asked]
        elif asked in ("INT", "FLOAT") and key not in LONG and key != "batch_size":
            low, high = options["min"], options["max"]
            given[key] = draws.choice(
                (low, high, draws.randint(low, high) if asked == "INT" else draws.uniform(low, high))
            )
        else:
            given[key] = value_of(draws, key, asked, options)
    try:
        return call(name, given)[NODES[name].RETURN_TYPES.index(kind)]
    except MGTError as error:
        refused(error)
        return things()[kind]


# Slow, or with values of their own: a compiled model takes a minute to run, and the laboratory has other tokens.
UNWANTED = (
    "MGTCompileModel",
    "MGTSCQCalibrate",
    "MGTLoadModel",
    "MGTLaboratoryModel",
    "MGTSamplingAnimation",
    "MGTPlotSchedule",
)


def odd(draws: random.Random, key: str, kind: str | list, options: dict) -> object:
    """What nobody should send, of the kind or of none."""
    if draws.random() < 0.15:
        return draws.choice((None, "text", 3, [], {}, object(), torch.zeros(3), things()["MGT_MODEL"], [things()]))
    if isinstance(kind, list):
        return draws.choice((*TEXTS[:12], *TEXTS[-6:]))
    if kind in ("INT", "FLOAT"):
        ends = () if key in LONG else (options.get("max", 1),)
        return draws.choice((*NUMBERS, options.get("min", 0) - 1, options.get("max", 1) * 2 + 1, *ends))
    if kind in ("STRING", "BOOLEAN"):
        return draws.choice(TEXTS)
    return ODD.get(kind, other)(draws)


def other(draws: random.Random) -> object:
    """Something that flows, through the wrong wire."""
    return things()[draws.choice(sorted(things()))]


def odd_tensor(draws: random.Random, shape: tuple[int, ...]) -> torch.Tensor:
    """Of another shape, kind or content."""
    plain = torch.rand(shape)
    place = draws.randrange(len(shape))
    return draws.choice(
        (
            lambda: plain * draws.choice((float("nan"), float("inf"), 1e38, -3.0)),
            lambda: plain[:0],
            lambda: plain.narrow(place, 0, 0),
            lambda: plain.narrow(place, 0, 1),
            lambda: plain[0],
            lambda: plain[None],
            lambda: plain[0, 0],
            lambda: plain.mean(),
            lambda: plain.movedim(-1, 0),
            lambda: plain.repeat(*[1] * (len(shape) - 1), 2),
            lambda: plain[..., :1].expand(*shape[:-1], draws.choice((0, 1, 2, 5, 2**20))),
            lambda: plain[:1].expand(draws.choice((3, 7)), *shape[1:]),
            lambda: plain.flatten()[:1].expand(2**40).unflatten(0, (2**12, *[2**28] * 1, *[1] * (len(shape) - 2))),
            lambda: torch.zeros(1).expand(1, 2**20, 2**20, *[3] * (len(shape) - 3)),
            lambda: plain.to(draws.choice((torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn))),
            lambda: plain.to(draws.choice((torch.uint8, torch.int64, torch.bool, torch.complex64))),
            lambda: plain.to("meta"),
            lambda: plain.to_sparse(),
            lambda: plain[..., 1::2],
            lambda: plain.requires_grad_(),
        )
    )()


def odd_conditioning(draws: random.Random) -> object:
    hidden, extra = things()["CONDITIONING"][0]
    wide, pooled = odd_tensor(draws, tuple(hidden.shape)), extra["pooled_output"]
    value = draws.choice(
        (*NUMBERS, *TEXTS, odd_tensor(draws, (1, 16, 16)), (1, 2, 3), ("percentage", 1, 1, 0, 0), (0, 0, 8, 8))
    )
    key = draws.choice(
        (
            "pooled_output",
            "mgt_micro",
            "mgt_labels",
            "area",
            "mask",
            "strength",
            "start_percent",
            "end_percent",
            "mask_strength",
        )
    )
    return draws.choice(
        (
            lambda: [],
            lambda: (),
            lambda: {},
            lambda: hidden,
            lambda: [hidden],
            lambda: [[hidden]],
            lambda: [[hidden, extra, extra]],
            lambda: [[hidden, None]],
            lambda: [[hidden, [1]]],
            lambda: [[None, extra]],
            lambda: [(hidden, extra)],
            lambda: [[wide, extra]],
            lambda: [[hidden, {"pooled_output": odd_tensor(draws, tuple(pooled.shape))}]],
            lambda: [[hidden, {**extra, "pooled_output": None}]],
            lambda: [[hidden, {}]],
            *[lambda: [[hidden, {**extra, key: value}]]] * 8,
            lambda: [[hidden, {**extra, key: value}], [hidden, extra]],
            lambda: [[hidden, {**extra, 3: value, None: None}]],
            lambda: [[hidden, extra]] * 40,
        )
    )()


def odd_tokens(draws: random.Random) -> object:
    state = things()["MGT_TOKENS"]
    shape = tuple(state.tokens.shape)
    number = draws.choice((-1, 63, 64, 65, 71, 2**40, -(2**63)))
    return draws.choice(
        (
            lambda: rebuilt(state, tokens=torch.full(shape, number)),
            lambda: rebuilt(state, tokens=odd_tensor(draws, shape)),
            lambda: rebuilt(state, tokens=state.tokens[:0], fixed=state.fixed[:0]),
            lambda: rebuilt(state, tokens=state.tokens[:, :0], fixed=state.fixed[:, :0]),
            lambda: rebuilt(state, tokens=state.tokens[:, :1], fixed=state.fixed[:, :1]),
            lambda: rebuilt(
                state, fixed=draws.choice((state.fixed[:1], state.fixed[0], ~state.fixed, state.fixed.int()))
            ),
            lambda: rebuilt(state, mask_id=draws.choice(NUMBERS)),
            lambda: rebuilt(state, codebook_size=draws.choice(NUMBERS)),
            lambda: rebuilt(state, strength=draws.choice(NUMBERS)),
            lambda: rebuilt(state, revealed_at=odd_tensor(draws, shape)),
            lambda: rebuilt(state, confidence=odd_tensor(draws, shape)),
            lambda: rebuilt(state, revealed_at=None, confidence=None),
            lambda: state.tokens,
        )
    )()


def rebuilt(state: mgt_core.TokenState, **changes: object) -> mgt_core.TokenState:
    held = {
        name: getattr(state, name)
        for name in ("tokens", "fixed", "mask_id", "codebook_size", "revealed_at", "confidence")
    }
    return mgt_core.TokenState(**{**held, **changes})


ODD = {
    "IMAGE": lambda draws: odd_tensor(draws, (2, 16, 32, 3)),
    "MASK": lambda draws: odd_tensor(draws, (1, 16, 16)),
    "CONDITIONING": odd_conditioning,
    "MGT_TOKENS": odd_tokens,
}
