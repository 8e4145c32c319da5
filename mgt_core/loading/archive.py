"""The directory of a zip file of torch.save, read without trusting it."""

import struct
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

START = b"PK\x03\x04"
MAX_DIRECTORY = 4 * 2**20  # bytes; 40,000 tensors
END = struct.Struct("<4s4H2LH")  # PK56: ..., size and place of the directory, length of a comment
END64 = struct.Struct("<4sQ2H2L4Q")  # PK66: ..., size and place
LOCATOR = struct.Struct("<4sLQL")  # PK67: ..., place of END64, ...


class Broken(Exception):
    """What a file of tensors cannot be; the message says it of "it"."""


@dataclass(frozen=True)
class Entry:
    info: zipfile.ZipInfo
    size: int
    place: int


def is_zip(stream: BinaryIO) -> bool:
    """As torch.load tells them."""
    stream.seek(0)
    return stream.read(len(START)) == START


def entries_of(stream: BinaryIO, total: int) -> tuple[zipfile.ZipFile, dict[str, Entry]]:
    """The open archive, and its entries by their names below the folder that all of them lie in. Nothing in it is
    larger than the file. Raises Broken, or what zipfile raises, for an archive that torch.save does not write."""
    check_end(stream, total)
    archive = zipfile.ZipFile(stream)
    infos = archive.infolist()
    if any(info.filename.endswith("/constants.pkl") for info in infos):
        raise Broken("it holds a program of TorchScript, which is not run")
    if sum(info.file_size for info in infos) > total or any(map(is_packed, infos)):
        raise Broken("it is compressed, which files of torch.save are not; it may grow to any size")
    if len({info.filename.casefold() for info in infos}) < len(infos):
        raise Broken("it holds two parts of one name")
    top = infos[0].filename.split("/")[0] if infos else ""
    inside = {info.filename.removeprefix(f"{top}/"): info for info in infos}
    return archive, {name: Entry(info, info.file_size, info.header_offset) for name, info in inside.items()}


def is_packed(info: zipfile.ZipInfo) -> bool:
    return info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or bool(info.flag_bits & 1)


def check_end(stream: BinaryIO, total: int) -> None:
    """Raises Broken unless the directory lies right before the end of the file, where every reader finds the same."""
    at = total - END.size
    stream.seek(max(0, at - LOCATOR.size))
    data = stream.read(LOCATOR.size + END.size)
    if len(data) < LOCATOR.size + END.size:
        raise Broken("it is cut off")
    signature, *_, size, place, comment = END.unpack(data[LOCATOR.size :])
    if data.startswith(b"PK\x06\x07"):
        at -= LOCATOR.size + END64.size
        stream.seek(max(0, at))
        large, *_, size, place = END64.unpack(stream.read(END64.size))
        if large != b"PK\x06\x06" or LOCATOR.unpack(data[: LOCATOR.size])[2] != at:
            raise Broken("its directory is not where it should be")
    if signature != b"PK\x05\x06" or comment or place + size != at:
        raise Broken("it is cut off, or its directory is not where it should be")
    if size > MAX_DIRECTORY:
        raise Broken(f"its directory has {size} bytes; accepted are up to {MAX_DIRECTORY}")
