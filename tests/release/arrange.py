"""Where the nodes of a graph go, once it is known how much room each takes: columns stay columns, groups stay groups,
all in their order; nodes stand below each other with room to spare, and groups reach around them. A column of very many
nodes becomes several."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from support.geometry import group_of

Json = dict[str, Any]
Size = tuple[int, int]  # width and height of a node without its title

TITLE = 30  # pixels above a node's own place
SPARE = 60  # under each node, for front ends that draw it taller
HEAD, FOOT, SIDE = 80, 40, 20  # what a group has above the place of its first node, under its last, and beside them
BETWEEN = 20  # groups that stand over each other
BESIDE = 60  # columns, at least
MOST = 8  # nodes in a column
SAME_COLUMN = 60  # nodes that begin no farther apart
GRID = 10


def rounded(length: float) -> int:
    """Up to the grid; what the browser measures is a little off."""
    return math.ceil((round(length) - 1) / GRID) * GRID


def arrange(graph: Json, sizes: dict[int, Size]) -> None:
    """Changes nothing but places and sizes of nodes and groups, and groups without nodes not at all."""
    areas = _areas(graph)
    columns = [part for column in _columns(graph["nodes"]) for part in _parts(column, [nodes for _, nodes in areas])]
    column_of = {node["id"]: place for place, column in enumerate(columns) for node in column}
    widths = [max(sizes[node["id"]][0] for node in column) for column in columns]
    lefts = _lefts(columns, widths)
    start = min([node["pos"][1] - HEAD for node in graph["nodes"]] + [g["bounding"][1] for g, _ in areas if g])
    free = [start] * len(columns)  # where the next area of each column may begin
    bounds: list[tuple[Json, list[int], list[float]]] = []
    for group, nodes in areas:
        places = sorted({column_of[node["id"]] for node in nodes})
        top = max(free[place] for place in places)
        bottom = top
        for place in places:
            members = [node for node in columns[place] if node in nodes]
            bottom = max(bottom, _stack(members, lefts[place], top + HEAD, sizes))
        for place in places:
            free[place] = bottom + FOOT + BETWEEN
        if group:
            left = lefts[places[0]] - SIDE
            width = lefts[places[-1]] + widths[places[-1]] + SIDE - left
            bounds.append((group, places, [left, top, width, bottom + FOOT - top]))
    _bound(bounds, max(free) - BETWEEN)


def _columns(nodes: list[Json]) -> list[list[Json]]:
    """From left to right, each from top to bottom."""
    columns: list[list[Json]] = []
    for node in sorted(nodes, key=lambda node: node["pos"][0]):
        if columns and node["pos"][0] - columns[-1][0]["pos"][0] <= SAME_COLUMN:
            columns[-1].append(node)
        else:
            columns.append([node])
    return [sorted(column, key=lambda node: node["pos"][1]) for column in columns]


def _parts(column: list[Json], areas: list[list[Json]]) -> list[list[Json]]:
    """A long column in parts of about the same length, if it lies in one area."""
    count = math.ceil(len(column) / MOST)
    if count == 1 or not any(all(node in nodes for node in column) for nodes in areas):
        return [column]
    length = math.ceil(len(column) / count)
    return [column[start : start + length] for start in range(0, len(column), length)]


def _areas(graph: Json) -> list[tuple[Json | None, list[Json]]]:
    """Groups with their nodes, from the top; nodes of no group are an area of their own."""
    groups = graph.get("groups", [])
    home = {node["id"]: group_of(node, groups) for node in graph["nodes"]}
    areas = [(group, [node for node in graph["nodes"] if home[node["id"]] is group]) for group in [*groups, None]]
    areas = [area for area in areas if area[1]]
    return sorted(areas, key=lambda area: min(node["pos"][1] for node in area[1]))


def _lefts(columns: list[list[Json]], widths: list[int]) -> list[float]:
    """Where columns begin: as far apart as they were."""
    lefts = [columns[0][0]["pos"][0]]
    for before, column, width in zip(columns, columns[1:], widths):
        right = before[0]["pos"][0] + max(node["size"][0] for node in before)
        lefts.append(lefts[-1] + width + max(BESIDE, column[0]["pos"][0] - right))
    return lefts


def _stack(nodes: Iterable[Json], left: float, top: float, sizes: dict[int, Size]) -> float:
    """Nodes below each other; where the last one ends."""
    for node in nodes:
        node["pos"] = [left, top]
        node["size"] = list(sizes[node["id"]])
        bottom = top + node["size"][1]
        top = bottom + SPARE + TITLE
    return bottom


def _bound(bounds: list[tuple[Json, list[int], list[float]]], end: float) -> None:
    """Groups with nothing below them all end at the same height."""
    for group, places, (left, top, width, height) in bounds:
        below = any(set(places) & set(others) and other[1] > top for _, others, other in bounds)
        group["bounding"] = [left, top, width, height if below else end - top]
