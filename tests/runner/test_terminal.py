"""What the command says is lines that a terminal can show."""

import logging
import os
import subprocess
import sys

import pytest

import run_workflow
from runner import command as command_module
from runner.problems import WorkflowError
from runner.terminal import Shown, say
from support.fake_nodes import chain, change
from support.pack import ROOT

ESCAPE = "\x1b[31m"


def test_a_log_message_is_one_line_and_a_traceback_keeps_its():
    try:
        raise ValueError(f"bad{ESCAPE}\nworse")
    except ValueError:
        record = logging.LogRecord("x", logging.INFO, "", 1, "Node %s\nfails", (f"a{ESCAPE}",), sys.exc_info())
    first, *lines = Shown().format(record).split("\n")
    assert first == r"Node a\x1b[31m fails"
    assert lines[0].startswith("Traceback") and lines[-2:] == [r"ValueError: bad\x1b[31m", "worse"]


def test_a_path_is_said_as_it_is(capsys):
    """Scripts read it; nothing in it reaches the terminal as a code."""
    say(f"Saved a  b/{'x' * 600}/夜\u3000\u200d.png")
    say(f"Saved a{ESCAPE}\n\u202eb")
    whole, odd, _ = capsys.readouterr().out.split("\n")
    assert whole == f"Saved a  b/{'x' * 600}/夜\u3000\u200d.png"
    assert odd == r"Saved a\x1b[31m\n\u202eb"


def test_many_problems_are_counted(command, monkeypatch):
    def wrong(*_):
        raise WorkflowError([f"{number}{ESCAPE}" for number in range(50)])

    monkeypatch.setattr(command_module, "run_here", wrong)
    code, _, err = command(chain(change(2, 1)))
    lines = err.splitlines()
    assert code == 1 and len(lines) == 22 and lines[1] == r"0\x1b[31m." and lines[-1] == "And 30 more problems."


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RecursionError("deep"), MemoryError(), KeyError("a")]
)
def test_what_nobody_foresaw_is_a_sentence_too(error, command, monkeypatch):
    def fails(*_):
        raise error

    monkeypatch.setattr(command_module, "run_here", fails)
    code, out, err = command(chain(change(2, 1)))
    assert (code, out, err.count("\n")) == (1, "", 1) and err.startswith(f"The run failed: {type(error).__name__}: ")


def test_ctrl_c_while_it_runs_here(command, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_module, "run_here", stopped)
    assert command(chain(change(2, 1))) == (130, "", "Cancelled.\n")


def test_a_title_is_shown_as_it_can_be(command, capsys):
    from runner.progress import LONGEST_LABEL, Bar

    bar = Bar()
    bar.show(1, 2, "1", f"a{ESCAPE}\n" + "b" * 300)
    bar.close()
    shown = capsys.readouterr().err
    labels = [line.split(":")[0] for line in shown.split("\r")[1:]]
    assert labels and all(label.startswith(r"a\x1b[31m b") and len(label) <= LONGEST_LABEL for label in labels)


def test_one_bar_for_a_run_that_ends_sooner_than_it_seemed(capsys):
    from runner.progress import Bar

    bar = Bar()
    for done, total in ((1, 24), (2, 9), (3, 10), (4, 4), (1, 4), (2, 4)):  # and the next run of the same node
        bar.show(done, total, "1", "step")
    bar.close()
    shown = capsys.readouterr().err
    assert shown.count("\n") == 2 and "4/4" in shown.split("\n")[0]


def test_bars_have_an_end(capsys, monkeypatch):
    from runner import progress

    monkeypatch.setattr(progress, "MOST_BARS", 3)
    bar = progress.Bar()
    for number in range(9):
        bar.show(1, 9, str(number), "step")
    bar.close()
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_is_gone(stream, tmp_path):
    """As `| head` leaves one: no traceback, and the run goes on."""
    code = (
        "import sys, runner.command as c\n"
        "c.read_document = lambda file: None\n"
        "c.found = lambda file, shipped: file\n"
        "c.run_here = lambda *_: [*'abc', c.complain('said'), open(sys.argv[1], 'w').close()][:3]\n"
        "sys.exit(c.main(['x']))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    command = [sys.executable, "-c", code, str(tmp_path / "end")]
    done = subprocess.run(command, cwd=ROOT, text=True, **streams)
    os.close(writing)
    assert done.returncode == 0 and (tmp_path / "end").exists()
    assert (done.stdout or done.stderr) in ("said\n", "Saved a\nSaved b\nSaved c\n")


def test_a_terminal_of_few_letters(tmp_path):
    code = "import runner.terminal as t; t.say('Saved ü.png')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, env=environment)
    assert (done.stdout, done.stderr) == (b"Saved \\xfc.png\n", b"")


def test_help_still_names_what_can_be_given(capsys):
    with pytest.raises(SystemExit):
        run_workflow.main(["--help"])
    assert "--server" in capsys.readouterr().out
