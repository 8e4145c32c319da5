"""A folder as huggingface_hub lays it out in its cache, and as it leaves one after a download that ended early."""

import hashlib
import os
import shutil
from pathlib import Path

FIRST, SECOND = (hashlib.sha1(name).hexdigest() for name in (b"first", b"second"))


def cached(
    hub: Path, name: str, source: Path, revision: str = FIRST, main: bool = True, links: bool = True, age: int = 0
) -> Path:
    """`source` as the snapshot of a model "org/name", whose folder is returned; the source is gone.

    main: whether refs/main names it. links: False as on Windows, where the files lie in the snapshot. age: seconds
    since it was made."""
    repository = hub / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / revision
    for folder in (repository / "blobs", repository / "refs", snapshot, hub / ".locks" / repository.name):
        folder.mkdir(parents=True, exist_ok=True)
    for file in [file for file in sorted(source.rglob("*")) if file.is_file()]:
        place = snapshot / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        file.replace(blob if links else place)
        if links:
            place.symlink_to(os.path.relpath(blob, place.parent))
    if main:
        (repository / "refs" / "main").write_text(revision)
    shutil.rmtree(source)
    made = snapshot.stat().st_mtime - age
    os.utime(snapshot, (made, made))
    return repository


def incomplete(repository: Path) -> Path:
    """A download that was stopped in its first file of weights: nothing is in the snapshots yet."""
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(FIRST)
    (repository / "blobs" / f"{FIRST}.incomplete").write_bytes(bytes(100))
    return repository


def local(folder: Path) -> Path:
    """What huggingface_hub keeps in a folder that it was told to download to."""
    for file in [file for file in sorted(folder.rglob("*")) if file.is_file()]:
        kept = folder / ".cache" / "huggingface" / "download" / file.relative_to(folder)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.with_name(f"{kept.name}.metadata").write_text(f"{FIRST}\n{SECOND}\n1700000000.0\n")
        kept.with_name(f"{kept.name}.lock").write_text("")
    (folder / ".cache" / "huggingface" / ".gitignore").write_text("*")
    return folder
