"""Reading what a stranger may have made: kinds, sizes and shapes are checked before anything is followed or allocated."""

import json
import math
import mmap
import stat
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from deploy.errors import BundleError

Shape = tuple[int, ...]

# Where the messages of ONNX hold one another, by field number (onnx.proto): every way from a model to a tensor.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_OP_TYPE, _EXTERNAL_DATA, _DATA_LOCATION = 4, 13, 14


def plain_file(folder: Path, name: str, limit: int) -> Path:
    """The file of this name in a bundle, once it is known to be a plain file of at most `limit` bytes.

    Raises BundleError for one that is missing, a link (it could lead out of the bundle), a folder or a device, or too large.
    """
    file = folder / name
    try:
        found = file.lstat()
    except FileNotFoundError:
        raise BundleError(f"{folder}: {name} is missing; copy the whole bundle again") from None
    if not stat.S_ISREG(found.st_mode):
        kind = (
            "a symbolic link"
            if stat.S_ISLNK(found.st_mode)
            else "a folder"
            if stat.S_ISDIR(found.st_mode)
            else "a device or a pipe"
        )
        raise BundleError(f"{file} is {kind}; expected a plain file: copy the bundle again, with the files themselves")
    if found.st_size > limit:
        raise BundleError(f"{file} has {found.st_size} bytes, at most {limit} expected; this is none of our exports: delete it")
    return file


def strict_json(raw: bytes) -> Any:
    """JSON in UTF-8 that every reader understands alike.

    Raises ValueError for what is no JSON and for a key that stands twice, NaN, Infinity, a number too large for a float, and
    nesting too deep to read.
    """
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} stands twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shown(text)} is no finite number")
    return number


def shown(text: object, limit: int = 120) -> str:
    """A stranger's words for one of our messages: on one line, without control characters, not endless."""
    line = "".join(sign if sign.isprintable() else "?" for sign in str(text)[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"


def array_heads(file: IO[bytes], names: set[str], limit: int) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    """Shape and type of each array of an `.npz`, from the heads of its entries: no array is allocated.

    Raises ValueError unless it holds exactly these arrays, without pickled objects, each entry exactly as large as its shape
    says, together at most `limit` bytes; and whatever zipfile, zlib and numpy raise for a damaged archive.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) != len(names) or {entry.filename for entry in entries} != {f"{name}.npy" for name in names}:
            raise ValueError(f"holds {shown([entry.filename for entry in entries[:8]])}, expected {' and '.join(sorted(names))}")
        if (size := sum(entry.file_size for entry in entries)) > limit:
            raise ValueError(f"unpacks to {size} bytes, at most {limit} expected")
        heads = {}
        for entry in entries:
            with archive.open(entry) as stream:
                if np.lib.format.read_magic(stream) != (1, 0):
                    raise ValueError(f"{entry.filename} is in another format than numpy's version 1.0")
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
                if dtype.hasobject:
                    raise ValueError(f"{entry.filename} holds pickled objects, which are never unpacked")
                if entry.file_size != stream.tell() + math.prod(shape) * dtype.itemsize:
                    raise ValueError(f"{entry.filename} has another size than its shape {shown(shape)} says")
            heads[entry.filename.removesuffix(".npy")] = (shape, dtype)
    return heads


def check_onnx(file: Path) -> None:
    """Refuse an ONNX file that reads other files: weights kept outside of it, or an engine built elsewhere (EPContext).

    Only the skeleton of the protocol buffer is walked, so the edge needs no onnx package. Raises BundleError.
    """
    with file.open("rb") as stream:
        try:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _walk(data)
        except ValueError as error:
            raise BundleError(f"{file}: {error}; expected an ONNX model that is whole in one file: export it again") from error


def _walk(data: mmap.mmap) -> None:
    waiting = [("model", 0, len(data))]  # a list instead of recursion: graphs within graphs may be as deep as a file is long
    while waiting:
        kind, at, end = waiting.pop()
        while at < end:
            key, at = _varint(data, at, end)
            if key >> 32:  # readers cut it off there, and see another field than we do
                raise ValueError(f"not an ONNX model (byte {at})")
            field, wire = key >> 3, key & 7
            start, value = at, 1
            if wire == 0:
                value, at = _varint(data, at, end)
            elif wire == 2:
                length, start = _varint(data, at, end)
                at = start + length
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise ValueError(f"not an ONNX model (byte {start})")
            if at > end:
                raise ValueError(f"not an ONNX model, or cut off (byte {start})")
            if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value)):
                raise ValueError("keeps weights in another file")
            if kind == "node" and field == _OP_TYPE and data[start:at] == b"EPContext":
                raise ValueError("wraps an engine that was built elsewhere (EPContext)")
            if wire == 2 and (inner := _INSIDE[kind].get(field)):
                waiting.append((inner, start, at))


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"not an ONNX model, or cut off (byte {at})")
