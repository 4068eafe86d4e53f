"""Source weights in the order of what their frozen features tell of this dataset, and the one `--backbone auto` takes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from deploy.errors import DatasetError, WeightsError
from pipeline.data.prepare import counting
from pipeline.data.sample import Sample
from pipeline.data.survey.cache import Cache
from pipeline.evaluation.metrics import Figure
from pipeline.training.features import VERSION as FEATURES_VERSION
from pipeline.training.features import compute_features
from pipeline.training.recipe import Recipe
from pipeline.training.sources.cost import Cost, measure_cost
from pipeline.training.sources.listing import Candidate, LeftOut
from pipeline.training.sources.transferability import assess
from pipeline.training.weights import Source

SAME = 0.005
"""Sources whose AUROC differs by no more are equally good; the lighter is taken."""
VERSION = 1
COST_KEYS = {"head", "head_width", "heatmap_stride", "height", "width"}


@dataclass(frozen=True)
class Ranked:
    """A source, what its features tell, and what its backbone costs."""

    candidate: Candidate
    source: Source
    auroc: Figure
    """Of the probe, cross-validated by group."""
    log_me: float
    cost: Cost

    @property
    def is_random(self) -> bool:
        """It is a floor, and nothing to choose."""
        return self.candidate.kind == "random"


def rank(
    samples: Sequence[Sample], candidates: Sequence[Candidate], recipe: Recipe
) -> tuple[tuple[Ranked, ...], tuple[LeftOut, ...]]:
    """Candidates by the probe's AUROC on hashed samples, the best first, and those whose weights do not fit.

    Features, assessments and costs at the recipe's size are kept in the cache. Raises DatasetError where the samples have too few
    groups of a class to learn from some and judge the others.
    """
    ranked: list[Ranked] = []
    left_out: list[LeftOut] = []
    for number, candidate in enumerate(candidates, 1):
        try:
            source = candidate.load()
            auroc, log_me = _assess(samples, candidate, source, f"{number}/{len(candidates)} {candidate.name}")
            ranked.append(Ranked(candidate, source, auroc, log_me, _cost(recipe, candidate, source)))
        except WeightsError as error:
            left_out.append(LeftOut(candidate.name, str(error)))
    return tuple(sorted(ranked, key=lambda one: -(one.auroc.value or 0))), tuple(left_out)


def choose(ranked: Sequence[Ranked]) -> Ranked:
    """The best of those that are not random; of several within `SAME` of it, the lightest. Raises WeightsError without any."""
    sources = [one for one in ranked if not one.is_random]
    if not sources:
        raise WeightsError(
            "no source weights are at hand to choose from; set INSPECTOR_WEIGHTS to a folder with BACKBONE.safetensors files, "
            "or name a --backbone"
        )
    best = max(one.auroc.value or 0 for one in sources)
    good = [one for one in sources if (one.auroc.value or 0) >= best - SAME]
    return min(good, key=lambda one: (one.cost.multiply_adds, -(one.auroc.value or 0)))


def _assess(samples: Sequence[Sample], candidate: Candidate, source: Source, what: str) -> tuple[Figure, float]:
    content = [[sample.sha256, sample.label, sample.group] for sample in samples]
    about = source.about.model_dump(mode="json", exclude={"origin"})
    key = _digest([VERSION, FEATURES_VERSION, candidate.backbone, about, content])
    with Cache("sources") as cache:
        if known := cache.get([key]).get(key):
            value = json.loads(known)
            return Figure(**value["auroc"]), value["log_me"]
        with counting(what) as progress:
            features = compute_features(samples, candidate.backbone, source, progress)
        if not np.isfinite(features.pooled).all():
            raise WeightsError("its features are no finite numbers; these weights are damaged, or not for this preprocessing")
        assessed = assess(features.pooled, samples)
        if assessed is None:
            raise DatasetError(
                "too few groups to compare source weights: every fold needs good and defective groups to learn from and others "
                "to judge; add pictures of other parts, check the groups, or name a --backbone"
            )
        cache.put({key: json.dumps({"auroc": asdict(assessed[0]), "log_me": assessed[1]}).encode()})
    return assessed


def _cost(recipe: Recipe, candidate: Candidate, source: Source) -> Cost:
    ours = recipe.model_copy(update={"backbone": candidate.backbone, "source": source.about})
    key = _digest([VERSION, candidate.backbone, source.about.same_padding, ours.model_dump(mode="json", include=COST_KEYS)])
    with Cache("sources") as cache:
        if known := cache.get([key]).get(key):
            return Cost(**json.loads(known))
        cost = measure_cost(ours)
        cache.put({key: json.dumps(asdict(cost)).encode()})
    return cost


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
