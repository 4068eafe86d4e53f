"""What the files of a bundle say: `bundle.json`, which is all that the training wing tells the edge wing, and `signature`."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.preprocess import Preprocessing
from deploy.reference import GoodPictures
from deploy.verdict import Thresholds

SCHEMA_VERSION = 2
REFERENCE = "onnxruntime"
"""The engine that every bundle was judged in; it stands for those that only the device has."""
PRECISIONS = ("fp32", "fp16", "int8-qdq", "int8-cpu")


def is_name(text: str) -> bool:
    """May a bundle be called so? Folders and records are filed under its name."""
    return re.fullmatch(r"[A-Za-z0-9._-]{1,200}", text) is not None and text.strip(".") != ""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateEvidence(_Record):
    """How one candidate compares with FP32 on the test groups, each through the real engine at its own thresholds."""

    pictures: int
    auroc: float | None
    auroc_fp32: float | None
    agreement: float = Field(description="share of pictures with the same verdict as FP32")
    repeatability: float = Field(1.0, description="share of pictures with FP32's verdict again in another shot of the part")
    auroc_again: float | None = Field(None, description="FP32's lowest AUROC in other shots of the same parts")
    escapes: int
    escapes_fp32: int
    max_difference: float = Field(description="largest difference of a defect probability from the torch model")


class Judged(_Record):
    """What the lab found of one model in one engine."""

    thresholds: Thresholds
    promises: list[str] = Field(default=[], description="what the validation parts show of each limit at these thresholds")
    gate: GateEvidence
    refused: str = Field("", description="why it does not pass the gate; empty when it does")


class Int8(_Record):
    """How a model was quantised."""

    share: float = Field(description="share of multiplications that the graph has in INT8; onnxruntime fuses few of them")
    ranges: str = Field(description="how the ranges of activations were chosen")
    in_float: list[str] = Field(description="convolutions left in floating point, the most sensitive first")
    tuned: bool = Field(description="fine-tuned for its quantisation")


class ModelFile(_Record):
    """One ONNX file that passed its gate in at least one engine."""

    file: str
    engines: dict[str, Judged] = Field(description="by runtime, as far as the lab has them")
    golden: list[float] = Field(description="defect probabilities of the golden pictures, as the lab's onnxruntime gave them")
    int8: Int8 | None = None


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

    pictures_sha256: list[str]


class BundleSpec(_Record):
    """`bundle.json`."""

    schema_version: Literal[2] = 2
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
    reference: GoodPictures | None = None
    software: dict[str, str]
    files: dict[str, str] = Field(description="sha256 of every other file of the bundle")


class Signature(_Record):
    """`signature`: Ed25519 over the bytes of `bundle.json`."""

    algorithm: Literal["ed25519"] = "ed25519"
    public_key: str = Field(pattern="^[0-9a-f]{64}$")
    signature: str = Field(pattern="^[0-9a-f]{128}$")

    def content(self) -> bytes:
        """The file as export writes it."""
        return self.model_dump_json(indent=2).encode()
