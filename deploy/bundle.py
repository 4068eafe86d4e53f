"""The door between the wings: how a bundle is checked and loaded."""

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from deploy.bundle_spec import PRECISIONS, REFERENCE, SCHEMA_VERSION, BundleSpec, Judged, ModelFile, Signature, is_name
from deploy.errors import BundleError, SignatureError
from deploy.preprocess import Picture
from deploy.untrusted import array_heads, check_onnx, plain_file, shown, strict_json

GOLDEN, PAPERS = "golden.npz", ("bundle.json", "signature")

# Far above what export writes: a bundle that says more is refused before it is read.
MAX_FILES = 64
MAX_FILE_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 4 << 20
MAX_SIGNATURE_BYTES = 4 << 10
MAX_GOLDEN_BYTES = 512 << 20


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

    def judged(self, precision: str, runtime: str) -> Judged:
        """What the lab found of this model in this engine; of one that the lab does not have, what it found in onnxruntime.

        Raises BundleError where it did not pass.
        """
        engines = self.model(precision).engines
        judged = engines.get(runtime) or engines[REFERENCE]
        if judged.refused:
            passed = [name for name, found in engines.items() if not found.refused]
            raise BundleError(
                f"{precision} of {self.path} did not pass the gate in {runtime} ({judged.refused}); "
                f"it did in {', '.join(passed)}: choose that, or fp32"
            )
        return judged

    def golden(self) -> Golden:
        """Load the golden pictures. Raises BundleError when they were changed since the bundle was loaded."""
        file = plain_file(self.path, GOLDEN, MAX_FILE_BYTES)
        raw = file.read_bytes()
        _check_hash(file, hashlib.sha256(raw).hexdigest(), self.spec.files[GOLDEN])
        _check_golden(file, io.BytesIO(raw), self.spec)
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
                return Golden(stored["frames"], stored["probability"])
        except Exception as error:  # zipfile, zlib and numpy each raise their own for a damaged archive
            raise BundleError(f"{file}: cannot be unpacked ({shown(error)}); export the bundle again") from error

    def against(self, other: "Bundle") -> Literal["newer", "older", "same", "same version, other content", "other product"]:
        """What this bundle is, seen from the other: versions compare within one name; who signed is for load_bundle to check."""
        if self.spec.name != other.spec.name:
            return "other product"
        if self.spec.version != other.spec.version:
            return "newer" if self.spec.version > other.spec.version else "older"
        return "same" if self.spec == other.spec else "same version, other content"


def sha256_of(path: Path) -> str:
    """Hash a file without holding it in memory."""
    digest = hashlib.sha256()  # hashlib.file_digest came with Python 3.11; JetPack 6 has 3.10
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def load_bundle(path: Path, trusted_key: str | None = None) -> Bundle:
    """Check the signature, then the manifest, then every file, and load. Nothing in a bundle is executed or unpickled.

    `trusted_key` (64 hex digits, the line in `signing_key.pub`) pins who must have signed. Without it the signature only proves
    that the files are unchanged. The folder holds the files of the manifest, `bundle.json` and `signature` and nothing else,
    all of them plain files.
    Raises BundleError or SignatureError naming the file, what was found, what was expected.
    """
    try:
        if path.is_file():
            raise BundleError(f"{path} is a file, and a bundle is a folder; give the folder, or unpack it first")
        if not _there(path / "bundle.json"):
            raise BundleError(f"{path}: no bundle.json found, so this is no bundle; make one with `pipeline export RUN`")
        raw = plain_file(path, "bundle.json", MAX_MANIFEST_BYTES).read_bytes()
        signed_by = _check_signature(path, raw, trusted_key)
        spec = _parse(path / "bundle.json", raw)
        _check_files(path, spec)
    except OSError as error:
        reason = error.strerror or error
        raise BundleError(f"{error.filename or path}: cannot be read ({reason}); check its permissions and the disk") from error
    return Bundle(path, spec, signed_by)


def _check_signature(path: Path, raw: bytes, trusted_key: str | None) -> str:
    trusted = trusted_key.strip().lower() if trusted_key is not None else None
    if trusted is not None and not re.fullmatch("[0-9a-f]{64}", trusted):
        raise SignatureError(
            f"the trusted key {shown(trusted, 20)!r} is no public key; expected 64 hex digits, "
            "the line that `pipeline keygen` wrote to signing_key.pub"
        )
    if not _there(path / "signature"):
        wanted = f"only bundles signed by {trusted[:16]}… are taken" if trusted else "unsigned bundles are not taken"
        raise SignatureError(f"{path}: no signature file found, and {wanted}; copy the whole bundle again, or export it again")
    content = plain_file(path, "signature", MAX_SIGNATURE_BYTES).read_bytes()
    try:
        signature = Signature.model_validate(strict_json(content))
        if content not in (signature.content(), signature.model_dump_json().encode()):
            raise ValueError("not as export writes it")  # a changed blank leaves the meaning, but someone was at the file
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public_key))
        key.verify(bytes.fromhex(signature.signature), raw)
    except (ValidationError, ValueError, InvalidSignature) as error:
        raise SignatureError(
            f"{path}/bundle.json does not match its signature: it was changed after export; copy the bundle again"
        ) from error
    if trusted is not None and signature.public_key != trusted:
        raise SignatureError(
            f"{path} was signed by {signature.public_key[:16]}…, expected {trusted[:16]}…; "
            "use a bundle of your own lab, or trust this key"
        )
    return signature.public_key


