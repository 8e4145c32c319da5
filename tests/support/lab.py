"""Runs of truths, and whether their pictures follow a distribution."""

from dataclasses import replace

import torch

import mgt_core
from mgt_core.lab.backbone import all_masked, lab_model, labelled
from mgt_core.lab.chain import Chain, moving
from mgt_core.lab.codewords import Codewords
from mgt_core.lab.draws import BatchDraws
from mgt_core.lab.measures import histogram
from mgt_core.lab.potts import Potts
from mgt_core.lab.quadtree import Quadtree
from support.fit import fit_p

# A test of chance fails a right library once in 10,000; with fixed seeds it always gives the same answer.
LEVEL = 1e-4
SURE = 1e-8  # what a broken variant has to be told by
PICTURES = 4096
HOT = (1000.0, 1000.0)  # temperatures at which a confidence sampler's order hardly looks at what it drew


def bias(classes=2, cells=9, codes=2, seed=0):
    return 0.7 * torch.randn(classes, cells, codes, generator=torch.Generator().manual_seed(seed))


def laws(*shape, seed=0):
    """Distributions over the last axis, of one's own making."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)


FIELD = Potts(coupling=0.9, bias=bias())  # 512 grids, two classes
THREE = Potts((2, 3), codes=3, coupling=0.8, bias=bias(cells=6, codes=3))  # 729
WORDS = Codewords((2, 3), codes=3, words=4, flip=0.5, classes=2)  # 729
LINE = Chain(6, laws(2, 3, 3), laws(2, 3, seed=1))  # 729
SMALL = {"potts": FIELD, "potts of 3 codes": THREE, "codewords": WORDS, "chain": LINE}
LARGE = {
    "potts": Potts((3, 4), codes=2, coupling=1.2),
    "quadtree": Quadtree(8, codes=5, stay=(0.6, 0.7, 0.9), classes=2),
    "codewords": Codewords((5, 7), codes=6, words=6, flip=0.3, classes=3),
    "chain": Chain(40, moving(codes=6, kept=0.7, classes=3)),
}


def run(predictor, *args, **settings):
    """Tokens [B, N] of a run, by default over all cells, one at a time, for class 0, without guidance."""
    return sampled(predictor, *args, **settings).tokens.flatten(1)


def sampled(predictor, batch=PICTURES, state=None, positive=0, patched=lambda model: model, **settings):
    """The state that such a run ends with."""
    chosen = {"steps": predictor.cells, "cfg": 1.0, "seed": 0, "sampler": "maskgit"} | settings
    if isinstance(chosen["sampler"], str):
        chosen["sampler"] = mgt_core.SAMPLERS.get(chosen["sampler"])()
    if batch > 1000:
        chosen["sampler"] = replace(chosen["sampler"], draws=BatchDraws)
    state = all_masked(predictor, batch) if state is None else state
    return mgt_core.sample(patched(lab_model(predictor)), state, labelled(positive), labelled(-1), **chosen)


def exact(truth, count=PICTURES, label=0, seed=0):
    """Draws from the truth, [count, N]."""
    return truth.draw(torch.full((count,), label), torch.Generator().manual_seed(seed))


def p_of(truth, tokens, p=None, label=0):
    """Of the test that grids [B, N] follow p [V^N], by default the truth of a class."""
    return fit_p(histogram(truth, tokens), truth.probabilities(label) if p is None else p)


def marginals(truth, label=0):
    """[N, V] float64, of every cell by itself."""
    blank = torch.full((1, truth.cells), truth.mask_id)
    return truth.logits(blank, torch.tensor([label]))[0].double().softmax(-1)


def product(truth, tables):
    """p [V^N] of grids whose cells are independent, with probabilities [N, V]."""
    return tables[torch.arange(truth.cells), truth.every_grid()].prod(1)
