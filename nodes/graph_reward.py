"""A part of the graph as a function of a picture: the nodes from MGT Candidate Picture to a number, which are worked
again for every candidate. What they take from elsewhere has been worked by the host, once."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from ..mgt_core.errors import MGTError, reason
from ..mgt_core.loading.building import is_full
from ..mgt_core.pulse import beat
from . import host, host_graph

CANDIDATE = "MGTCandidatePicture"
MOST = 1000  # nodes that are worked for each candidate

Node = Mapping[str, Any]  # of a prompt: class_type, inputs, _meta
Outputs = list[list]  # of a node, each a list as hosts keep them


class Link(NamedTuple):
    node_id: str
    slot: int

    @property
    def key(self) -> str:
        """The name of an input that takes what it leads to."""
        return f"{self.node_id}.{self.slot}"


def link_of(value: Any) -> Link | None:
    """The link that an input of a prompt holds."""
    is_link = isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)
    return Link(value[0], int(value[1])) if is_link and isinstance(value[1], (int, float)) else None


class Step(NamedTuple):
    """A node to work. links: of its inputs."""

    node_id: str
    node: Node
    links: Mapping[str, Link]

    @property
    def label(self) -> str:
        title = (self.node.get("_meta") or {}).get("title") or self.node["class_type"]
        return f"node {self.node_id} ({title})"


@dataclass(frozen=True)
class Plan:
    """The nodes between candidates and a number, each after those that feed it. taken: outputs of others that they
    need."""

    end: Link
    candidates: frozenset[str]
    steps: tuple[Step, ...]

    @property
    def taken(self) -> list[Link]:
        own = {step.node_id for step in self.steps} | self.candidates
        links = (link for step in self.steps for link in step.links.values() if link.node_id not in own)
        return list(dict.fromkeys(links))


def plan_of(end: Link, node_at: Callable[[str], Node]) -> Plan:
    """Of the graph above an output. node_at: a node by its id. Raises MGTError where it hangs on no candidate, or on
    more nodes than there may be."""
    steps: dict[str, Step] = {}
    order: list[str] = []
    found, seen = set(), set()
    todo = [(end.node_id, False)]
    while todo:
        node_id, fed = todo.pop()
        if fed:
            order.append(node_id)
        elif node_id not in seen:
            seen.add(node_id)
            node = node_at(node_id)
            if node["class_type"] == CANDIDATE:
                found.add(node_id)
                continue
            steps[node_id] = Step(node_id, node, links_of(node))
            todo.append((node_id, True))
            todo += [(link.node_id, False) for link in steps[node_id].links.values()]
    depends = set(found)
    for node_id in order:
        if any(link.node_id in depends for link in steps[node_id].links.values()):
            depends.add(node_id)
    if end.node_id not in depends:
        raise MGTError(
            "score hangs on no candidate: what leads to it has to begin at the picture of MGT Candidate Picture"
        )
    wanted = [node_id for node_id in order if node_id in depends]
    if len(wanted) > MOST:
        raise MGTError(f"score hangs on {len(wanted)} nodes; accepted are {MOST} between it and the candidate")
    return Plan(end, frozenset(found), tuple(steps[node_id] for node_id in wanted))


def links_of(node: Node) -> dict[str, Link]:
    """Of a node's inputs, but for those that it takes as links."""
    declared, _ = host_graph.inputs_of(host_graph.node_class(node["class_type"]), node["inputs"])
    links = {name: link_of(value) for name, value in node["inputs"].items() if not is_raw(declared, name)}
    return {name: link for name, link in links.items() if link is not None}


def declaration(declared: Mapping[str, Any], name: str) -> Any:
    return next((group[name] for group in declared.values() if name in group), None)


def is_raw(declared: Mapping[str, Any], name: str) -> bool:
    spec = declaration(declared, name)
    return isinstance(spec, (list, tuple)) and len(spec) > 1 and bool(spec[1].get("rawLink"))


