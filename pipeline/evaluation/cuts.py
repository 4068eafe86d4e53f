"""How samples are cut into slices: by what is told of them, by their defects' types and sizes, by their light."""

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np

from deploy.preprocess import read_picture
from pipeline.data.masks import read_place
from pipeline.data.prepare import counting
from pipeline.data.sample import Sample

FEWEST = 5
"""Parts of a class on either side of a comparison; with fewer it is not made."""
MANY = 12
"""A column of text is shown up to so many values; a column of numbers with more is cut into thirds."""
SHIFTS = ("06-14", "14-22", "22-06")
_TIME = re.compile(
    r"(?:(?:\d{4}-\d\d-\d\d[T ])?([01]\d|2[0-3]):[0-5]\d|\d{8}T([01]\d|2[0-3])[0-5]\d)[\d:.,]*(?:Z| ?[+-]\d\d:?\d\d)?"
)


@dataclass(frozen=True)
class Seen:
    """What the pixels of one picture say."""

    brightness: float
    """Mean grey level, 0..255."""
    defect_share: float | None = None
    """Share of the picture's area inside its mask or boxes, 0..1; None where nothing tells the place."""


@dataclass(frozen=True)
class Cut:
    """One way to cut N pictures into slices."""

    name: str
    values: Sequence[str]
    """N: the slice each picture is in; empty where nothing tells."""
    shown: Sequence[str]
    """The slices to look at, in order; others are only what these are compared with."""
    of_defects: bool = False
    """Only defective pictures are in its slices."""


def describe(samples: Sequence[Sample]) -> tuple[Seen, ...]:
    """What the pixels of N samples say; each picture is read once. Raises DatasetError for what cannot be read."""
    seen = []
    with counting("measuring light and defects") as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(_see, samples):
            seen.append(one)
            progress(len(seen), len(samples))
    return tuple(seen)


def find_cuts(samples: Sequence[Sample], seen: Sequence[Seen]) -> tuple[list[Cut], list[str]]:
    """The ways to cut N samples into at least two slices each, and what they leave out."""
    found, notes = [], []
    columns = [dict(sample.slices) for sample in samples]
    for name in sorted({name for column in columns for name in column}):
        cut, note = _cut_column(name, [column.get(name, "") for column in columns], samples)
        found.append(cut)
        notes += note
    kinds = [sample.defect_type if sample.label == "defective" else "" for sample in samples]
    cut, note = _cut_column("defect type", kinds, samples, numeric=False)
    found.append(replace(cut, of_defects=True))
    notes += note
    light, sizes = defaultdict(list), defaultdict(list)
    for sample, one in zip(samples, seen, strict=True):
        light[sample.part].append(one.brightness)
        if sample.label == "defective" and one.defect_share:
            sizes[sample.part].append(100 * one.defect_share)
    # By part: thirds of pictures would tear its views apart, and the fewer views a part has in a slice, the lower it scores.
    largest = {part: max(views) for part, views in sizes.items()}
    values, shown = _thirds([largest.get(sample.part) for sample in samples], largest.values(), " % of the picture")
    found.append(Cut("defect size", values, shown, of_defects=True))
    unmarked = len({sample.part for sample in samples if sample.label == "defective"} - set(largest))
    if largest and unmarked:
        notes.append(f"defect size: nothing tells it of {unmarked} defective parts, which are in no slice of it")
    mean = {part: math.fsum(views) / len(views) for part, views in light.items()}
    found.append(Cut("brightness", *_thirds([mean[sample.part] for sample in samples], mean.values(), " of 255")))
    return [cut for cut in found if len(cut.shown) > 1], notes


def _see(sample: Sample) -> Seen:
    picture = read_picture(sample.file)
    brightness = float(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).mean())
    if sample.label == "good" or not sample.mask:
        return Seen(brightness)
    share = float(read_place(sample, (picture.shape[0], picture.shape[1])).mean())
    return Seen(brightness, share or None)  # an empty mask says nothing


def _cut_column(name: str, values: Sequence[str], samples: Sequence[Sample], numeric: bool = True) -> tuple[Cut, list[str]]:
    """Times into shifts, by the clock as written; many numbers into thirds; many texts down to the most frequent."""
    known = sorted({value for value in values if value}, key=_in_order)
    notes: list[str] = []
    if len(known) < 2:
        return Cut(name, values, known), notes
    blank = sum(not value for value in values)
    if blank and name != "defect type":
        notes.append(f"{name}: {blank} of {len(values)} pictures have none, and are in no slice of it")
    if numeric and all(_TIME.fullmatch(value) for value in known):
        shifts = [_shift(value) if value else "" for value in values]
        return Cut(name, shifts, [shift for shift in SHIFTS if shift in shifts]), notes
    if len(known) <= MANY:
        return Cut(name, values, known), notes
    if numeric and all(_number(value) is not None for value in known):
        numbers = [_number(value) for value in values]
        return Cut(name, *_thirds(numbers, [number for number in numbers if number is not None])), notes
    pairs = {(value, sample.part) for value, sample in zip(values, samples, strict=True)}
    parts = Counter(value for value, _ in pairs)
    frequent = sorted(known, key=lambda value: -parts[value])[:MANY]
    if parts[frequent[0]] < FEWEST:
        return Cut(name, values, []), [f"{name}: no slices, none of its {len(known)} values is shared by {FEWEST} parts"]
    notes.append(f"{name}: the {MANY} most frequent of {len(known)} values; {len(known) - MANY} left out")
    return Cut(name, values, sorted(frequent, key=_in_order)), notes


def _thirds(numbers: Sequence[float | None], witnesses: Iterable[float], unit: str = "") -> tuple[list[str], list[str]]:
    """Which third of the witnesses each of N numbers falls into ("" for None), and the names of the thirds, with bounds."""
    ordered = np.sort(np.array(list(witnesses), np.float64))
    if not len(ordered) or ordered[0] == ordered[-1]:
        return [""] * len(numbers), []
    top = ordered[ordered < ordered[-1]][
        -1
    ]  # where a third and more are the highest value, what is below it is a slice all the same
    bounds = sorted({float(min(bound, top)) for bound in np.quantile(ordered, [1 / 3, 2 / 3], method="inverted_cdf")})
    told = tell_apart(bounds)
    between = [f"{low} to {high}{unit}" for low, high in pairwise(told)]
    names = [f"up to {told[0]}{unit}", *between, f"above {told[-1]}{unit}"]
    return ["" if number is None else names[int(np.searchsorted(bounds, number))] for number in numbers], names


def tell_apart(numbers: Sequence[float]) -> list[str]:
    """Three digits of each, or as many as tell them apart."""
    for digits in range(3, 17):
        told = [np.format_float_positional(number, digits, fractional=False, trim="-") for number in numbers]
        if len(set(told)) == len(set(numbers)):
            break
    return told


def _shift(time: str) -> str:
    found = _TIME.fullmatch(time)
    hour = int(found[1] or found[2]) if found else 0
    return SHIFTS[(hour - 6) % 24 // 8]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _in_order(text: str) -> tuple[bool, float, str]:
    number = _number(text)
    return number is None, number or 0.0, text
