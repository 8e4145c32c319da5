"""MGT Reward from Graph: the nodes between a candidate and a number, worked as a host works nodes, without one."""

import copy
import sys
from types import SimpleNamespace

import pytest
import torch

import mgt_core
from mgt_core import MGTError
from runner.local import Library, NodeFailedError, execute
from runner.validate import validate
from support.fake_comfy import Interrupted
from support.node_runs import NODES
from support.pack import ALIAS

PICTURES = torch.rand(3, 6, 8, 3, generator=torch.Generator().manual_seed(2))
host_graph = sys.modules[f"{ALIAS}.nodes.host_graph"]


def declares(outputs, /, function="run", hidden=None, **inputs):
    """Decorator: a V1 node class with these inputs and outputs."""

    def add(cls):
        cls.RETURN_TYPES, cls.FUNCTION = outputs, function
        groups = {"required": dict(inputs), **({"hidden": hidden} if hidden else {})}
        cls.INPUT_TYPES = classmethod(lambda _: groups)
        return cls

    return add


def classes_that_note(worked):
    """Nodes of another pack, which note in `worked` what ran."""

    @declares(("FLOAT",), value=("FLOAT", {"default": 1.0}))
    class Number:
        def run(self, value):
            worked.append("Number")
            return (value,)

    @declares(("IMAGE",), image=("IMAGE",), factor=("FLOAT", {"default": 1.0}))
    class Times:
        def run(self, image, factor):
            worked.append("Times")
            return (image * factor,)

    @declares(("FLOAT", "INT"), image=("IMAGE",))
    class Mean:
        OUTPUT_NODE = False

        def run(self, image):
            worked.append("Mean")
            return {"ui": {"text": ["measured"]}, "result": (float(image.mean()), int(image.shape[1]))}

    @declares(("FLOAT",), a=("FLOAT,INT", {}), b=("FLOAT,INT", {}))
    class Add:
        def run(self, a, b):
            return (a + b,)

    @declares(("IMAGE",))
    class Nothing:
        OUTPUT_IS_LIST = (True,)

        def run(self):
            worked.append("Nothing")
            return ([],)

    @declares(("FLOAT",), image=("IMAGE",))
    class Rows:
        """The means of rows, as a list."""

        OUTPUT_IS_LIST = (True,)

        def run(self, image):
            return ([float(row.mean()) for row in image[0]],)

    @declares(("FLOAT",), values=("FLOAT", {"forceInput": True}))
    class Largest:
        INPUT_IS_LIST = True

        def run(self, values):
            return (max(values),)

    @declares(("FLOAT",), image=("IMAGE",), hidden={"own": "UNIQUE_ID", "whole": "PROMPT"})
    class Asks:
        def __init__(self):
            self.calls = 0

        def run(self, image, own, whole):
            self.calls += 1
            worked.append((own, len(whole), self.calls))
            return (0.5,)

    @declares(("FLOAT",), image=("IMAGE",))
    class Fails:
        def run(self, image):
            raise RuntimeError("out of ink")

    @declares(("FLOAT",), image=("IMAGE",))
    class Waits:
        async def run(self, image):
            return (1.0,)

    @declares(("FLOAT",), image=("IMAGE",))
    class Expands:
        def run(self, image):
            return {"result": (["x", 0],), "expand": {"x": {"class_type": "Number", "inputs": {"value": 1.0}}}}

    @declares(("FLOAT",), image=("IMAGE",))
    class Text:
        def run(self, image):
            return ("much",)

    @declares(("FLOAT",), image=("IMAGE",))
    class Interrupts:
        def run(self, image):
            raise Interrupted

    @declares((), reward=("MGT_REWARD",))
    class Score:
        OUTPUT_NODE = True

        def run(self, reward):
            worked.append(reward.score(PICTURES, [0, 1, 1]).tolist())
            return ()

    @declares((), image=("IMAGE",))
    class Show:
        OUTPUT_NODE = True

        def run(self, image):
            worked.append(tuple(image.shape))
            return ()

    held = dict(locals())
    return {name: kind for name, kind in held.items() if isinstance(kind, type)}


@pytest.fixture
def worked():
    return []


@pytest.fixture
def run(worked):
    library = Library({**classes_that_note(worked), **NODES})

    def scored(prompt, extra=None):
        """The scores of the pictures, by a prompt of (class, inputs) by id."""
        given = {
            key: {"class_type": kind, "inputs": dict(inputs), "_meta": {"title": f"my {kind}"}}
            for key, (kind, inputs) in {**prompt, **(extra or {})}.items()
        }
        assert validate(given, library.object_info, custom=library.custom_check) == []
        before = copy.deepcopy(given)
        execute(given, library)
        assert given == before
        return next((one for one in reversed(worked) if isinstance(one, list)), None)

    return scored


CANDIDATE = {"1": ("MGTCandidatePicture", {})}
ENDS = {"8": ("MGTRewardFromGraph", {"score": ["5", 0]}), "9": ("Score", {"reward": ["8", 0]})}
MEANS = [float(picture.mean()) for picture in PICTURES]


def test_a_number_of_each_candidate(run, worked):
    assert run({**CANDIDATE, "5": ("Mean", {"image": ["1", 0]}), **ENDS}) == pytest.approx(MEANS)
    assert worked.count("Mean") == 3
    whole = {**CANDIDATE, "5": ("Mean", {"image": ["1", 0]}), **ENDS, "8": ("MGTRewardFromGraph", {"score": ["5", 1]})}
    assert run(whole) == [6, 6, 6]