def _parse(manifest: Path, raw: bytes) -> BundleSpec:
    try:
        content = strict_json(raw)
        found = content.get("schema_version", SCHEMA_VERSION) if isinstance(content, dict) else SCHEMA_VERSION
        if isinstance(found, bool) or found != SCHEMA_VERSION:
            raise BundleError(f"{manifest}: {_other_schema(found, content)}")
        spec = BundleSpec.model_validate(content)
    except (ValidationError, ValueError) as error:
        raise BundleError(
            f"{manifest}: not a bundle of schema version {SCHEMA_VERSION} ({_first_line(error)}); "
            "export it again, or update the inspector if the bundle is newer"
        ) from error
    if wrong := _wrong(spec):
        raise BundleError(f"{manifest}: {wrong}; this is none of our exports: do not use it, and export the bundle again")
    return spec


def _other_schema(found: Any, content: dict[str, Any]) -> str:
    software = content.get("software")
    maker = software.get("line-inspector") if isinstance(software, dict) else None
    needed = f"line-inspector {shown(maker, 40)} or newer" if maker else "a newer line-inspector"
    return (
        f"schema version {shown(found, 40)} found, but this inspector reads version {SCHEMA_VERSION}; "
        f"install {needed} here, or export the bundle again with the version of line-inspector that runs here"
    )


def _wrong(spec: BundleSpec) -> str | None:
    """What a signed manifest must not say: names that lead out of the folder, files without a hash, sizes nobody exports."""
    if not is_name(spec.name):
        return f"the name {shown(spec.name)!r} is found; expected letters, digits, . _ and -"
    if not 1 <= spec.version < 1 << 31:  # as wide as every database takes it
        return f"version {shown(spec.version, 40)} is found; expected 1 to {(1 << 31) - 1}"
    if spec.classes != ["good", "defective"]:
        return f"classes {shown(spec.classes)} are found; expected good and defective, in this order"
    if len(spec.files) > MAX_FILES:
        return f"{len(spec.files)} files are listed; at most {MAX_FILES} expected"
    for name, digest in spec.files.items():
        # One flat folder: no separators, drive letters or `..`, and nothing that Windows reads as another name.
        if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?", name) or name in PAPERS:
            return f"the file name {shown(name)!r} is listed; expected plain names of files in the bundle's own folder"
        if not re.fullmatch("[0-9a-f]{64}", digest):
            return f"{name} is listed without a sha256"
    if GOLDEN not in spec.files:
        return f"{GOLDEN} is not listed; without it no device can check itself"
    for precision, model in spec.models.items():
        if precision not in PRECISIONS:
            return f"a model {shown(precision)!r} is listed; expected {', '.join(PRECISIONS)}"
        if model.file not in spec.files or not model.file.endswith(".onnx"):
            return f"the {precision} model is {shown(model.file)!r}; expected one of the listed files that end in .onnx"
        if REFERENCE not in model.engines or all(judged.refused for judged in model.engines.values()):
            return f"the {precision} model did not pass in {REFERENCE} or in any engine; export ships none such"
    if not all(0 <= colour <= 255 for colour in spec.preprocessing.pad_bgr):
        return f"pad_bgr {shown(spec.preprocessing.pad_bgr)} is found; expected colours of 0 to 255"
    return None


def _check_files(path: Path, spec: BundleSpec) -> None:
    for name, expected in spec.files.items():
        file = plain_file(path, name, MAX_FILE_BYTES)
        _check_hash(file, sha256_of(file), expected)
    for entry in path.iterdir():
        if entry.name not in spec.files and entry.name not in PAPERS:
            raise BundleError(
                f"{path}: {shown(entry.name)!r} is not part of the bundle, and nobody signed it; "
                "move it out (what a device makes belongs beside a bundle, never into it)"
            )
    for model in spec.models.values():
        check_onnx(path / model.file)
    with (path / GOLDEN).open("rb") as stream:
        _check_golden(path / GOLDEN, stream, spec)


def _check_hash(file: Path, found: str, expected: str) -> None:
    if found != expected:
        raise BundleError(
            f"{file} was changed after export: found sha256 {found[:12]}, expected {expected[:12]}; copy the bundle again"
        )


def _check_golden(file: Path, stream: IO[bytes], spec: BundleSpec) -> None:
    """Golden pictures are N x H x W x 3 uint8 of the bundle's input size with N x C float32 answers, and of bearable size."""
    try:
        heads = array_heads(stream, {"frames", "probability"}, MAX_GOLDEN_BYTES)
        (frames, pixel), (probability, number) = heads["frames"], heads["probability"]
        count = frames[0] if frames else 0
        size = (spec.preprocessing.height, spec.preprocessing.width, 3)
        if count < 1 or pixel != np.uint8 or frames != (count, *size):
            raise ValueError(f"frames are {shown(frames)} {shown(pixel)}, expected N x {size} uint8")
        if number != np.float32 or probability != (count, len(spec.classes)):
            raise ValueError(
                f"probability is {shown(probability)} {shown(number)}, expected {(count, len(spec.classes))} float32"
            )
        for precision, model in spec.models.items():
            if len(model.golden) != count:
                raise ValueError(f"{len(model.golden)} answers of {precision} are listed for {count} pictures")
    except Exception as error:  # zipfile, zlib and numpy each raise their own for a damaged archive
        raise BundleError(
            f"{file}: no golden pictures as export writes them ({shown(error, 200)}); do not use this bundle, and export it again"
        ) from error


def _there(file: Path) -> bool:
    return file.exists() or file.is_symlink()


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return shown(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", 200)
    return shown((str(error).splitlines() or [""])[0], 200)
