"""The nodes that make a run cheaper: each attaches its settings to a copy, and nothing more."""

import pytest

import mgt_core
from mgt_core import GuidanceReuse, StepSkipping, TokenCache, TokenMerging
from support.golden import bundles, pipeline
from support.node_runs import run
from support.pack import load_pack

NODES = load_pack().NODE_CLASS_MAPPINGS
PIPE = pipeline(bundles()[0])
BOUNDS = {"start": 0.1, "end": 0.9}
# id -> (slot, widgets, what they mean)
PATCHES = {
    "MGTTokenMerging": (
        "token_merging",
        {
            "ratio": 0.3,
            "stride_rows": 3,
            "stride_columns": 1,
            "destinations": "fixed",
            "destination_seed": 4,
            "refresh": 7,
            "blocks": "joint",
            "part": "mlp",
            "first_block": 1,
            "last_block": 2,
            "known_only": True,
            **BOUNDS,
        },
        TokenMerging(0.3, (3, 1), False, 4, 7, "joint", "mlp", 0.1, 0.9, 1, 2, True),
    ),
    "MGTTokenCache": ("token_cache", {"share": 0.4, "every": 7, **BOUNDS}, TokenCache(0.4, 7, **BOUNDS)),
    "MGTStepSkipping": ("step_skipping", {"every": 7, "first": 2, **BOUNDS}, StepSkipping(7, 2, **BOUNDS)),
    "MGTGuidanceReuse": ("guidance_reuse", {"every": 7, **BOUNDS}, GuidanceReuse(7, **BOUNDS)),
}
CACHES = {"cache_ratio": 0.5, "refresh_interval": 3, "warmup_ratio": 0.1}
every_patch = pytest.mark.parametrize("name", PATCHES)


@every_patch
def test_settings_are_attached_to_a_copy_and_replaced(name):
    place, widgets, expected = PATCHES[name]
    first = run(name, model=PIPE.model)[0]
    assert first.patch(place) == type(expected)()
    second = run(name, model=first, **widgets)[0]
    assert second.patch(place) == expected
    assert second.attached() == [repr(expected)]
    assert PIPE.model.attached() == [] and second.network is PIPE.model.network


@every_patch
def test_can_be_bypassed(name):
    cls = NODES[name]
    assert next(iter(cls.INPUT_TYPES()["required"])) == "model"
    assert cls.RETURN_TYPES == ("MGT_MODEL",) and cls.CATEGORY == "MGT/patches"


@every_patch
def test_a_range_the_wrong_way_round_is_named(name):
    with pytest.raises(mgt_core.MGTError, match=r"starts at 0.8 and ends at 0.2"):
        run(name, model=PIPE.model, start=0.8, end=0.2)


def test_either_cache_takes_the_place_of_the_other():
    first = run("MGTMLCache", model=run("MGTTokenCache", model=PIPE.model)[0], **CACHES)[0]
    assert first.patches == (mgt_core.MLCache(0.5, 3, 0.1),)
    assert run("MGTMLCache", model=PIPE.model)[0].patches == (mgt_core.MLCache(0.9, 5, 0.3),)
    assert run("MGTTokenCache", model=first)[0].patches == (TokenCache(),)
