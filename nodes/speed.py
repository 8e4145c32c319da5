"""Nodes that make a run faster, most of them at a distance from the exact result: MGT_MODEL in, a copy out."""

from ..mgt_core.patches import compile as compiling
from ..mgt_core.patches.token_merging import BLOCKS, PARTS
from .patches import ModelPatch
from .types import combo, integer, model_input, node, number, range_inputs

DESTINATIONS = ("random", "fixed")


@node("MGT Token Merging")
class MGTTokenMerging(ModelPatch):
    DESCRIPTION = "Lets similar image tokens share one row through attention and MLP: fewer rows, less work (TomeMGT)."
    SEARCH_ALIASES = ["tome", "tomemgt", "tomesd", "speed", "faster", "bag of tricks", "hypertile"]
    OUTPUT_TOOLTIPS = ("A copy of the model that merges tokens; merging attached before is replaced.",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "ratio": number(
                    "Share of the image tokens that is merged away: more is faster and further from the exact "
                    "result, 0 changes nothing. All but one token a window at the most.",
                    0.5,
                    0.0,
                    0.99,
                    0.05,
                ),
                "stride_rows": integer("Rows of a window. Each window keeps one token for others to join.", 2, 1, 64),
                "stride_columns": integer("Columns of a window.", 2, 1, 64),
                "destinations": combo(
                    DESTINATIONS, "Which token of a window is kept: a random one, drawn anew each time, or the first."
                ),
                "destination_seed": integer(
                    "Where the draws of random destinations start. They do not touch those of MGT Sample.",
                    0,
                    0,
                    0xFFFFFFFFFFFFFFFF,
                ),
                "refresh": integer(
                    "How many blocks use one choice of tokens before it is made again; 5 as published.", 5, 1, 10_000
                ),
                "blocks": combo(
                    BLOCKS,
                    "Which blocks merge: joint ones, as published, single-stream ones, which hold most of the work "
                    "in Meissonic, or all. Networks with one kind of block call it single.",
                    "all",
                ),
                "part": combo(PARTS, "What runs merged in a block: attention, the MLP, or both.", "both"),
                **range_inputs("merging"),
                "first_block": integer(
                    "First block that merges, counted from 0 through both kinds; Meissonic has 14 joint blocks, "
                    "0 to 13, and 28 single ones, 14 to 41.",
                    0,
                    0,
                    9999,
                ),
                "last_block": integer("Last block that merges.", 9999, 0, 9999),
                "known_only": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Merge only tokens whose cells are all filled in already: closer to the exact "
                        "result, and faster towards the end of the run only.",
                    },
                ),
            }
        }

    def attach(
        self,
        model,
        ratio: float,
        stride_rows: int,
        stride_columns: int,
        destinations: str,
        destination_seed: int,
        refresh: int,
        blocks: str,
        part: str,
        start: float,
        end: float,
        first_block: int,
        last_block: int,
        known_only: bool,
    ):
        merging = model.with_token_merging(
            ratio,
            stride=(stride_rows, stride_columns),
            random=destinations == "random",
            seed=destination_seed,
            refresh=refresh,
            blocks=blocks,
            part=part,
            start=start,
            end=end,
            first_block=first_block,
            last_block=last_block,
            known_only=known_only,
        )
        return (merging,)


@node("MGT Token Cache")
class MGTTokenCache(ModelPatch):
    DESCRIPTION = (
        "Computes all image tokens once in a few steps; in between only those that changed, and those likeliest "
        "to be affected, the others keep their values."
    )
    SEARCH_ALIASES = ["speed", "faster", "teacache", "deepcache", "enat", "lazymar", "kv cache"]
    OUTPUT_TOOLTIPS = ("A copy of the model with a token cache; one attached before is replaced.",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "share": number(
                    "How many of the image tokens are computed between refreshes: less is faster and further from "
                    "the exact result, 1 changes nothing.",
                    0.25,
                    0.0,
                    1.0,
                    0.05,
                ),
                "every": integer(
                    "Evaluations of a prompt from one refresh, which computes all tokens, to the next; "
                    "1 changes nothing.",
                    4,
                    1,
                    1000,
                ),
                **range_inputs("the cache"),
            }
        }

    def attach(self, model, share: float, every: int, start: float, end: float):
        return (model.with_token_cache(share, every=every, start=start, end=end),)


@node("MGT Guidance Reuse")
class MGTGuidanceReuse(ModelPatch):
    DESCRIPTION = (
        "Evaluates the negative prompt once in a few steps; in between what it changed is taken from the last time."
    )
    SEARCH_ALIASES = ["speed", "faster", "cfg cache", "fastercache", "lazymar", "guidance residual"]
    OUTPUT_TOOLTIPS = ("A copy of the model that reuses guidance; a setting attached before is replaced.",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "every": integer(
                    "Steps from one evaluation of both prompts to the next; those in between cost half. "
                    "1 changes nothing.",
                    2,
                    1,
                    1000,
                ),
                **range_inputs("the reuse"),
            }
        }

    def attach(self, model, every: int, start: float, end: float):
        return (model.with_guidance_reuse(every, start=start, end=end),)


@node("MGT Compile Model")
class MGTCompileModel(ModelPatch):
    DESCRIPTION = "Compiles the network with torch.compile: the same result but for rounding, faster after a first run."
    SEARCH_ALIASES = ["torch.compile", "torchcompile", "inductor", "cuda graphs", "speed", "faster", "optimize"]
    OUTPUT_TOOLTIPS = ("A copy of the model that is compiled when it first runs; the weights are shared.",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "mode": combo(
                    compiling.MODES,
                    "Of inductor: default; reduce-overhead records CUDA graphs as well, which pays on a fast GPU; "
                    "the max-autotune ones try out more kernels and take longer to compile.",
                ),
                "backend": combo(
                    compiling.BACKENDS,
                    "inductor generates code, which takes a minute or more and a C++ compiler on a CPU; the others "
                    "generate none, gain nothing, and serve to find faults.",
                ),
            }
        }

    def attach(self, model, mode: str, backend: str):
        return (model.with_compile(mode, backend),)
