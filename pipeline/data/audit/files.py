"""Files that cannot be used as they are, and pictures unlike all the others."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.data.audit.finding import Checked, Finding, Material, Shown

UNREAD_KINDS = frozenset(
    {".arw", ".avif", ".cr2", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".nef", ".pbm", ".pgm", ".ppm", ".raw", ".tga"}
)
"""Pictures of these kinds are not read."""
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
FAR = 6.0
"""Robust standard deviations from the median beyond which a picture is an outlier."""
USUAL = 0.8
"""A size that this share of the pictures has is the usual one."""
BLACK, WHITE = 0.02, 0.98


def check_files(material: Material) -> Checked:
    """Unreadable, wrongly named and ignored files; odd sizes, bit depths, brightness and sharpness."""
    named = list(zip(material.samples, material.facts, strict=True))
    findings = [Finding("warning", note) for note in material.notes]
    unreadable = [one.path for one in material.skipped]
    if material.skipped:
        findings.append(
            Finding(
                "warning",
                f"{len(material.skipped)} pictures cannot be read and are left out: "
                + "; ".join(one.reason for one in material.skipped[:5])
                + (" ..." if len(material.skipped) > 5 else ""),
                "Copy them again from where they came from, or delete them.",
            )
        )
    if material.bad_masks:
        findings.append(
            Finding(
                "error",
                f"{len(material.bad_masks)} masks cannot be used: " + "; ".join(one.reason for one in material.bad_masks[:5]),
                "Draw them again in the picture's size, or delete them.",
            )
        )
    misnamed = {
        sample.path: facts.format for sample, facts in named if sample.file.suffix.lower() not in SUFFIXES.get(facts.format, ())
    }
    if misnamed:
        first = next(iter(misnamed))
        findings.append(
            Finding(
                "warning",
                f"{len(misnamed)} files are not what their name says: {first} is a {misnamed[first]}",
                "They are read all the same; rename them, since other programs will not.",
            )
        )
    ignored = _ignored(material.source)
    if ignored:
        findings.append(
            Finding(
                "warning",
                f"{len(ignored)} pictures are of kinds that are not read (first: {ignored[0]})",
                "Convert them to PNG, or move them out of the dataset.",
            )
        )
    findings += [*_dark(material), _sizes(material)]
    unusual = _unusual(material)
    for what, indices in unusual.items():
        findings.append(
            Finding(
                "warning",
                f"{len(indices)} pictures are {what}, unlike the others",
                "Take all pictures with the camera settings of the line: a network learns such a difference first.",
                (_shown(material, indices),),
            )
        )
    outliers = _outliers(material)
    for what, members in outliers.items():
        paths = [(material.samples[index], value) for index, value in members[:12]]
        shown = tuple(Shown(sample.file, f"{sample.path}: {value:.3g}") for sample, value in paths)
        findings.append(
            Finding(
                "warning" if what in ("nearly black", "nearly white") else "note",
                f"{len(members)} pictures are {what}",
                "Look whether the light failed, the part was missing or the lens out of focus. A defect is no reason to delete.",
                tuple(shown[start : start + 6] for start in range(0, len(shown), 6)),
            )
        )
    return Checked(
        tuple(findings),
        {
            "unreadable": unreadable,
            "unreadable_reasons": {one.path: one.reason for one in material.skipped},
            "bad_masks": {one.path: one.reason for one in material.bad_masks},
            "wrongly_named": misnamed,
            "ignored_files": ignored,
            "unusual": {what: [material.samples[index].path for index in indices] for what, indices in unusual.items()},
            "outliers": {
                what: [{"path": material.samples[index].path, "value": value} for index, value in members]
                for what, members in outliers.items()
            },
        },
    )


def _ignored(source: Path) -> list[str]:
    if not source.is_dir():
        return []
    return sorted(
        file.relative_to(source).as_posix()
        for file in source.rglob("*")
        if file.suffix.lower() in UNREAD_KINDS and not any(part.startswith(".") for part in file.relative_to(source).parts)
    )


def _dark(material: Material) -> list[Finding]:
    findings = []
    deep = [facts for facts in material.facts if facts.bits == 16]
    used = max((facts.used_bits for facts in deep), default=16)
    if used < 16:
        findings.append(
            Finding(
                "warning",
                f"{len(deep)} pictures are stored in 16 bit, but no value needs more than {used}: at 8 bit they come out "
                f"{2 ** (16 - used)} times too dark",
                f"Let the camera program shift the values up by {16 - used} bits, on the line just as here.",
            )
        )
    return findings


def _unusual(material: Material) -> dict[str, list[int]]:
    """Pictures unlike most others in size, colour or depth, by their indices."""
    found = {}
    (usual, count), *_ = Counter((facts.width, facts.height) for facts in material.facts).most_common(1)
    if count >= USUAL * len(material.facts):
        found[f"not {usual[0]} x {usual[1]}"] = [(facts.width, facts.height) != usual for facts in material.facts]
    for odd, even, mask in (
        ("grey", "in colour", [facts.grey for facts in material.facts]),
        ("16 bit", "8 bit", [facts.bits == 16 for facts in material.facts]),
    ):
        few = 2 * sum(mask) <= len(mask)
        found[odd if few else even] = [one == few for one in mask]
    return {what: [index for index, one in enumerate(mask) if one] for what, mask in found.items() if any(mask)}


def _sizes(material: Material) -> Finding:
    sides = [max(facts.width, facts.height) for facts in material.facts]
    count = len({(facts.width, facts.height) for facts in material.facts})
    return Finding("note", f"pictures have {count} different sizes; their longer side is {min(sides)} to {max(sides)} pixels")


def _outliers(material: Material) -> dict[str, list[tuple[int, float]]]:
    brightness = np.array([facts.brightness for facts in material.facts])
    sharpness = np.array([facts.sharpness for facts in material.facts])
    found = {
        "nearly black": (brightness < BLACK, brightness),
        "nearly white": (brightness > WHITE, brightness),
        "far darker or brighter than the others": (_far(brightness), brightness),
        "far less sharp than the others": (_far(np.log(sharpness + 1)) & (sharpness < np.median(sharpness)), sharpness),
    }
    return {
        what: sorted(((int(index), float(values[index])) for index in np.flatnonzero(mask)), key=lambda one: one[1])
        for what, (mask, values) in found.items()
        if mask.any()
    }


def _far(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Further from the median than FAR times the median absolute deviation, scaled to a standard deviation."""
    spread = 1.4826 * np.median(np.abs(values - np.median(values)))
    return np.asarray(np.abs(values - np.median(values)) > FAR * max(spread, 1e-3), bool)


def _shown(material: Material, indices: Sequence[int]) -> tuple[Shown, ...]:
    return tuple(Shown(material.samples[index].file, _caption(material, index)) for index in indices[:8])


def _caption(material: Material, index: int) -> str:
    facts = material.facts[index]
    colour = "grey" if facts.grey else "colour"
    return f"{material.samples[index].path}: {facts.width} x {facts.height}, {facts.bits} bit, {colour}"
