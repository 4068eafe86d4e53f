"""How much there is of what, and what so much data can prove."""

from collections import defaultdict
from typing import Any

from pipeline.data.audit.finding import Checked, Finding, Material
from pipeline.data.sample import SPLITS
from pipeline.evaluation.metrics import upper_bound

FEW_GROUPS = 5
"""With fewer groups a type cannot be in training, validation and test and leave more than one to learn from."""
WANTED = 299
"""Defective parts without a miss that show less than 1 % of escapes."""


def check_proof(material: Material) -> Checked:
    """Pictures and groups per type, and the escape rate that these parts can exclude at best."""
    balance = _balance(material)
    defective = {sample.group for sample in material.samples if sample.label == "defective"}
    tested = {sample.group for sample in material.samples if sample.label == "defective" and sample.split == "test"}
    good = {sample.group for sample in material.samples if sample.label == "good"}
    findings = [Finding("note", f"{kind}: {one['pictures']} pictures of {one['groups']} parts") for kind, one in balance.items()]
    findings.append(Finding("note", _proof(len(defective), len(tested))))
    scarce = [kind for kind, one in balance.items() if one["groups"] < FEW_GROUPS]
    if scarce:
        findings.append(
            Finding(
                "warning",
                f"fewer than {FEW_GROUPS} parts are of type {', '.join(scarce)}",
                "Collect more: one part must be learned from, one chosen with and one tested on, and one witness is no evidence.",
            )
        )
    for label, groups in (("good", good), ("defective", defective)):
        if len(groups) < len(SPLITS):
            findings.append(
                Finding(
                    "error",
                    f"only {len(groups)} {label} parts: training, validation and test each need one of their own",
                    f"Collect pictures of more {label} parts.",
                )
            )
    return Checked(
        tuple(findings),
        {
            "balance": balance,
            "proof": {
                "defective_parts": len(defective),
                "good_parts": len(good),
                "escapes_below": upper_bound(0, len(defective)),
                "defective_test_parts": len(tested),
                "escapes_below_on_test": upper_bound(0, len(tested)),
                "confidence": 0.95,
            },
        },
    )


def _proof(parts: int, tested: int) -> str:
    if not parts:
        return "there are no defective parts, so nothing can be shown of escapes"
    on_test = f"on the {tested} that are tested on, below {_percent(upper_bound(0, tested))}" if tested else "none is tested on"
    return (
        f"{parts} defective parts: even with no miss on all of them, escapes are only shown to be below "
        f"{_percent(upper_bound(0, parts))} (95 %); {on_test}. Below 1 % takes {WANTED} defective parts"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"


def _balance(material: Material) -> dict[str, dict[str, Any]]:
    """Type -> pictures, groups, and pictures per part of the split; good first."""
    groups: dict[str, set[str]] = defaultdict(set)
    pictures: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for sample in sorted(material.samples, key=lambda sample: (sample.label != "good", sample.defect_type)):
        kind = sample.defect_type or "good"
        groups[kind].add(sample.group)
        if sample.split:
            pictures[kind][sample.split] += 1
    total = {kind: sum(1 for sample in material.samples if (sample.defect_type or "good") == kind) for kind in groups}
    return {kind: {"pictures": total[kind], "groups": len(groups[kind]), "split": pictures[kind]} for kind in groups}
