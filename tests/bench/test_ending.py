"""How the commands of benches end: in a sentence, whatever stops them."""

import errno

import pytest

from bench.ending import in_a_sentence
from bench.laboratory.__main__ import main as laboratory
from bench.quality.__main__ import main as quality
from mgt_core import MGTError
from support.trials import is_sentence

ENDS = {
    MGTError("steps is 0"): "lab: steps is 0",
    OSError(errno.ENOSPC, "No space left on device", "/a"): "lab: /a cannot be read or written (No space left on "
    "device); mend that, and the same command goes on from here",
    KeyboardInterrupt(): 130,
}


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_what_stops_it_is_told_in_a_sentence(error):
    with pytest.raises(SystemExit) as ended, in_a_sentence("lab"):
        raise error
    assert ended.value.code == ENDS[error]


def test_faults_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), in_a_sentence("lab"):
        raise ZeroDivisionError


@pytest.mark.parametrize("command", [laboratory, quality])
def test_a_folder_that_takes_nothing(command, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="mend that") as ended:
        command(["--work", str(tmp_path / "file" / "work"), "--into", str(tmp_path)])
    assert is_sentence(ended.value.code) and "file" in ended.value.code
