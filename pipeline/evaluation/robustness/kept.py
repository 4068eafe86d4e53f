"""robustness.json in a run's folder, and whether it is still of this model, these pictures and these thresholds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from deploy.bundle import sha256_of
from deploy.files import write_whole
from deploy.preprocess import Preprocessing
from pipeline.data.sample import Sample
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.robustness.card import RobustnessCard
from pipeline.evaluation.robustness.conditions import CONDITIONS

FILE = "robustness.json"
UNMEASURED = "it was not measured how verdicts change under what a line does to pictures"


@dataclass(frozen=True)
class _Kept:
    made_from: str
    sentences: list[str]
    card: RobustnessCard


_KEPT = TypeAdapter(_Kept)


def made_from(weights: Path, decision: Decision, samples: Sequence[Sample], spec: Preprocessing) -> str:
    """A hash of all that a card depends on: of another model, decision, set of parts or table of conditions it is another.

    `weights` is the file of the weights. Raises OSError where it cannot be read.
    """
    whole = {
        "weights": sha256_of(weights),
        "decision": decision.model_dump(mode="json"),
        "samples": sorted((sample.sha256, sample.part) for sample in samples),
        "input": spec.model_dump(mode="json"),
        "conditions": [(condition.name, condition.levels) for condition in CONDITIONS],
    }
    return sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def write_card(folder: Path, card: RobustnessCard, made_from: str) -> Path:
    """Write robustness.json into the folder, stamped with what the card was made from; returns the file."""
    file = folder / FILE
    write_whole(file, _KEPT.dump_json(_Kept(made_from, card.sentences(), card), indent=2).decode())
    return file


def read_card(folder: Path, made_from: str) -> tuple[RobustnessCard | None, str]:
    """The folder's card and "", or None and why there is none that counts."""
    file = folder / FILE
    try:
        kept = _KEPT.validate_json(file.read_bytes())
    except FileNotFoundError:
        return None, UNMEASURED
    except OSError as error:
        return None, f"{file} cannot be read ({error.strerror}); check its permissions"
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        return None, f"{file} is torn or of another version ({where}: {first['msg']}); measure again"
    if kept.made_from != made_from:
        return None, f"{file} was made from other weights, pictures or thresholds than these; measure again"
    return kept.card, ""
