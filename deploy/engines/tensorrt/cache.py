"""Engines and timings kept beside the bundle, never in it, each sealed with what it was made for and its hash.

An engine serves only the GPU and the TensorRT that built it; a file that merely exists proves neither. Whoever can write this
folder can put code on the device, as with the installed software itself: keep it as writable as that.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.files import write_bytes_whole
from deploy.untrusted import shown

RECIPE = 1
"""Raise it when build.py builds otherwise: engines of before are then stale."""

_MAX_HEAD = 1 << 16


@dataclass(frozen=True)
class Identity:
    """What an engine is good for."""

    gpu: str
    capability: str
    tensorrt: str
    precision: str
    onnx_sha256: str
    max_batch: int
    recipe: int = RECIPE


class Unusable(Exception):
    """A kept file that is torn or was made for something else; the message says which."""


def folder_beside(file: Path) -> Path:
    """`bundles/engines/part-3` for `bundles/part-3/model.onnx`: among the bundles, but not to be taken for one."""
    bundle = file.resolve().parent
    return bundle.parent / "engines" / bundle.name


def engine_file(folder: Path, what: Identity) -> Path:
    """Where the engine of this identity is kept."""
    device = _device(what.gpu, what.capability, what.tensorrt)
    return folder / f"{device}-{what.precision}-b{what.max_batch}-{what.onnx_sha256[:16]}.engine"


def timing_file(folder: Path, what: Identity) -> Path:
    """Where kernel timings are kept. They depend on the device and TensorRT alone, so all precisions of a bundle share them."""
    return folder / f"{_device(what.gpu, what.capability, what.tensorrt)}.timing"


def timing_identity(what: Identity) -> dict[str, Any]:
    """What a timing file is sealed with."""
    return {"gpu": what.gpu, "capability": what.capability, "tensorrt": what.tensorrt}


def engine_identity(what: Identity) -> dict[str, Any]:
    """What an engine file is sealed with."""
    return asdict(what)


def seal(file: Path, about: dict[str, Any], content: bytes) -> None:
    """Write one line of JSON (`about`, size and hash of the content) and the content, whole or not at all. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    head = {**about, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_bytes_whole(file, json.dumps(head).encode() + b"\n" + content)


def unseal(file: Path, about: dict[str, Any]) -> tuple[dict[str, Any], bytes] | None:
    """The head and the content of a sealed file; None when there is none. Raises Unusable unless it is whole and about this."""
    try:
        with file.open("rb") as stream:
            line = stream.readline(_MAX_HEAD)
            content = stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror or error})") from error
    try:
        head = json.loads(line)
        size, digest = head["bytes"], head["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable("has no readable head") from error
    for key, wanted in about.items():
        if head.get(key) != wanted:
            raise Unusable(f"was made for {key} {shown(head.get(key), 60)}, not {shown(wanted, 60)}")
    if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
        raise Unusable(f"is torn or was changed ({len(content)} of {shown(size, 20)} bytes)")
    return head, content


def _device(gpu: str, capability: str, tensorrt: str) -> str:
    return f"{re.sub('[^A-Za-z0-9]+', '-', gpu).strip('-')}-sm{capability.replace('.', '')}-trt{tensorrt}"
