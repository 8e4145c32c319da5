"""The picture that the editing workflows open with, laid where the host's Load Image finds it.

It has a name of its own, since a host's example.png is another picture. A file of this name that lies there stays.
"""

import logging
import os
from pathlib import Path

from ..mgt_core.files import written_whole
from . import host

NAME = "mgt_example.png"
SOURCE = host.PACK / "workflows" / NAME


def offer(folder: Path | None) -> None:
    """Copies the picture into the folder unless something of its name is there. What cannot be done is left: the
    workflow then says which picture is missing, and everything else works."""
    if folder is None or os.path.lexists(folder / NAME):
        return
    try:
        content = SOURCE.read_bytes()
        if folder.is_dir():  # a host makes its own where it wants one
            with written_whole(folder / NAME) as place:
                place.write_bytes(content)
    except OSError as error:
        logging.getLogger(__name__).debug("%s was not copied to %s: %s", NAME, folder, error)
