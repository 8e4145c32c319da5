"""The pretended device: the values are right, and what a GPU would suffer from is seen."""

import copy

import pytest
import torch
from torch import nn

from support.pretended import DeviceMix, DeviceTensor, PretendedCUDA

pytestmark = pytest.mark.cpu_only("the device is pretended")


@pytest.fixture(params=[False, True], ids=["", "inference mode"])
def watch(request):
    with torch.inference_mode(request.param), PretendedCUDA() as watch:
        yield watch


def sent(values: torch.Tensor) -> torch.Tensor:
    return values.pin_memory().to("cuda", non_blocking=True)


def table() -> torch.Tensor:
    return sent(torch.arange(12.0).reshape(3, 4))


WAITS = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.any()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "mask as index": lambda x: x[x > 3],
    "value put by an index": lambda x: x.__setitem__(sent(torch.tensor([0])), 1.0),
    "single value as index": lambda x: x[sent(torch.tensor(1))],
    "index of the CPU": lambda x: x[torch.tensor([0, 1])],
    "list as index": lambda x: x[[0, 1]],
    "nonzero": lambda x: x.nonzero(),
    "equal": lambda x: torch.equal(x, x),
    "numbers": lambda x: torch.tensor([1.0, 2.0], device="cuda"),
    "plain memory": lambda x: torch.ones(3).to("cuda", non_blocking=True),
    "converted on the way": lambda x: torch.ones(3).pin_memory().to("cuda", torch.float16, non_blocking=True),
    "copied from plain memory": lambda x: x.copy_(torch.ones(3, 4), non_blocking=True),
    "download to plain memory": lambda x: torch.empty(3, 4).copy_(x, non_blocking=True),
    "synchronize": lambda x: torch.cuda.synchronize(),
}
NO_WAITS = {
    "view": lambda x: x[1:, None, 0],
    "index": lambda x: x[sent(torch.tensor([0, 1]))],
    "number put by a mask": lambda x: x.__setitem__(x > 3, 0.0),
    "zeros": lambda x: torch.zeros(3, device="cuda"),
    "number": lambda x: x * 3 + torch.tensor(2.0),
    "download": lambda x: torch.empty(3, 4, pin_memory=True).copy_(x, non_blocking=True),
    "product": lambda x: x @ x.T,
}


@pytest.mark.parametrize("what", WAITS)
def test_waits_are_seen(watch, what):
    x = table()
    assert not watch.whole.waits
    WAITS[what](x)
    assert watch.whole.waits.total() == 1 and all(
        note.place.startswith("test_pretended.py:") for note in watch.now.waits
    )


@pytest.mark.parametrize("what", NO_WAITS)
def test_what_does_not_wait(watch, what):
    NO_WAITS[what](table())
    assert not watch.whole.waits


MIXES = {
    "sum": lambda x: x + torch.ones(4),
    "gather": lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.long)),
    "out of the CPU": lambda x: torch.ones(4)[x[0].long()],
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x[None], x[None], torch.ones(1, 3, 4)),
    "generator of the CPU": lambda x: torch.rand(3, device="cuda", generator=torch.Generator()),
    "generator of the device": lambda x: torch.rand(3, generator=torch.Generator("cuda")),
}


@pytest.mark.parametrize("what", MIXES)
def test_mixes_are_refused(watch, what):
    with pytest.raises(DeviceMix, match="same device"):
        MIXES[what](table())
    assert watch.whole.mixes.total() == 1


def test_values_are_those_of_the_cpu(watch):
    x, own = table(), torch.arange(12.0).reshape(3, 4)
    assert x.device == torch.device("cuda:0") and x.is_cuda
    for compute in (
        lambda x: nn.functional.layer_norm(x @ x.T, (3,)).softmax(-1).cumsum(0),
        lambda x: nn.functional.rms_norm(x, (4,), x[1]),
        lambda x: nn.functional.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None]),
        lambda x: x[..., 1:3].T.contiguous().flatten().sort(descending=True).indices,
    ):
        torch.testing.assert_close(compute(x).cpu(), compute(own))


def test_views_share_their_values(watch):
    x = table()
    view = x[1]
    view[2] = 50.0
    view.add_(1)
    torch.mul(view, 2, out=view)
    assert x[1].tolist() == [10, 12, 102, 16]
    assert view.data_ptr() == x.data_ptr() + 16


def test_downloads_arrive_after_their_event(watch):
    """Who reads them before gets something else."""
    copy, event = torch.empty(3, pin_memory=True), torch.cuda.Event()
    copy.copy_(sent(torch.tensor([1.0, 0.0, 2.0])), non_blocking=True)
    assert copy.tolist() != [1, 0, 2]
    event.record()
    assert not event.query()
    torch.cuda.Event().record()
    assert event.query() and copy.tolist() == [1, 0, 2] and not watch.whole.waits


def test_the_device_finds_what_it_has_sent(watch):
    """Its copies follow each other in one queue."""
    copy = torch.empty(3, pin_memory=True)
    copy.copy_(sent(torch.tensor([1.0, 0.0, 2.0])), non_blocking=True)
    back = copy.to("cuda", non_blocking=True)
    assert not watch.whole.waits and back.tolist() == [1, 0, 2]


def test_kernels_are_counted_with_their_places(watch):
    x = table()
    x[1:].flatten().unsqueeze(0).detach()
    assert not watch.whole.kernels and watch.whole.uploads.total() == 1
    watch.mark()
    nn.functional.silu(x * 2)
    watch.mark()
    x.double()
    assert {note.what: n for note, n in watch.steady.kernels.items()} == {"mul": 1, "silu": 1}
    assert [note.what for note in watch.now.float64] == ["_to_copy"]


def test_memory_is_counted_while_it_lives(watch):
    before = watch.live
    x = torch.zeros(1000, device="cuda")
    view = x[10:]
    del x
    assert watch.live == before + 4000 and view.shape == (990,)
    del view
    assert watch.live == before and watch.now.peak >= before + 4000


def test_modules_move():
    with PretendedCUDA() as watch:
        layer = watch.put(nn.Linear(4, 3))
        assert not watch.whole.waits and not watch.whole.kernels
        twin = copy.deepcopy(layer).to(torch.bfloat16)
        assert all(isinstance(p, nn.Parameter) and isinstance(p, DeviceTensor) for p in twin.parameters())
        assert layer(table()).dtype == torch.float32
    with pytest.raises(RuntimeError, match="not there any more"):
        layer.weight + 1


def test_a_graph_does_its_work_when_it_is_replayed(watch):
    x, kept = table(), torch.zeros(3, device="cuda")

    def work():
        doubled = x * 2
        doubled[0] = 1.0
        kept.add_(doubled.sum(1))
        return nn.functional.softmax(doubled[:, :2], -1), doubled[1:]

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        soft, rows = work()
    assert watch.whole.captures.total() == 1
    watch.reset()
    assert soft.isnan().all().item() and kept.tolist() == [0, 0, 0]
    watch.reset()
    graph.replay()
    assert {note.what: n for note, n in watch.whole.kernels.items()} == {"graph launch": 1}
    assert kept.tolist() == [4, 44, 76] and rows.tolist() == (table() * 2)[1:].tolist()
    x.zero_()
    graph.replay()
    assert kept.tolist() == [8, 44, 76] and torch.equal(soft, torch.full_like(soft, 0.5))


def test_a_capture_can_not_wait(watch):
    x, graph = table(), torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="not permitted while a graph is captured"), torch.cuda.graph(graph):
        x.sum().item()
    assert not torch.cuda.is_current_stream_capturing()
