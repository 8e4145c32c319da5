"""What was tried and what came of it: one JSON file, whole after every try."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mgt_core.errors import MGTError, reason
from mgt_core.files import replace_file

from ..kept import cleaned, json_in

RUNNING, DONE, FAILED, BROKEN, LEFT_OUT, NO_TIME = "running", "done", "failed", "broken", "left out", "no time"
OPEN = (RUNNING, NO_TIME)  # what may be tried again


@dataclass
class Journal:
    """held: the report. A try goes by its part and its name, and is {"status": …} with, as it came, "figures"; "error"
    and "traceback"; "reason"; and the "seconds" that it took.

    status: done; failed, by an exception; broken, by the end of its process; left out, for a reason that lasts; no
    time; and running, while it is.
    """

    file: Path
    held: dict = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path) -> "Journal":
        """Raises MGTError for a file that is none."""
        try:
            held = json_in(file)
            if not isinstance(held, dict) or not all(isinstance(part, dict) for part in held.get("parts", {}).values()):
                raise ValueError("it holds no parts by name")
        except (OSError, ValueError, AttributeError) as error:
            raise MGTError(f"the journal {file} cannot be read ({reason(error)}); begin the bench again") from None
        return cls(file, held)

    def save(self) -> None:
        """Raises MGTError where the disk does not take it."""
        try:
            replace_file(self.file, (json.dumps(cleaned(self.held), indent=1, allow_nan=False) + "\n").encode())
        except OSError as error:
            raise MGTError(f"the journal {self.file} cannot be written ({error.strerror or reason(error)})") from None

    def head(self, **values) -> None:
        self.held |= values
        self.save()

    def note(self, part: str, name: str, status: str, **values) -> None:
        self.held.setdefault("parts", {}).setdefault(part, {})[name] = {"status": status, **values}
        self.save()

    def entry(self, part: str, name: str) -> dict | None:
        return self.held.get("parts", {}).get(part, {}).get(name)

    def settled(self, part: str, name: str) -> bool:
        """Whether nothing more is to come of it."""
        entry = self.entry(part, name)
        return entry is not None and entry["status"] not in OPEN

    def entries(self) -> Iterator[tuple[str, str, dict]]:
        for part, tries in self.held.get("parts", {}).items():
            for name, entry in tries.items():
                yield part, name, entry

    def running(self) -> tuple[str, str, dict] | None:
        """The try that was begun and has not ended, if there is one."""
        return next(((p, n, entry) for p, n, entry in self.entries() if entry["status"] == RUNNING), None)

    def broke(self, why: str) -> bool:
        """Note that the process of the running try ended; whether there was one."""
        found = self.running()
        if found is not None:
            part, name, entry = found
            self.note(part, name, BROKEN, error=why, seconds=round(time.time() - entry["since"], 1))
        return found is not None
