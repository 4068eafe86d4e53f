"""How large the network's input must be for the smallest defects to be seen."""

from collections import defaultdict
from typing import Any

import cv2
import numpy as np

from pipeline.data.audit.finding import Checked, Finding, Material
from pipeline.data.masks import read_place

SEEN = 16
"""Pixels of the input a defect should span: two cells of the heatmap at stride 8."""
SIZES = tuple(range(224, 1025, 32))
MOST = 2000
"""Masks that are measured."""
SPECK = 4
"""Connected pixels of a mask below which they are no defect."""
SLIM = 2.0
"""From this aspect ratio on more than half of a square input is letterbox bars."""


def check_input_size(material: Material) -> Checked:
    """Span of the defects of each type at 224 pixels, and the smallest input that shows three quarters of them."""
    spans: dict[str, list[float]] = defaultdict(list)
    masked = [index for index, sample in enumerate(material.samples) if sample.mask]
    empty = 0
    for index in masked[:: max(1, len(masked) // MOST)]:
        sample, facts = material.samples[index], material.facts[index]
        found = _spans(read_place(sample, (facts.height, facts.width)))
        if found:  # the largest of a picture's defects gives it away
            spans[sample.defect_type].append(max(found) / max(facts.height, facts.width))
        empty += not found
    if masked and not any(spans.values()):
        warning = Finding("warning", f"all {empty} masks are empty", "Draw the defects white on black, or delete the masks.")
        return Checked((warning,), {"input_size": None})
    if not masked:
        note = Finding("note", "no masks: how small the defects are is not known, so no advice on the input size")
        return Checked((note,), {"input_size": None})
    small = {kind: float(np.quantile(values, 0.25)) for kind, values in spans.items() if values}
    smallest = min(small, key=lambda kind: small[kind])
    advised = next((size for size in SIZES if size * small[smallest] >= SEEN), SIZES[-1])
    native = max(max(facts.width, facts.height) for facts in material.facts)
    capped = min(advised, max(SIZES[0], -(-native // 32) * 32))
    width = small[smallest] * 224
    text = f"{smallest} is {width:.0f} px wide at 224, a quarter of them less: use an input of {capped} or more"
    if capped < advised:
        text += f"; the pictures themselves have no more than {native} pixels, so a lens or camera that shows more would help"
    findings = [Finding("note", text, f"pipeline train ... --input-size {capped}")]
    if empty:
        findings.append(Finding("warning", f"{empty} masks are empty", "Draw the defect, or delete the mask."))
    aspect = float(np.median([facts.width / facts.height for facts in material.facts]))
    steady = np.mean([abs(facts.width / facts.height / aspect - 1) < 0.1 for facts in material.facts]) > 0.9
    if steady and not 1 / SLIM < aspect < SLIM:
        shape = f"{aspect:.2f} times as wide as high"
        findings.append(
            Finding("note", f"pictures are {shape}: a square input is mostly letterbox bars; set width and height in the recipe")
        )
    figures: dict[str, Any] = {
        "advised": capped,
        "wanted": advised,
        "aspect": aspect,
        "empty_masks": empty,
        "pixels_at_224": {kind: value * 224 for kind, value in small.items()},
    }
    return Checked(tuple(findings), {"input_size": figures})


def _spans(place: np.typing.NDArray[np.uint8]) -> list[float]:
    """Of each connected defect, the geometric mean of its box's sides in pixels."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(place, connectivity=8)
    return [
        float(np.sqrt(stats[one, cv2.CC_STAT_WIDTH] * stats[one, cv2.CC_STAT_HEIGHT]))
        for one in range(1, count)
        if stats[one, cv2.CC_STAT_AREA] >= SPECK
    ]
