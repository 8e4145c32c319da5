"""UNCAGE: cells that clearly show one object of the prompt are kept first."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..conditioning.objects import Objects
from ..errors import MGTError, whole_number
from ..interval import in_interval
from ..patches.attention_maps import FOLLOWED, AttentionMaps
from ..placement import sent
from ..plain import members
from ..registry import SAMPLERS
from ..sampling.run import Run
from ..settings import hold, number
from ..types import NO_WORD
from .maskgit import MaskGIT

SIDE = 64  # tokens of a grid that the blur is told for
HIGHEST_ROW = 100_000


@SAMPLERS.register("uncage")
@dataclass(frozen=True)
class Uncage(MaskGIT):
    """MaskGIT whose confidence gains `weight` times the contrast of attention (arXiv 2508.05399, Method, equations 2 to
    4): of every object the least attention to one of its own words (object and attributes) minus the most to a word of
    another, and of these the largest. Tokens are drawn as ever; which of them stay changes.

    Attention of image rows to text rows, after the softmax, in the mean over heads and single-stream blocks (of aMUSEd
    over the attention of its layers to the text), is rescaled and blurred. The paper does not say how it is rescaled:
    here the attention to every word goes from 0 to 1 over the cells of an image. A word of several tokens has their
    mean. objects: for every prompt of the batch, or for all images once, the words of each object as rows of the
    encoded prompt (`object_words`); none changes nothing.
    blur: standard deviation in tokens, on a grid of 64 tokens a side, for which 2 is published; on others as large a
    share of the shorter side. start, end: of the run; a quarter as published (16 of 64 steps).

    Works with networks that hold text and image in one sequence (Meissonic, language models) or attend to the text
    (aMUSEd), and one prompt.
    """

    neutral = {"weight": 0.0}
    interval_of = "UNCAGE"

    weight: float = number(3.0, 0, 100)
    blur: float = number(2.0, 0, 100)
    start: float = number(0.0, 0, 1, step=0.05)
    end: float = number(0.25, 0, 1, step=0.05)
    objects: tuple[Objects, ...] = field(default=(), kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        hold(self, objects=checked_objects(self.objects))

    def loop(self, run: Run) -> None:
        words = self.words(run)
        for index in run.indices:
            if words is not None:
                words.maps.acting = in_interval(self.start, self.end, index, run.steps)
            drawn = run.draw(index)
            confidence = torch.where(drawn.cells, drawn.log_probability, self.known_confidence) + run.noise(drawn)
            if words is not None and words.maps.acting:
                confidence = confidence + self.weight * words.contrast(run.grid, self.blur)
            run.accept(run.keep(drawn, confidence, among=~run.given))

    def each_repeated(self, images: int, times: int) -> "Uncage":
        if len(self.objects) < 2:
            return self
        return replace(self, objects=tuple(own for own in self.for_images(images) for _ in range(times)))

    def for_images(self, images: int) -> tuple[Objects, ...]:
        """The objects of each. Raises MGTError where they are of neither one prompt nor so many."""
        if len(self.objects) not in (1, images):
            raise MGTError(
                f"UNCAGE has objects of {len(self.objects)} prompts for {images} images; give those of one prompt, or "
                "of every image's"
            )
        return self.objects * (images // len(self.objects))

    def words(self, run: Run) -> "Words | None":
        """What is looked at during a run; None where nothing is. Raises MGTError where there is no such attention."""
        if not self.weight or not any(self.objects) or self.start == self.end:
            return None
        run.model.network.check_supports("attention", "UNCAGE")
        if len(run.network.parts[FOLLOWED[0]]) != 1:
            raise MGTError("UNCAGE looks at the words of one prompt; the positive condition has several parts or none")
        objects = self.for_images(len(run.seeds))
        condition = run.network.parts[FOLLOWED[0]][0].condition
        if condition.prompt is not None:
            objects = behind(objects, (condition.prompt == NO_WORD).sum(1).tolist())
        length = (condition.hidden if condition.prompt is None else condition.prompt).shape[1]
        if (last := max(row for own in objects for each in own for word in each for row in word)) >= length:
            raise MGTError(f"UNCAGE has a word in row {last} of the prompt, which has {length}")
        found = Words.of(objects, run.device)
        run.network.patches.append(found.maps)
        return found


def checked_objects(given: Sequence) -> tuple[Objects, ...]:
    """As plain tuples. Raises MGTError for anything but prompts of objects of words of rows."""

    def inside(value: object, depth: int) -> tuple | int:
        if not depth:
            return whole_number("row of a word", value, 0, HIGHEST_ROW)
        if (own := members(value)) is None or isinstance(value, str) or depth < 3 and not own:
            raise MGTError(
                f"objects hold {value!r}; expected for every prompt its objects, each as the rows of its words "
                "(mgt_core.object_words)"
            )
        return tuple(inside(each, depth - 1) for each in own)

    return inside(given, 4)


def behind(objects: tuple[Objects, ...], rows: Sequence[int]) -> tuple[Objects, ...]:
    """Those of every image, whose prompt begins after so many rows without a word."""
    return tuple(
        tuple(tuple(tuple(row + first for row in word) for word in each) for each in own)
        for own, first in zip(objects, rows, strict=True)
    )


@dataclass(frozen=True)
class Words:
    """Of B images the words that are looked at, W at the most, and O objects at the most.

    maps: of all their tokens. tokens: [B, W, T] share of each token in each word. own, others: [B, O, W] bool, words of
    an object, and of the others in its image.
    """

    maps: AttentionMaps
    tokens: Tensor
    own: Tensor
    others: Tensor

    @classmethod
    def of(cls, objects: Sequence[Objects], device: torch.device) -> "Words":
        """objects: of every image. Made on the CPU and sent once."""
        words = [[word for each in own for word in each] for own in objects]
        rows = [[row for word in own for row in word] for own in words]
        images, most = len(objects), max(map(len, words))
        columns = torch.zeros(images, max(map(len, rows)), dtype=torch.long)
        tokens = torch.zeros(images, most, columns.shape[1])
        mine = torch.zeros(images, max(map(len, objects)), most, dtype=torch.bool)
        theirs = mine.clone()
        for image, own in enumerate(objects):
            columns[image, : len(rows[image])] = torch.tensor(rows[image], dtype=torch.long)
            begin = 0
            for place, word in enumerate(words[image]):
                tokens[image, place, begin : begin + len(word)] = 1 / len(word)
                begin += len(word)
            holders = torch.tensor([place for place, each in enumerate(own) for _ in each], dtype=torch.long)
            for place in range(len(own)):
                mine[image, place, : len(holders)] = holders == place
                theirs[image, place, : len(holders)] = holders != place
        columns, *tables = (sent(table, device) for table in (columns, tokens, mine, theirs))
        return cls(AttentionMaps(columns), *tables)

    def contrast(self, grid: tuple[int, int], blur: float) -> Tensor | float:
        """[B, N] of every cell, from the attention read last; 0 where none was read yet."""
        read = self.maps.maps(grid)
        if read is None:
            return 0.0
        words = torch.einsum("bwt,btxy->bwxy", self.tokens, read)
        return contrast(blurred(rescaled(words), blur), self.own, self.others).flatten(1)


def rescaled(maps: Tensor) -> Tensor:
    """[..., h, w], each from 0 to 1; 0 where all its values are alike."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def blurred(maps: Tensor, blur: float) -> Tensor:
    """[..., h, w] smoothed by a Gaussian of `blur` tokens on a grid of SIDE; beyond the edges there is nothing. Of a
    single row, as sound has it, the length counts."""
    height, width = maps.shape[-2:]
    sigma = blur * (width if height == 1 else min(height, width)) / SIDE
    if not sigma:
        return maps
    rows, columns = (smoothing(side, sigma, maps.device) for side in maps.shape[-2:])
    return rows @ maps @ columns.T


def smoothing(side: int, sigma: float, device: torch.device) -> Tensor:
    """[side, side] float32: what each place takes of each other, in all 1."""
    place = torch.arange(side, dtype=torch.float32)
    return sent(torch.softmax(-(((place[:, None] - place) / sigma) ** 2) / 2, dim=1), device)


def contrast(words: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """[B, W, h, w] attention to words -> [B, h, w]: the largest over objects of the least attention to an own word
    minus the most to another's (0 where there are none). own, others: [B, O, W] bool; 0 for an image without objects.
    """
    each = words[:, None]  # [B, 1, W, h, w]
    mine, theirs = own[..., None, None], others[..., None, None]
    least = torch.where(mine, each, torch.inf).amin(2)
    most = torch.where(theirs, each, -torch.inf).amax(2)
    there = own.any(2)[..., None, None]
    score = least - torch.where(others.any(2)[..., None, None], most, 0.0)
    best = torch.where(there, score, -torch.inf).amax(1)
    return torch.where(there.any(1), best, 0.0)
