"""Token merging in the library; that images and runs keep apart is tested with the other choices."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.backbones.hooks import NO_HOOKS
from mgt_core.backbones.merge import Merge
from mgt_core.patches.base import Call, Moment
from mgt_core.patches.token_merging import BLOCKS, ActiveMerging, Allowed, TokenMerging, destinations, match
from support.device import DEVICE
from support.golden import bundles, label, pipeline
from support.pretended import PretendedCUDA

PIPE = pipeline(bundles()[0])
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
sizes = st.integers(1, 9)


class PlainNetwork(type(PIPE.model.network)):
    """A backbone that heeds no patch."""

    supports = frozenset()


@pytest.mark.parametrize("attach", ["with_token_merging", "with_token_cache"])
def test_a_backbone_without_the_patch_says_so(attach):
    model = replace(PIPE.model, network=PlainNetwork(PIPE.model.network.config))
    with pytest.raises(mgt_core.MGTError, match="does not work with the PlainNetwork .* works with .*meissonic"):
        getattr(model, attach)()


@few
@given(h=sizes, w=sizes, sy=st.integers(1, 3), sx=st.integers(1, 3), seed=st.integers(0, 99), data=st.data())
def test_matching_of_any_grid(h, w, sy, sx, seed, data):
    """Every row holds a token, destinations stay apart, and as many tokens are gone as asked for."""
    generator = torch.Generator().manual_seed(seed)
    chosen = destinations((h, w), (min(sy, h), min(sx, w)), generator)
    sources = int((~chosen).sum())
    counts = data.draw(st.lists(st.integers(0, h * w), min_size=3, max_size=3))
    metric = torch.randn(3, h * w, 4, generator=generator)
    merge = match(metric, chosen, counts)
    gone = [min(count, sources) for count in counts]
    if not any(gone):
        assert merge is None
        return
    assert merge.size == h * w - min(gone)
    for b, count in enumerate(gone):
        held = merge.slot[b].unique()
        assert held.tolist() == list(range(h * w - count))
        assert len(merge.slot[b][chosen.flatten()].unique()) == int(chosen.sum())
        assert merge.filled is None or int(merge.filled[b].sum()) == h * w - count
        (alone,) = match(metric[b : b + 1], chosen, [count]).slot if count else [torch.arange(h * w)]
        same_row = merge.slot[b][:, None] == merge.slot[b]
        assert torch.equal(same_row, alone[:, None] == alone)


@few
@given(h=sizes, w=sizes, lead=st.integers(0, 5), seed=st.integers(0, 99))
def test_merging_averages_and_unmerging_copies(h, w, lead, seed):
    generator = torch.Generator().manual_seed(seed)
    n, size = h * w, int(torch.randint(1, h * w + 1, (), generator=generator))
    slot = torch.stack([torch.cat([torch.arange(size), torch.randint(size, (n - size,), generator=generator)])] * 2)
    merge = Merge(slot, size).after(lead)
    x = torch.randn(2, lead + n, 3, generator=generator)
    rows = merge.merge(x)
    assert torch.equal(rows[:, :lead], x[:, :lead])
    for row in range(size):
        expected = x[:, lead:][:, slot[0] == row].mean(1)
        torch.testing.assert_close(rows[:, lead + row], expected)
    assert torch.equal(merge.unmerge(rows)[:, lead:], rows[:, lead:][:, slot[0]])
    torch.testing.assert_close(merge.merge(merge.unmerge(rows)), rows)


def test_the_most_similar_tokens_go_first():
    """Four pairs of nearly the same direction and four tokens like nothing else."""
    directions = torch.eye(8)
    metric = torch.cat([directions[:4], directions[:4] + 0.01 * directions[4:], directions[4:]])[None]
    merge = match(metric, torch.arange(12)[None] < 4, [4])
    assert merge.slot[0, :8].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert len(merge.slot[0, 8:].unique()) == 4


@pytest.mark.parametrize("known", [[0, 1, 4, 5], [0, 2], [3], []])
def test_only_allowed_tokens_share_a_row(known):
    generator = torch.Generator().manual_seed(1)
    allowed = torch.zeros(2, 36, dtype=torch.bool)
    allowed[0, known] = True
    allowed[1] = torch.rand(36, generator=generator) < 0.6
    merge = match(
        torch.randn(2, 36, 5, generator=generator), destinations((6, 6), (2, 2), None), [30, 30], Allowed(allowed)
    )
    for b in range(2):
        shared = merge.slot[b].bincount(minlength=merge.size)[merge.slot[b]] > 1
        assert not bool((shared & ~allowed[b]).any())
    assert bool((merge.slot[1].bincount() > 1).any())


@pytest.mark.cpu_only("the device is pretended")
@pytest.mark.parametrize("known", [[0, 1, 4, 5], [3], []])
def test_a_gpu_is_asked_once_how_many_are_allowed(known):
    generator = torch.Generator().manual_seed(1)
    allowed = torch.rand(2, 36, generator=generator) < 0.6
    allowed[0] = False
    allowed[0, known] = True
    given = torch.randn(2, 36, 5, generator=generator), destinations((6, 6), (2, 2), None), [30, 30]
    own = match(*given, Allowed(allowed))
    with PretendedCUDA() as watch:
        metric, there = (values.pin_memory().to("cuda", non_blocking=True) for values in (given[0], allowed))
        asked = Allowed(there)
        for _ in range(3):
            merge = match(metric, *given[1:], asked)
        assert merge.size == own.size and watch.whole.waits.total() == 1
        assert torch.equal(merge.slot.cpu(), own.slot)


def test_wholly_masked_images_are_not_merged():
    active = ActiveMerging(TokenMerging(0.5))
    image = torch.ones(2, 16, 4)
    active.begin([True, True])
    assert active.at("joint", image, (4, 4)) == (None, None)
    active = ActiveMerging(TokenMerging(0.5))
    active.begin([True, False])
    merge = active.at("joint", image, (4, 4)).attention
    assert len(merge.slot[0].unique()) == 16 and len(merge.slot[1].unique()) == 8
    assert merge.mask.sum(-1).flatten().tolist() == [16, 8]


@pytest.mark.parametrize(
    ("chosen", "acting"),
    [
        ({}, [0, 1]),
        ({"blocks": "all"}, [0, 1, 2, 3]),
        ({"blocks": "single"}, [2, 3]),
        ({"blocks": "all", "first_block": 1, "last_block": 2}, [1, 2]),
        ({"blocks": "single", "last_block": 2}, [2]),
    ],
)
def test_blocks_that_merge(chosen, acting):
    active = ActiveMerging(TokenMerging(**chosen))
    active.begin([False])
    image = torch.randn(1, 16, 4)
    merges = [active.at(kind, image, (4, 4)) for kind in ("joint", "joint", "single", "single")]
    assert [i for i, merge in enumerate(merges) if merge.attention is not None] == acting


@pytest.mark.parametrize("blocks", BLOCKS)
def test_networks_of_one_kind_of_block_merge_in_it(blocks):
    class Plain:
        block_kinds = ("single",)
        makes = "pictures"

    assert TokenMerging(blocks=blocks).begin(Plain).settings.blocks == "all"
    assert TokenMerging(blocks=blocks).begin(PIPE.model.network).settings.blocks == blocks


@pytest.mark.parametrize("part", ["attention", "mlp", "both"])
def test_parts_that_merge(part):
    active = ActiveMerging(TokenMerging(part=part))
    active.begin([False])
    merges = active.at("joint", torch.randn(1, 16, 4), (4, 4))
    assert [merge is not None for merge in merges] == [part != "mlp", part != "attention"]


def test_refresh_counts_blocks_from_evaluation_to_evaluation():
    run = TokenMerging(refresh=3).begin(PIPE.model.network)
    seen = []
    for index in (1, 2):
        run.enter(moment := Moment(index, 9, [False]))
        call = Call(PIPE.model.network, (("positive", 0),), torch.zeros(1, 8, 8, dtype=torch.long), moment)
        active = run.hooks(NO_HOOKS, call).merging
        seen += [active.at("joint", torch.randn(1, 16, 4), (4, 4)).mlp for _ in range(4)]
    kept = [merge is seen[max(i - 1, 0)] for i, merge in enumerate(seen)]
    assert kept == [True, True, True, False, True, True, False, True]


def test_ties_go_to_the_nearest_destination_whatever_the_rounding():
    """Tokens that are all alike but for noise as small as rounding."""
    generator = torch.Generator().manual_seed(0)
    chosen = destinations((8, 8), (2, 2), None)
    metric = torch.ones(1, 64, 16) + 1e-6 * torch.randn(5, 64, 16, generator=generator)
    merge = match(metric, chosen, [24] * 5)
    assert all(torch.equal(slot, merge.slot[0]) for slot in merge.slot)
    y, x = torch.arange(64) // 8, torch.arange(64) % 8
    homes = chosen.flatten().nonzero()[:, 0]
    gone = [i for i in range(64) if merge.slot[0, i] < len(homes) and not chosen.flatten()[i]]
    assert len(gone) == 24
    for i in gone:
        home = homes[merge.slot[0, i]]
        assert max(abs(int(y[i] - y[home])), abs(int(x[i] - x[home]))) == 1
    quarters = torch.stack([y[gone] // 4, x[gone] // 4]).unique(dim=1, return_counts=True)[1]
    assert quarters.tolist() == [6] * 4 or int(quarters.max() - quarters.min()) <= 4


def test_tables_are_averaged_once_a_matching():
    merge = match(torch.randn(2, 16, 4), (torch.arange(16) % 4 == 0).reshape(4, 4), [8, 8])
    tables = torch.randn(16, 6)
    averaged = merge.tables(tables)
    torch.testing.assert_close(averaged, merge.merge(tables.expand(2, -1, -1)))
    assert merge.tables(tables) is averaged
    assert merge.tables(tables.clone()) is not averaged


@pytest.mark.parametrize("folder", bundles(), ids=label)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(folder, dtype):
    pipe = mgt_core.load(folder, dtype=dtype, device=DEVICE)
    state = mgt_core.empty_state(2, (4, 6), pipe.model.mask_id, pipe.model.codebook_size)
    text = pipe.text.encode("a red heart")
    model = pipe.model.with_token_merging().with_token_cache(0.5).with_guidance_reuse()
    out = mgt_core.sample(model, state, text, pipe.text.encode(""), steps=4, cfg=3.0)
    assert not bool(out.masked.any())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 1.0}, "ratio is 1.0"),
        ({"stride": 2}, "stride is 2"),
        ({"stride": (0, 2)}, "stride is 0"),
        ({"refresh": 0}, "refresh is 0"),
        ({"blocks": "double"}, "blocks is 'double'; accepted are joint, single, all"),
        ({"part": "norm"}, "part is 'norm'"),
        ({"first_block": 3, "last_block": 2}, "from block 3 to 2"),
        ({"start": 0.5, "end": 0.1}, "starts at 0.5"),
        ({"share": 1}, "no setting share; known are ratio, stride"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(mgt_core.MGTError, match=message) as error:
        PIPE.model.with_token_merging(**settings)
    assert "\n" not in str(error.value)
