"""The folder of a sweep's results: pictures, what made each of them, and summaries."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from mgt_core.errors import MGTError
from mgt_core.files import claimed, replace_file, waited_for

from .sheet import contact_sheet
from .spec import Job
from .worker import Picture

MARKS = "marks.json"  # of weights, by model and parts
Done = Callable[[Job, dict], None]  # told of a job that has come to an end, and of its row


class Store:
    """The folder of results. A picture counts as finished when its sidecar is there, which is written last."""

    def __init__(self, folder: Path):
        self.folder, self.unmarked = folder, None
        for kind in ("images", "claims"):
            (folder / kind).mkdir(parents=True, exist_ok=True)

    def of_weights(self, model: str, parts: Mapping[str, str], mark: str) -> None:
        """Raises MGTError where the folder holds pictures of other weights at the same places. mark: of those there,
        kept from the first picture on."""
        key = json.dumps([model, parts], sort_keys=True)
        if key in marks_in(self.folder / MARKS):
            self.mark(key, mark)
        else:  # weights that make none may yet be mended
            self.unmarked = key, mark

    def mark(self, key: str, mark: str) -> None:
        with waited_for(self.folder / MARKS, lambda: None):
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
        """The row of a job whose picture is there."""
        if self.picture(job).is_file() and self.sidecar(job).is_file():
            return json.loads(self.sidecar(job).read_text("utf-8"))
        return None

    def claimed(self, job: Job) -> AbstractContextManager[bool]:
        """Whether the picture of a job is this process's to make, for as long as the context lasts."""
        return claimed(self.folder / "claims" / job.name)

    def row(self, job: Job, result: Picture | str, attempts: int) -> dict:
        """Of a picture, which is kept, or of why there is none."""
        return failure(job, attempts, result) if isinstance(result, str) else self.keep(job, result, attempts)

    def keep(self, job: Job, made: Picture, attempts: int) -> dict:
        row = {"file": f"images/{job.name}.png", **asdict(job), **made.figures, "attempts": attempts, "error": ""}
        if self.unmarked:
            self.mark(*self.unmarked)
            self.unmarked = None
        replace_file(self.picture(job), made.png)
        replace_file(self.sidecar(job), json.dumps(row, indent=1, ensure_ascii=False).encode())
        return row

    def summary(self, rows: list[dict]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({n: json.dumps(v) if isinstance(v, (dict, list)) else v for n, v in row.items()})
        replace_file(self.folder / "results.csv", text.getvalue().encode())
        replace_file(self.folder / "results.json", json.dumps(rows, indent=1, ensure_ascii=False).encode())
        if sheet := contact_sheet(self.folder, rows):
            png = io.BytesIO()
            sheet.save(png, "PNG")
            replace_file(self.folder / "contact_sheet.png", png.getvalue())


def marks_in(file: Path) -> dict[str, str]:
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def failure(job: Job, attempts: int, error: str) -> dict:
    return {"file": "", **asdict(job), "attempts": attempts, "error": error}
