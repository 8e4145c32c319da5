"""Nodes that make a run faster, most of them at a distance from the exact result: MGT_MODEL in, a copy out."""

from .. import mgt_core
from ..mgt_core.patches.token_merging import LARGEST_STRIDE
from .patches import ModelPatch
from .types import INTERVAL, advanced, combo, integer, interval, node, setting_input

DESTINATIONS = ("random", "fixed")


@node("MGT Token Merging")
class MGTTokenMerging(ModelPatch):
    DESCRIPTION = "Lets similar image tokens share one row through attention and MLP: fewer rows, less work (TomeMGT)."
    SEARCH_ALIASES = ["tome", "tomemgt", "tomesd", "speed", "faster", "bag of tricks", "hypertile"]
    OUTPUT_TOOLTIPS = ("A copy of the model that merges tokens; merging attached before is replaced.",)

    SHOWN_FOR = {"destination_seed": {"destinations": ["random"]}}

    part = mgt_core.TokenMerging
    tooltips = {
        "ratio": "Share of the image tokens that is merged away: more is faster and further from the exact "
        "result, 0 changes nothing. 0.25 as the authors show it; all but one token a window at the most.",
        "refresh": "How many blocks use one choice of tokens before it is made again; 5 as published.",
        "blocks": "Which blocks merge: joint ones, as published, single-stream ones, which hold most of the work "
        "in Meissonic, or all. Networks with one kind of block merge in those, whatever is chosen.",
        "part": "What runs merged in a block: attention, the MLP, or both.",
        **interval("merging"),
        "first_block": "First block that merges, counted from 0 through both kinds; Meissonic has 14 joint blocks, "
        "0 to 13, and 28 single ones, 14 to 41.",
        "last_block": "Last block that merges.",
        "known_only": "Merge only tokens whose cells are all filled in already: closer to the exact "
        "result, and faster towards the end of the run only.",
    }
    rare = (*INTERVAL, "refresh", "part", "first_block", "last_block")

    @classmethod
    def INPUT_TYPES(cls):
        model, ratio, *others = super().INPUT_TYPES()["required"].items()
        windows = {
            "stride_rows": integer(
                "Rows of a window. Each window keeps one token for others to join.", 2, 1, LARGEST_STRIDE
            ),
            "stride_columns": integer("Columns of a window.", 2, 1, LARGEST_STRIDE),
            "destinations": combo(
                DESTINATIONS, "Which token of a window is kept: a random one, drawn anew each time, or the first."
            ),
            "destination_seed": setting_input(
                cls.part,
                "seed",
                "Where the draws of random destinations start. They do not touch those of MGT Sample.",
            ),
        }
        folded = {name: advanced(widget) for name, widget in windows.items()}
        return {"required": dict([model, ratio, *folded.items(), *others])}

    def attach(self, model, stride_rows, stride_columns, destinations, destination_seed, **settings):
        windows = {
            "stride": (stride_rows, stride_columns),
            "random": destinations == "random",
            "seed": destination_seed,
        }
        return super().attach(model, **windows, **settings)


@node("MGT Token Cache")
class MGTTokenCache(ModelPatch):
    DESCRIPTION = (
        "Computes all image tokens once in a few steps; in between only those that changed, and those likeliest "
        "to be affected, the others keep their values."
    )
    SEARCH_ALIASES = ["speed", "faster", "teacache", "deepcache", "enat", "lazymar", "kv cache"]
    OUTPUT_TOOLTIPS = ("A copy of the model with a token cache; one attached before is replaced.",)
    part = mgt_core.TokenCache
    tooltips = {
        "share": "How many of the image tokens are computed between refreshes: less is faster and further from "
        "the exact result, 1 changes nothing.",
        "every": "Evaluations of a prompt from one refresh, which computes all tokens, to the next; 1 changes nothing.",
        **interval("the cache"),
    }


