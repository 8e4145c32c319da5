"""Files that are written whole or not at all, and by one process at a time (folders: folders.py)."""

import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from safetensors import SafetensorError

from .errors import MGTError, reason

try:
    import fcntl
except ImportError:  # Windows, where one process at a time has to do
    fcntl = None

PATIENCE = 1.0  # seconds in which a claim is looked at again: who sweeps a folder holds those in it for an instant
PAUSE = 1.0  # seconds between two looks at what another process has claimed
ABANDONED = 24 * 3600  # seconds after which what is unfinished is nobody's, where a lock cannot tell
UNFINISHED = ".part"  # ending of files that are being written
UNSUPPORTED = (
    errno.EBADF,
    errno.EINVAL,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
)  # what systems say that do not write a folder, or a file on a share, when they are told
LOCK = ".mgt-lock"  # ending of the hidden, empty file that is locked by whom a file or folder is claimed


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A hidden place beside `path` to write to; what lies there takes the place of `path` when the block ends, with its
    content on the disk before. A block that raises leaves `path` as it was, and nothing beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    with partial.open("wb") as held:
        lock(held)  # by which `sweep` tells that it is not left over
        try:
            yield partial
            to_disk(partial)
            if fcntl:  # elsewhere an open file cannot be renamed
                os.replace(partial, path)
        except BaseException:
            held.close()
            with suppress(OSError):
                partial.unlink()
            raise
    if not fcntl:
        os.replace(partial, path)
    to_disk(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process ends."""
    with written_whole(path) as partial:
        partial.write_bytes(content)


def to_disk(path: Path) -> None:
    """Has the system write what it holds of a file, or of a folder's names, where it can. Raises OSError where that
    fails, as on a disk that is full or damaged."""
    try:
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


@contextmanager
def writing(path: Path, advice: str = "") -> Iterator[None]:
    """Raises MGTError, with the system's reason, where the block cannot write what is to lie at `path`."""
    try:
        yield
    except (OSError, SafetensorError, UnicodeEncodeError) as error:
        why, cause = system_reason(error), error
    except ValueError as error:
        if isinstance(error, MGTError) or "embedded null" not in str(error):  # in the name of a file
            raise
        why, cause = reason(error), error
    except RuntimeError as error:  # of torch, which says where in its own code that was; the system's word came before
        if not isinstance(error.__context__, OSError):
            raise
        why, cause = system_reason(error.__context__), error
    else:
        return
    raise MGTError(f"{path} cannot be written ({why})" + (f"; {advice}" if advice else "")) from cause


def system_reason(error: BaseException) -> str:
    """What the system says, without its number and the names of files."""
    return getattr(error, "strerror", None) or reason(error)


def sweep(folder: Path, name: str = "*") -> None:
    """Removes what killed processes left unfinished of files called `name` (a pattern) in a folder."""
    for file in folder.glob(f".{name}.{'[0-9a-f]' * 8}{UNFINISHED}"):  # as `written_whole` names them
        with suppress(OSError), open(file, "rb", opener=plain) as held:
            if lock(held, unsure=abandoned(file)):
                file.unlink()


def abandoned(path: Path) -> bool:
    """Whether what is unfinished has not been touched for so long that nobody writes it."""
    return time.time() - path.lstat().st_mtime > ABANDONED


def plain(path: str, flags: int) -> int:
    """Opens a file, for `open`. Raises OSError for whatever else lies there: links lead elsewhere, and pipes wait."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(errno.EINVAL, f"{os.path.basename(path)} is no plain file; remove it", str(path))
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def lock(stream: IO, unsure: bool = True) -> bool:
    """Whether an open file is this process's alone from now on, until it is closed. unsure: the answer where there are
    no locks."""
    if not fcntl:
        return unsure
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return unsure
    return True


@contextmanager
def claimed(path: Path, unsure: bool = True) -> Iterator[bool]:
    """Whether `path` is this process's to write for now; a claim ends with its process, however that ends. unsure: the
    answer where there are no locks."""
    place, mine = path.parent / f".{path.name}{LOCK}", False
    try:
        with locked_file(place) as stream:
            mine = lock(stream, unsure)
            try:
                yield mine
            finally:
                if mine and fcntl:
                    with suppress(OSError):
                        place.unlink()  # while it is locked: see `locked_file`
    finally:
        if mine and not fcntl:  # Windows keeps what is open
            with suppress(OSError):
                place.unlink()


def locked_file(place: Path) -> IO:
    """The file at `place`, open, and locked where nobody else has it: not one that its owner has just removed."""
    while True:
        stream = open(place, "a", opener=plain)
        if not fcntl or not lock(stream):
            return stream
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), place.stat()):
                return stream
        stream.close()


@contextmanager
def alone(path: Path, doing: str) -> Iterator[None]:
    """The block has `path` to itself, whose folder is made. Raises MGTError where another process has it, whose work is
    `doing` (a verb), and where nothing can be written there."""
    last = time.monotonic() + PATIENCE
    with ExitStack() as held:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            while not (mine := held.enter_context(claimed(path))) and time.monotonic() < last:
                held.close()
                time.sleep(PATIENCE / 20)
        if not mine:
            raise MGTError(f"another process is {doing} {path} now; wait until it ends, or choose another name")
        yield


@contextmanager
def waited_for(path: Path, told: Callable[[], None]) -> Iterator[None]:
    """`path` is this process's to write, as soon as it is no other's. told: called once, where that is not at once."""
    first = True
    while True:
        with claimed(path) as mine:
            if mine:
                yield
                return
        if first:
            told()
        first = False
        time.sleep(PAUSE)
