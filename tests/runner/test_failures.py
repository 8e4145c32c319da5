"""What a node raises comes out as one sentence, whatever kind of exception it is."""

import errno
import os

import pytest
import torch

from runner.failures import said
from runner.local import NodeFailedError, execute
from support.prompts import api
from support.trials import is_sentence

RAISED = {
    KeyError("width"): "KeyError: 'width'",
    IndexError(): "IndexError",
    MemoryError(): "the memory ran out",
    MemoryError("Unable to allocate 3 GiB"): "the memory ran out: Unable to allocate 3 GiB",
    torch.OutOfMemoryError("CUDA out of memory"): "CUDA out of memory",
    RecursionError("maximum recursion depth exceeded"): "something is nested too deeply",
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/out/a.png"): "No space left on device: /out/a.png",
    OSError("cannot identify it"): "cannot identify it",
    ValueError("the fuse\n\x1b[2J was lit"): "the fuse \\x1b[2J was lit",
    AssertionError(): "AssertionError",
    TypeError("x" * 10_000): "TypeError: xxx",
}


@pytest.mark.parametrize("error, sentence", RAISED.items(), ids=map(repr, range(len(RAISED))))
def test_a_sentence_names_the_node_and_what_was_wrong(library, error, sentence):
    def fail(self, **inputs):
        raise error

    library.classes["Change"].run = fail
    prompt = api(n1=("Make", {}), n2=("Change", {"thing": ["1", 0]}), n3=("Show", {"thing": ["2", 0]}))
    library.classes["Make"].run = lambda self: ("cat", 1)
    with pytest.raises(NodeFailedError) as told:
        execute(prompt, library)
    assert str(told.value).startswith(f"Node 2 (Change): {sentence}") and is_sentence(str(told.value))


def test_a_person_who_stops_is_no_failure(library):
    def stop(self, **inputs):
        raise KeyboardInterrupt

    library.classes["Make"].run = stop
    with pytest.raises(KeyboardInterrupt):
        execute(api(n1=("Make", {}), n2=("Show", {"thing": ["1", 0]})), library)


def test_an_exception_of_nothing():
    assert said(Exception(" ")) == "Exception"