@dataclass(frozen=True)
class GraphMeasure:
    """A plan as a function of a picture. given: what it takes from elsewhere, by the keys of links, each a list as
    hosts keep outputs. hidden: what nodes may ask for beside their inputs, by its kind."""

    plan: Plan
    given: Mapping[str, list]
    hidden: Mapping[str, Any]
    made: dict[str, Any] = field(default_factory=dict, init=False, repr=False)  # instances of V1 classes, by node

    def __call__(self, picture: Tensor, image: int) -> Any:
        """picture: [1, H, W, 3]; image: of the batch, that it is a candidate for. Raises MGTError that names the node
        in which something failed, and where it is not one number that comes out."""
        first = [[picture.to(host.intermediate_device())], [image]]
        results: dict[str, Outputs] = dict.fromkeys(self.plan.candidates, first)
        for step in self.plan.steps:
            beat()
            results[step.node_id] = self.work(step, results)
        found = self.value(self.plan.end, results)
        if len(found) != 1:
            raise MGTError(f"score is a list of {len(found)} values for one picture; expected one number")
        return found[0]

    def value(self, link: Link, results: Mapping[str, Outputs]) -> list:
        if link.node_id not in results:
            return self.given[link.key]
        outputs = results[link.node_id]
        if not 0 <= link.slot < len(outputs):
            raise MGTError(f"node {link.node_id} gave {len(outputs)} outputs, and a link leads from number {link.slot}")
        return outputs[link.slot]

    def work(self, step: Step, results: Mapping[str, Outputs]) -> Outputs:
        try:
            with host_graph.working(step.node_id):
                return self.called(step, results)
        except Exception as error:
            if host_graph.is_interrupt(error) or is_full(error):
                raise
            told = str(error) if isinstance(error, MGTError) else reason(error)
            raise MGTError(f"the graph of the reward failed in {step.label}: {told}") from error

    def called(self, step: Step, results: Mapping[str, Outputs]) -> Outputs:
        cls = host_graph.node_class(step.node["class_type"])
        declared, data = host_graph.inputs_of(cls, step.node["inputs"])
        takes_all = getattr(cls, "ACCEPT_ALL_INPUTS", False)
        arguments: dict[str, list] = {}
        for name, value in step.node["inputs"].items():
            if name in step.links:
                arguments[name] = self.value(step.links[name], results)
            elif takes_all or declaration(declared, name) is not None:
                arguments[name] = [value]
        if any(host_graph.is_blocked(value) for values in arguments.values() for value in values):
            raise MGTError("something that feeds it is switched off")
        known = {**self.hidden, "UNIQUE_ID": step.node_id}
        asked = {name: kind if isinstance(kind, str) else kind[0] for name, kind in declared.get("hidden", {}).items()}
        if host_graph.is_v3(cls):
            function = host_graph.v3_method(cls, data, {kind: known.get(kind) for kind in asked.values()})
        else:
            arguments |= {name: [known.get(kind)] for name, kind in asked.items()}
            if step.node_id not in self.made:
                self.made[step.node_id] = cls()
            function = getattr(self.made[step.node_id], cls.FUNCTION)
        if inspect.iscoroutinefunction(getattr(cls, cls.FUNCTION)):
            raise MGTError("it waits for others while it works (async), which is not done for candidates")
        calls = [arguments] if getattr(cls, "INPUT_IS_LIST", False) else one_by_one(arguments)
        return collected(cls, [function(**call) for call in calls])


def one_by_one(arguments: Mapping[str, list]) -> Iterator[dict[str, Any]]:
    """Calls of a node that takes single values: the longest list decides, shorter ones repeat their last."""
    for place in range(max(map(len, arguments.values()), default=1)):
        yield {name: values[min(place, len(values) - 1)] for name, values in arguments.items() if values}


def collected(cls: Any, answers: list) -> Outputs:
    kinds = list(cls.RETURN_TYPES)
    lists = getattr(cls, "OUTPUT_IS_LIST", None) or [False] * len(kinds)
    outputs: Outputs = [[] for _ in kinds]
    for answer in answers:
        for held, several, value in zip(outputs, lists, values_in(answer), strict=False):
            held += value if several else [value]
    return outputs


def values_in(answer: Any) -> tuple:
    """What a call of a node has given: a tuple, a dict with more, or the answer of a V3 node."""
    held = answer if isinstance(answer, dict) else None
    if held is None and not isinstance(answer, (tuple, list)):
        names = ("expand", "result", "block_execution")
        held = {name: getattr(answer, name, None) for name in names}
    if held is None:
        return tuple(answer)
    if held.get("expand") is not None:
        raise MGTError("it puts other nodes in its place (expansion), which is not done for candidates")
    result = held.get("result")
    if host_graph.is_blocked(answer) or host_graph.is_blocked(result) or held.get("block_execution") is not None:
        raise MGTError("it switches off what follows it")
    return tuple(result or ())
