"""The rule that picks what a device runs, and the record that it leaves beside the bundle: `engines/<bundle>/choice.json`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deploy.bundle import Bundle
from deploy.bundle_spec import PRECISIONS
from deploy.engines import RUNTIMES
from deploy.engines.tensorrt.cache import folder_beside
from deploy.errors import BundleError, GoldenMismatch
from deploy.files import write_whole
from deploy.installation.machine import Machine
from deploy.untrusted import shown, strict_json

MAX_BYTES = 1 << 20
Outcome = Literal["agrees", "differs", "not passed in the lab", "cannot run here", "failed"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(_Record):
    """One picture at a time, from the letterboxed picture in memory to the answer in memory."""

    p50_ms: float = Field(gt=0, description="half of the pictures took no longer, in milliseconds")
    p99_ms: float = Field(gt=0, description="99 of 100 pictures took no longer, in milliseconds")
    per_second: float = Field(gt=0, description="pictures per second, one after the other")
    pictures: int = Field(gt=0, description="how many were timed")
    times_fp32: float | None = Field(None, description="times as fast as fp32 on the same engine, by p50; null without one")


class PairFound(_Record):
    """What this device showed of one model in one engine."""

    precision: str
    runtime: str
    outcome: Outcome
    refused: str = Field("", description="why it is not chosen from; empty when it agrees with the lab")
    engine: str = Field("", description="what really ran, with its version and device")
    pictures: int = Field(0, description="golden pictures that were answered")
    other_verdicts: int = Field(0, description="golden pictures with another verdict than the lab's answer of this model gets")
    difference: float | None = Field(None, description="largest difference from the lab's defect probabilities")
    tolerance: float | None = Field(None, description="largest difference that is allowed")
    latency: Latency | None = Field(None, description="null when it was refused, as that is not timed")

    @model_validator(mode="after")
    def _reasoned(self) -> "PairFound":
        if (self.outcome == "agrees") != (not self.refused):
            raise ValueError(f"{self.precision} on {self.runtime}: {self.outcome}, but the reason is {self.refused!r}")
        return self

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.precision} on {self.runtime}"


class Measured(_Record):
    """What `inspector bench` writes."""

    schema_version: Literal[1] = 1
    bundle: str = Field(description="the bundle's name")
    version: int
    bundle_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="hash of its bundle.json")
    signed_by: str
    measured: str = Field(description="when, as ISO 8601 in UTC")
    machine: Machine
    runtimes: dict[str, str] = Field(description="versions of the runtimes that are here")
    threads: int | None = Field(None, description="threads on the CPU; null: as each runtime likes, which is how it will run")
    pairs: list[PairFound]


class Choice(Measured):
    """`choice.json`: a measurement and what was chosen by it."""

    precision: str
    runtime: str

    @model_validator(mode="after")
    def _chosen_agreed(self) -> "Choice":
        if self.precision not in PRECISIONS or self.runtime not in RUNTIMES:
            raise ValueError(f"{self.precision} on {self.runtime} is chosen, and there is no such model or engine")
        if not any((pair.precision, pair.runtime) == (self.precision, self.runtime) for pair in self.pairs if not pair.refused):
            raise ValueError(f"{self.precision} on {self.runtime} is chosen, but did not agree")
        return self


def choose(pairs: Sequence[PairFound]) -> PairFound:
    """The fastest that agrees, by p50; of equals the nearer to fp32 on onnxruntime. Raises GoldenMismatch when none agrees."""
    timed = [(pair.latency.p50_ms, _plainness(pair), pair) for pair in pairs if not pair.refused and pair.latency is not None]
    if not timed:
        reasons = "; ".join(f"{pair.name}: {pair.refused or 'not timed'}" for pair in pairs)
        raise GoldenMismatch(
            f"no model of the bundle answers on this device as it did in the lab ({reasons}); "
            "install one of the engines, or export the bundle again"
        )
    return min(timed, key=lambda one: one[:2])[2]


def _plainness(pair: PairFound) -> tuple[int, int]:
    return PRECISIONS.index(pair.precision), RUNTIMES.index(pair.runtime)


def choice_file(bundle: Bundle) -> Path:
    """Where the choice for a bundle is kept: among the bundles, beside it, with the engines that were built for it."""
    return folder_beside(bundle.path / "bundle.json") / "choice.json"


def check_writable(file: Path) -> None:
    """Make the folder and see that it takes files, before minutes are spent on what goes there. Raises BundleError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise _unwritable(file, error) from error


def write_choice(file: Path, choice: Choice) -> None:
    """Write it whole: a stop half-way leaves the former choice. Raises BundleError when the folder takes no files."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, choice.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> BundleError:
    return BundleError(
        f"{file.parent}: cannot be written ({error.strerror or error}), and the choice is kept there, beside the bundle and "
        "never in it; let this user write there, or put the bundle into a folder of this user"
    )


def read_choice(file: Path) -> Choice | None:
    """The choice, None where there is none. Raises BundleError for one that is damaged."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        return Choice.model_validate(strict_json(raw))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{file} cannot be read ({error.strerror or error})") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        raise BundleError(f"{file} is damaged ({shown(found, 200)})") from error
    except ValueError as error:
        raise BundleError(f"{file} is damaged ({shown(error, 200)})") from error
