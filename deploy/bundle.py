"""The door between the wings: what a bundle holds, how it is checked and loaded."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import BundleError, SignatureError
from deploy.preprocess import Picture, Preprocessing
from deploy.verdict import Thresholds


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateEvidence(_Record):
    """How one candidate compares with FP32 on the test groups, each through the real engine at its own thresholds."""

    pictures: int
    auroc: float | None
    auroc_fp32: float | None
    agreement: float = Field(description="share of pictures with the same verdict as FP32")
    escapes: int
    escapes_fp32: int
    max_difference: float = Field(description="largest difference of a defect probability from the torch model")


class ModelFile(_Record):
    """One ONNX file that passed its gate."""

    file: str
    thresholds: Thresholds
    promises: list[str] = Field(default=[], description="what the validation parts show of each limit at these thresholds")
    gate: GateEvidence


class LeftOut(_Record):
    """A candidate that did not pass, and why."""

    reason: str
    gate: GateEvidence | None = None


class Source(_Record):
    """Where the knowledge came from."""

    backbone: str
    head: str
    origin: str = Field(description="weights file, hub name, or 'from scratch'")
    weights_sha256: str = Field(description="hash of the run's weights.safetensors")


class Data(_Record):
    """Which pictures taught and tested it."""

    name: str
    manifest_sha256: str
    pictures: dict[str, int] = Field(description="pictures per split")
    groups: dict[str, int] = Field(description="groups per split")
    version: int = Field(1, description="version of the dataset's manifest")
    leakage: str = Field("", description="what the split leaks, where a split that leaks was allowed: the figures flatter")


class Calibration(_Record):
    """Which pictures set the INT8 ranges (training groups only)."""

    method: str
    pictures_sha256: list[str]


class BundleSpec(_Record):
    """`bundle.json`."""

    schema_version: Literal[1] = 1
    name: str
    version: int
    created: str
    classes: list[str]
    preprocessing: Preprocessing
    models: dict[str, ModelFile] = Field(description="by precision: fp32, fp16, int8-qdq, int8-cpu")
    left_out: dict[str, LeftOut]
    source: Source
    data: Data
    calibration: Calibration | None
    software: dict[str, str]
    files: dict[str, str] = Field(description="sha256 of every other file of the bundle")


class Signature(_Record):
    """`signature`: Ed25519 over the bytes of `bundle.json`."""

    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str = Field(pattern="^[0-9a-f]{64}$")
    signature: str = Field(pattern="^[0-9a-f]{128}$")


@dataclass(frozen=True)
class Golden:
    """Input pictures and the answers FP32 gave in the lab."""

    frames: Picture
    """N x H x W x 3, BGR, as the graph takes them."""
    probability: npt.NDArray[np.float32]
    """N x C."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose signature and hashes were checked."""

    path: Path
    spec: BundleSpec
    signed_by: str

    def model(self, precision: str) -> ModelFile:
        """The model of one precision; BundleError names what there is and why others were left out."""
        if precision not in self.spec.models:
            why = self.spec.left_out.get(precision)
            raise BundleError(
                f"{self.path} has no {precision} model"
                + (f" (left out: {why.reason})" if why else "")
                + f"; it has {', '.join(self.spec.models)}: choose one of these"
            )
        return self.spec.models[precision]

    def golden(self) -> Golden:
        """Load the golden pictures."""
        with np.load(self.path / "golden.npz", allow_pickle=False) as stored:
            return Golden(stored["frames"], stored["probability"])


def sha256_of(path: Path) -> str:
    """Hash a file without holding it in memory."""
    digest = hashlib.sha256()  # hashlib.file_digest came with Python 3.11; JetPack 6 has 3.10
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def load_bundle(path: Path, trusted_key: str | None = None) -> Bundle:
    """Check the signature, the schema and every file's hash, then load.

    `trusted_key` (64 hex digits) pins who must have signed. Without it the signature only proves that the files are unchanged.
    Raises BundleError or SignatureError naming the file, what was found, what was expected.
    """
    manifest = path / "bundle.json"
    if not manifest.is_file():
        raise BundleError(f"{path}: no bundle.json found, so this is no bundle; make one with `pipeline export RUN`")
    raw = manifest.read_bytes()
    signed_by = _check_signature(path, raw, trusted_key)
    try:
        spec = BundleSpec.model_validate(json.loads(raw))
    except (ValidationError, ValueError) as error:
        raise BundleError(
            f"{manifest}: not a bundle of schema version 1 ({_first_line(error)}); "
            "export it again, or update the inspector if the bundle is newer"
        ) from error
    for name, expected in spec.files.items():
        file = path / name
        if not file.is_file():
            raise BundleError(f"{path}: {name} is missing; copy the whole bundle again")
        found = sha256_of(file)
        if found != expected:
            raise BundleError(
                f"{file} was changed after export: found sha256 {found[:12]}, expected {expected[:12]}; copy the bundle again"
            )
    return Bundle(path, spec, signed_by)


def _check_signature(path: Path, raw: bytes, trusted_key: str | None) -> str:
    file = path / "signature"
    if not file.is_file():
        raise SignatureError(f"{path}: no signature file found; copy the whole bundle again, or export it again")
    try:
        signature = Signature.model_validate_json(file.read_bytes())
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public_key))
        key.verify(bytes.fromhex(signature.signature), raw)
    except (ValidationError, ValueError, InvalidSignature) as error:
        raise SignatureError(
            f"{path}/bundle.json does not match its signature: it was changed after export; copy the bundle again"
        ) from error
    if trusted_key is not None and signature.public_key != trusted_key.strip().lower():
        raise SignatureError(
            f"{path} was signed by {signature.public_key[:16]}…, expected {trusted_key[:16]}…; "
            "use a bundle of your own lab, or trust this key"
        )
    return signature.public_key


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0]
