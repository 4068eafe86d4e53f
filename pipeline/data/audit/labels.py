"""Labels that contradict each other, and labels that are probably wrong."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.audit.finding import Checked, Finding, Material, Severity, Shown
from pipeline.data.audit.leakage import Siblings
from pipeline.data.audit.probe import linear_probe
from pipeline.data.lookalikes import BURST, SAME_FILE, cluster_links
from pipeline.evaluation.metrics import labels_of

LISTED = 100
"""Most suspicious labels that audit.json lists."""
SHOWN = 12
UNLIKELY = 0.2
"""A label the probe gives less than this is suspicious, as is one that the siblings outvote."""
FEW = 0.01
"""Share of the pictures up to which the probe alone may doubt labels without a warning: it errs on some of any dataset."""
KINDS: tuple[tuple[str, Severity, str, str], ...] = (
    (
        "same file",
        "error",
        "files there twice, with both labels",
        "One of the two labels is wrong: delete it, or correct it.",
    ),
    (
        "group",
        "warning",
        "parts with good and with defective pictures",
        "Right where a defect shows from one side only. Otherwise a label is wrong: look at them.",
    ),
    ("look-alikes", "warning", "clusters of look-alikes with both labels", "Look whether a label is wrong."),
)


@dataclass(frozen=True)
class Doubt:
    """Why a label may be wrong."""

    path: str
    label: str
    confidence: float | None
    """Probability of its label by a probe that never saw its group; None without weights."""
    siblings: int
    """Pictures that show the same part: those linked to it by their looks, where it has such; else the others of its group."""
    contradicting: int
    """Those of them that are labelled otherwise."""
    score: float
    """Confidence less the share of contradicting siblings: the lowest first."""

    @property
    def is_outvoted(self) -> bool:
        """Most of its siblings say otherwise."""
        return 2 * self.contradicting > self.siblings


def check_labels(material: Material, siblings: Siblings) -> Checked:
    """Contradictions inside copies, groups and clusters, and a ranking of suspicious labels."""
    contradictions = find_contradictions(material, siblings)
    doubts = rank_labels(material, siblings)
    findings = []
    for kind, severity, what, advice in KINDS:
        some = [one for one in contradictions if one["kind"] == kind]
        if some:
            findings.append(_contradiction(material, some, severity, what, advice))
    doubtful = [doubt for doubt in doubts if doubt.is_outvoted or (doubt.confidence is not None and doubt.confidence < UNLIKELY)]
    outvoted = any(doubt.is_outvoted for doubt in doubtful)
    if doubtful:
        shown = [Shown(material.file(doubt.path), _reason(doubt)) for doubt in doubtful[:SHOWN]]
        findings.append(
            Finding(
                "warning" if outvoted or len(doubtful) > FEW * len(doubts) else "note",
                f"{len(doubtful)} labels are suspicious"
                + ("" if material.features is not None else " (by their siblings alone, as no source weights are at hand)"),
                "Look at them, the worst first; audit.json lists more. A suspicious label may be right: the one hard example.",
                tuple(tuple(shown[start : start + 6]) for start in range(0, len(shown), 6)),
            )
        )
    return Checked(
        tuple(findings),
        {
            "contradictions": contradictions,
            "suspicious_labels": [asdict(doubt) for doubt in doubts[:LISTED]],
            "labels_judged_by": "siblings and a cross-validated probe" if material.features is not None else "siblings",
        },
    )


def find_contradictions(material: Material, siblings: Siblings) -> list[dict[str, Any]]:
    """Copies, groups and clusters that hold both labels: {"kind", "name", "good": paths, "defective": paths}."""
    copies = tuple(link for link in siblings.links if link.way == SAME_FILE)
    found = _mixed(material, "same file", cluster_links(copies, len(material.samples)).tolist())
    if material.groups_are_named:
        found += _mixed(material, "group", [sample.group for sample in material.samples])
    known = {frozenset(one["good"] + one["defective"]) for one in found}
    clusters = cluster_links(siblings.links, len(material.samples)).tolist()
    looks = _mixed(material, "look-alikes", clusters)
    return found + [one for one in looks if frozenset(one["good"] + one["defective"]) not in known]


def rank_labels(material: Material, siblings: Siblings) -> list[Doubt]:
    """All labels, the most suspicious first.

    A linear probe on a frozen backbone's features gives each picture the probability of its label, cross-validated by group
    (confident learning: Northcutt, Jiang, Chuang, JAIR 70, 2021, whose package is under the AGPL); siblings vote.
    """
    defective = labels_of(material.samples)
    probability = _probe(material)
    members: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(material.samples):
        members[sample.group].append(index)
    linked: dict[int, set[int]] = defaultdict(set)
    for link in siblings.links:
        if link.way != BURST:  # a burst may hold two parts
            linked[link.first].add(link.second)
            linked[link.second].add(link.first)
    doubts = []
    for index, sample in enumerate(material.samples):
        others = sorted(linked[index]) or [other for other in members[sample.group] if other != index]
        contradicting = sum(defective[other] != defective[index] for other in others)
        confidence = None if probability is None else float(probability[index] if defective[index] else 1 - probability[index])
        score = (1.0 if confidence is None else confidence) - (contradicting / len(others) if others else 0.0)
        doubts.append(Doubt(sample.path, sample.defect_type or "good", confidence, len(others), int(contradicting), score))
    return sorted(doubts, key=lambda doubt: (doubt.score, doubt.path))


def _probe(material: Material) -> npt.NDArray[np.float64] | None:
    if material.features is None:
        return None
    table = np.asarray(material.features, np.float32)
    return linear_probe(table, material.samples)


def _mixed(material: Material, kind: str, names: Iterable[Any]) -> list[dict[str, Any]]:
    parts: dict[Any, dict[str, list[str]]] = defaultdict(lambda: {"good": [], "defective": []})
    for name, sample in zip(names, material.samples, strict=True):
        parts[name][sample.label].append(sample.path)
    return [{"kind": kind, "name": str(name), **part} for name, part in parts.items() if part["good"] and part["defective"]]


def _contradiction(material: Material, some: list[dict[str, Any]], severity: Severity, what: str, advice: str) -> Finding:
    rows = tuple(
        tuple(Shown(material.file(path), path) for path in one["good"][:4] + one["defective"][:4]) for one in some[:SHOWN]
    )
    return Finding(severity, f"{what}: {len(some)}", advice, rows)


def _reason(doubt: Doubt) -> str:
    reasons = []
    if doubt.confidence is not None:
        reasons.append(f"a trial model that never saw this part gives it {doubt.confidence:.0%}")
    if doubt.contradicting:
        reasons.append(f"{doubt.contradicting} of {doubt.siblings} siblings say otherwise")
    return f"{doubt.path}, labelled {doubt.label}: {'; '.join(reasons)}"
