"""How the commands of benches end: in a sentence, whatever stops them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mgt_core.errors import MGTError, shown_text
from mgt_core.files import system_reason
from mgt_core.interrupted import CANCELLED


@contextmanager
def in_a_sentence(name: str) -> Iterator[None]:
    """Ends the process with what a bad input, the system or a person has stopped the block by. name: of the command."""
    try:
        yield
    except MGTError as error:
        sys.exit(f"{name}: {error}")
    except OSError as error:  # of a full disk, or files that may not be read
        named = "a file" if error.filename is None else error.filename
        told = f"{named} cannot be read or written ({system_reason(error)})"
        sys.exit(shown_text(f"{name}: {told}; mend that, and the same command goes on from here"))
    except KeyboardInterrupt:
        if sys.stderr:
            sys.stderr.write("Cancelled.\n")
        sys.exit(CANCELLED)