@node("MGT ML-Cache")
class MGTMLCache(ModelPatch):
    DESCRIPTION = (
        "Computes all rows in a few steps only; in between those whose prediction is least sure, the others keep their "
        "values (max logit-based cache of Lumina-DiMOO)."
    )
    SEARCH_ALIASES = ["ml-cache", "max logit", "lumina", "dimoo", "speed", "faster", "kv cache", "teacache"]
    OUTPUT_TOOLTIPS = ("A copy of the model with this cache; one attached before, or a token cache, is replaced.",)
    part = mgt_core.MLCache
    tooltips = {
        "cache_ratio": "Share of the rows that keep their values between refreshes: more is faster and further from "
        "the exact result, 0 changes nothing. 0.9 as published.",
        "refresh_interval": "Steps from one refresh, which computes all rows, to the next; 1 changes nothing. 5 as "
        "published.",
        "warmup_ratio": "Share of the run at whose beginning every step computes all rows; 0.3 as published.",
    }


@node("MGT Step Skipping")
class MGTStepSkipping(ModelPatch):
    DESCRIPTION = (
        "Runs all blocks of the network once in a few evaluations; in between only the first ones, and adds what the "
        "others added the last time."
    )
    SEARCH_ALIASES = ["speed", "faster", "first block cache", "fbcache", "teacache", "wavespeed", "deepcache"]
    OUTPUT_TOOLTIPS = ("A copy of the model that skips; a setting attached before is replaced.",)
    part = mgt_core.StepSkipping
    tooltips = {
        "every": "Evaluations of a prompt from one that runs all blocks to the next; those in between cost next to "
        "nothing. 1 changes nothing.",
        "first": "Blocks that run in every evaluation and see the newest tokens: more is closer to the exact result "
        "and slower. Of networks with two kinds of blocks, such as Meissonic's, all of the first kind at the most.",
        **interval("the skipping"),
    }


@node("MGT Guidance Reuse")
class MGTGuidanceReuse(ModelPatch):
    DESCRIPTION = (
        "Evaluates the negative prompt once in a few steps; in between what it changed is taken from the last time."
    )
    SEARCH_ALIASES = ["speed", "faster", "cfg cache", "fastercache", "lazymar", "guidance residual"]
    OUTPUT_TOOLTIPS = ("A copy of the model that reuses guidance; a setting attached before is replaced.",)
    part = mgt_core.GuidanceReuse
    tooltips = {
        "every": "Steps from one evaluation of both prompts to the next; those in between cost half. "
        "1 changes nothing.",
        **interval("the reuse"),
    }


@node("MGT Compile Model")
class MGTCompileModel(ModelPatch):
    DESCRIPTION = "Compiles the network with torch.compile: the same result but for rounding, faster after a first run."
    SEARCH_ALIASES = ["torch.compile", "torchcompile", "inductor", "cuda graphs", "speed", "faster", "optimize"]
    OUTPUT_TOOLTIPS = ("A copy of the model that is compiled when it first runs; the weights are shared.",)
    SHOWN_FOR = {"mode": {"backend": ["inductor"]}}
    part = mgt_core.Compile
    tooltips = {
        "mode": "Of inductor: default; reduce-overhead records CUDA graphs as well, which pays on a fast GPU; "
        "the max-autotune ones try out more kernels and take longer to compile.",
        "backend": "inductor generates code, which takes a minute or more and a C++ compiler on a CPU; the others "
        "generate none, gain nothing, and serve to find faults.",
    }


@node("MGT CUDA Graphs")
class MGTCUDAGraphs(ModelPatch):
    DESCRIPTION = (
        "Records an evaluation of the network once and launches it as one piece from then on: the same result, without "
        "the time in which a fast GPU waits for Python. On a CPU it changes nothing."
    )
    SEARCH_ALIASES = ["cuda graph", "cudagraphs", "launch", "speed", "faster", "optimize"]
    OUTPUT_TOOLTIPS = ("A copy of the model that is recorded when it first runs; the weights are shared.",)
    part = mgt_core.CUDAGraphs
    tooltips = {}