def test_what_hangs_on_no_candidate_is_worked_once(run, worked):
    """And by the host, which uses it elsewhere too; values of widgets and of links alike."""
    graph = {
        **CANDIDATE,
        "2": ("Number", {"value": "3.0"}),
        "3": ("Times", {"image": ["1", 0], "factor": ["2", 0]}),
        "4": ("Mean", {"image": ["3", 0]}),
        "5": ("Add", {"a": ["4", 0], "b": ["2", 0]}),
    }
    assert run({**graph, **ENDS}) == pytest.approx([3 * mean + 3 for mean in MEANS], rel=1e-5)
    assert (worked.count("Number"), worked.count("Times")) == (1, 3)


def test_what_others_need_too_is_worked_once(run, worked):
    """Whether it runs before the reward or after, and where two rewards take it."""
    graph = {
        **CANDIDATE,
        "2": ("Number", {"value": 2.0}),
        "3": ("Times", {"image": ["1", 0], "factor": ["2", 0]}),
        "5": ("Mean", {"image": ["3", 0]}),
        "6": ("MGTRewardFromGraph", {"score": ["5", 0]}),
        "7": ("MGTRewardSum", {"reward_1": ["8", 0], "weight_1": ["2", 0], "reward_2": ["6", 0], "weight_2": -1.0}),
        **ENDS,
        "9": ("Score", {"reward": ["7", 0]}),
    }
    assert run(graph) == pytest.approx([2 * 2 * mean - 2 * mean for mean in MEANS], rel=1e-5)
    assert worked.count("Number") == 1


def test_lists_and_hidden_inputs(run, worked):
    rows = {**CANDIDATE, "4": ("Rows", {"image": ["1", 0]}), "5": ("Largest", {"values": ["4", 0]}), **ENDS}
    assert run(rows) == pytest.approx([float(picture.mean((1, 2)).max()) for picture in PICTURES])
    asks = {**CANDIDATE, "5": ("Asks", {"image": ["1", 0]}), **ENDS}
    assert run(asks) == [0.5] * 3
    assert [one for one in worked if isinstance(one, tuple)] == [("5", 4, 1), ("5", 4, 2), ("5", 4, 3)]


def test_a_node_that_is_fed_an_empty_list_is_not_called(run, worked):
    """As hosts have it: it gives nothing, and nothing fails."""
    assert run({"2": ("Nothing", {}), "4": ("Show", {"image": ["2", 0]})}) is None
    assert worked == ["Nothing"]


def test_the_index_says_for_which_image(run):
    graph = {**CANDIDATE, "5": ("Add", {"a": ["1", 1], "b": ["1", 1]}), **ENDS}
    assert run(graph) == [0, 2, 2]


def test_our_own_measure(run):
    graph = {**CANDIDATE, "5": ("MGTPictureStatistics", {"image": ["1", 0]}), **ENDS}
    luma = PICTURES @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert run(graph) == pytest.approx(luma.mean((1, 2)).tolist(), rel=1e-5)


@pytest.mark.parametrize(
    "node, told",
    [
        (("Fails", {"image": ["1", 0]}), r"failed in node 5 \(my Fails\): out of ink"),
        (("Waits", {"image": ["1", 0]}), r"node 5 \(my Waits\): it waits for others while it works \(async\)"),
        (("Expands", {"image": ["1", 0]}), r"node 5 \(my Expands\): it puts other nodes in its place \(expansion\)"),
        (("Rows", {"image": ["1", 0]}), "score is a list of 6 values for one picture; expected one number"),
        (("Text", {"image": ["1", 0]}), "score of MGT Reward from Graph is 'much'; accepted are numbers"),
        (("Number", {"value": 1.0}), "score hangs on no candidate: what leads to it has to begin at"),
    ],
)
def test_what_goes_wrong_is_one_sentence(run, node, told):
    with pytest.raises(NodeFailedError, match=told) as error:
        run({**CANDIDATE, "5": node, **ENDS})
    assert "\n" not in str(error.value)


def test_a_candidate_alone_says_what_it_is_for(run, worked):
    with pytest.raises(NodeFailedError, match="has a picture only while a sampler tries some"):
        run({**CANDIDATE, "2": ("Show", {"image": ["1", 0]})})
    cls = NODES["MGTCandidatePicture"]
    picture, index = cls().stand_in(example=PICTURES)
    assert torch.equal(picture, PICTURES[:1]) and index == 0


def test_a_number_in_place_of_a_link_is_one_sentence():
    with pytest.raises(MGTError, match="score is 3.0; expected a link from a node"):
        NODES["MGTRewardFromGraph"]().make([3.0], ["8"], [{}], [None], [None])


def test_it_can_be_ended_between_nodes_and_within(monkeypatch, worked, run):
    management = SimpleNamespace(InterruptProcessingException=Interrupted)
    monkeypatch.setattr(
        host_graph, "is_interrupt", lambda error: isinstance(error, management.InterruptProcessingException)
    )
    graph = {**CANDIDATE, "5": ("Interrupts", {"image": ["1", 0]}), **ENDS}
    with pytest.raises(NodeFailedError) as error:
        run(graph)
    assert isinstance(error.value.__cause__, Interrupted)

    def check():
        if worked.count("Mean") == 2:
            raise Interrupted

    with mgt_core.interruptible(check), pytest.raises(NodeFailedError) as error:
        run({**CANDIDATE, "5": ("Mean", {"image": ["1", 0]}), **ENDS})
    assert isinstance(error.value.__cause__, Interrupted) and worked.count("Mean") == 2
