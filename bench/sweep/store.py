"""The folder of a sweep's results: pictures, what made each of them, and summaries."""

import csv
import errno
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from PIL import Image

from mgt_core.errors import MGTError, reason
from mgt_core.files import claimed, replace_file, system_reason, waited_for
from mgt_core.files import sweep as sweep_away

from ..kept import cleaned, json_in, kept
from .sheet import contact_sheet
from .spec import LARGEST_SWEEP, Job
from .worker import Picture

MARKS = "marks.json"  # of weights, by model and parts
SUMMARIES = ("results.csv", "results.json", "contact_sheet.png")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a system says where there is no more room
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
LARGEST_PICTURE = 600 * 2**20  # bytes, more than the largest picture that Pillow opens can take
COSTS = ("seconds", "steps", "calls", "passes")  # figures of every row of a picture, which others reckon with
Done = Callable[[Job, dict], None]  # told of a job that has come to an end, and of its row


class Store:
    """The folder of results. A picture counts as finished when its sidecar is there, which is written last, and both
    are whole. What cannot be written raises MGTError."""

    def __init__(self, folder: Path):
        """Removes what killed processes left unfinished in the folder."""
        self.folder, self.unmarked = folder, None
        with self.writing():
            for kind in ("images", "claims"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
            sweep_away(folder / "images")
            for name in (MARKS, *SUMMARIES):
                sweep_away(folder, name)
            for claim in list((folder / "claims").iterdir()):
                name = claim.name.strip(".").partition(".")[0]  # those of jobs have no dots
                if self.is_kept(name):
                    with claimed(folder / "claims" / name) as mine, suppress(OSError):
                        if mine and claim.suffix == ".lock":  # of older sweeps; others go with the claim
                            claim.unlink()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Whatever the disk refuses ends a sweep, since it would refuse the next picture too."""
        try:
            yield
        except OSError as error:
            advice = "make room there" if error.errno in FULL else "mend that"
            raise MGTError(
                f"{self.folder} takes no more of the sweep ({system_reason(error)}); {advice}, and the same command "
                "goes on, or give another folder"
            ) from None

    def of_weights(self, model: str, parts: Mapping[str, str], mark: str) -> None:
        """Raises MGTError where the folder holds pictures of other weights at the same places. mark: of those there,
        kept from the first picture on."""
        key = json.dumps([model, parts], sort_keys=True)
        if key in marks_in(self.folder / MARKS):
            self.mark(key, mark)
        else:  # weights that make none may yet be mended
            self.unmarked = key, mark

    def mark(self, key: str, mark: str) -> None:
        with self.writing(), waited_for(self.folder / MARKS, lambda: None):
            marks = marks_in(self.folder / MARKS)
            if marks.get(key) == mark:
                return
            if key in marks:
                model, parts = json.loads(key)
                raise MGTError(
                    f"{self.folder} holds pictures of other weights that lay at "
                    f"{' and '.join(map(repr, [model, *parts.values()]))} before; give another folder, or remove it"
                )
            replace_file(self.folder / MARKS, json.dumps(marks | {key: mark}, indent=1).encode())

    def picture(self, job: Job) -> Path:
        return self.folder / "images" / f"{job.name}.png"

    def sidecar(self, job: Job) -> Path:
        return self.picture(job).with_suffix(".json")

    def finished(self, job: Job) -> dict | None:
        """The row of a job whose picture is there, whole and with a row of its own; what was cut is none."""
        row = kept(self.sidecar(job), lambda file: row_in(file, job))
        return row if row and kept(self.picture(job), whole_picture) else None

    @contextmanager
    def claimed(self, job: Job) -> Iterator[bool]:
        """Whether the picture of a job is this process's to make, for as long as the context lasts."""
        with self.writing(), claimed(self.folder / "claims" / job.name) as mine:
            yield mine

    def is_kept(self, name: str) -> bool:
        return (self.folder / "images" / f"{name}.json").is_file()

    def row(self, job: Job, result: Picture | str, attempts: int) -> dict:
        """Of a picture, which is kept, or of why there is none."""
        return failure(job, attempts, result) if isinstance(result, str) else self.keep(job, result, attempts)

    def keep(self, job: Job, made: Picture, attempts: int) -> dict:
        row = {"file": f"images/{job.name}.png", **asdict(job), **made.figures, "attempts": attempts, "error": ""}
        with self.writing():
            if self.unmarked:
                self.mark(*self.unmarked)
                self.unmarked = None
            replace_file(self.picture(job), made.png)
            replace_file(self.sidecar(job), json_of(row))
        return row

    def summary(self, rows: list[dict]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({n: json.dumps(v) if isinstance(v, (dict, list)) else v for n, v in row.items()})
        contents = [text.getvalue().encode(), json_of(rows)]
        if sheet := contact_sheet(self.folder, rows):
            png = io.BytesIO()
            sheet.save(png, "PNG")
            contents.append(png.getvalue())
        with self.writing():
            for name, content in zip(SUMMARIES, contents, strict=False):  # nothing makes no sheet
                replace_file(self.folder / name, content)


def marks_in(file: Path) -> dict[str, str]:
    """Raises MGTError for a file that does not tell: a sweep that went on might mix pictures of two models."""
    if not file.exists():
        return {}
    try:
        marks = json_in(file)
        if not isinstance(marks, dict) or not all(isinstance(mark, str) for mark in marks.values()):
            raise ValueError("it holds no marks by model")
    except (OSError, ValueError) as error:
        raise MGTError(
            f"{file} cannot be read ({reason(error)}), and tells of which weights the pictures beside it are; remove "
            "it where they are of the sweep's, or give another folder"
        ) from None
    return marks


def row_in(file: Path, job: Job) -> dict:
    """Raises ValueError for anything but the row of a finished job."""
    row, told = json_in(file), json.loads(json.dumps({"file": f"images/{job.name}.png", **asdict(job), "error": ""}))
    if not told["parts"]:  # of which sidecars say nothing that are older than these
        del told["parts"]
    if not isinstance(row, dict) or any(name not in row or row[name] != value for name, value in told.items()):
        raise ValueError("it is not of this picture")
    json_of(row)  # raises for half characters, which no summary takes
    if not all(type(row.get(name)) in (int, float) and math.isfinite(row[name]) for name in COSTS):
        raise ValueError(f"it lacks {', '.join(COSTS)}")
    return row


def whole_picture(file: Path) -> bool:
    """Whether all of a PNG is there: it ends, and the checksums of its parts are right. Raises one of several kinds
    of exceptions where they are not."""
    found = file.stat()
    if found.st_size > LARGEST_PICTURE:
        raise ValueError(f"it has more than {LARGEST_PICTURE} bytes")
    return read_whole(file, found.st_size, found.st_mtime_ns)


@lru_cache(LARGEST_SWEEP)
def read_whole(file: Path, size: int, changed: int) -> bool:
    """`whole_picture`, read once for as long as the file stays as it is."""
    with file.open("rb") as stream:
        with Image.open(stream, formats=("PNG",)) as picture:
            picture.verify()
        stream.seek(-len(PNG_END), os.SEEK_END)
        if stream.read() != PNG_END:
            raise ValueError("its end is cut off")
    return True


def json_of(value) -> bytes:
    return json.dumps(cleaned(value), indent=1, ensure_ascii=False, allow_nan=False).encode()


def failure(job: Job, attempts: int, error: str) -> dict:
    return {"file": "", **asdict(job), "attempts": attempts, "error": error}
