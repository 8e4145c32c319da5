"""Work in copies of this process, which has one thread: several at a time, or with a disk that fills up."""

import contextlib
import os
import signal
import time
from collections.abc import Callable

from mgt_core import MGTError

from .trials import is_sentence

try:
    import resource
except ImportError:  # Windows, where processes cannot be copied either
    resource = None

DONE, REFUSED, FAULT, KILLED = 0, 1, 2, -signal.SIGTERM


def begin(work: Callable[[], object], bytes_a_file: int | None = None) -> int:
    """`work` in a copy of this process, whose number is returned. bytes_a_file: no file of it gets larger than that;
    the system refuses what goes beyond as it does on a full disk, to native code too."""
    process = os.fork()
    if process:
        return process
    code = FAULT
    with contextlib.suppress(BaseException):
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if bytes_a_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, -1))
        try:
            work()
            code = DONE
        except MGTError as error:
            code = REFUSED if is_sentence(str(error)) else FAULT
    os._exit(code)


def end(process: int, after: float | None = None) -> int:
    """What became of a copy: DONE, REFUSED (in a sentence) or FAULT; KILLED where it was, after some seconds."""
    if after is not None:
        time.sleep(after)
        os.kill(process, signal.SIGTERM)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)
