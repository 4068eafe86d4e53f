"""Test parts that ask a harder question: are the newest parts judged as well, and those of a line never learned from?"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from deploy.errors import DatasetError
from pipeline.data.sample import SPLITS, Sample, Split
from pipeline.data.split import SHARES, WITHOUT_TEST, group_units, spread


def split_by_time(samples: Sequence[Sample], column: str, placed: Mapping[str, Split] | None = None) -> dict[str, Split]:
    """Unit of groups -> part: ordered by their earliest picture, the oldest train, then validation, the newest test.

    A line drifts (lamps age, tools wear), and what a model meets is always newer than what it learned from: only this order shows
    how it bears that. With units `placed` already, the others follow the borders that those have. Raises DatasetError for a
    column that does not exist, pictures without a time, or a time that is not ISO 8601.
    """
    earliest: dict[str, datetime] = {}
    unit = group_units(samples)
    for sample, time in zip(samples, _times(samples, column), strict=True):
        name = unit[sample.group]
        earliest[name] = min(time, earliest.get(name, time))
    if placed:
        borders = _borders(earliest, placed)
        return {name: placed.get(name) or _part_at(time, borders) for name, time in earliest.items()}
    chosen: dict[str, Split] = {}
    sizes: dict[str, int] = defaultdict(int)
    for sample in samples:
        sizes[unit[sample.group]] += 1
    done = 0
    for name in sorted(earliest, key=lambda name: (earliest[name], name)):
        middle = (done + sizes[name] / 2) / len(samples)
        chosen[name] = (
            "train" if middle < SHARES["train"] else "validation" if middle < SHARES["train"] + SHARES["validation"] else "test"
        )
        done += sizes[name]
    return chosen


def _borders(earliest: Mapping[str, datetime], placed: Mapping[str, Split]) -> list[tuple[Split, datetime]]:
    """When validation and test begin, in the units that are placed."""
    later: tuple[Split, ...] = ("validation", "test")
    times = {part: [time for name, time in earliest.items() if placed.get(name) == part] for part in later}
    return [(part, min(times[part])) for part in later if times[part]]


def _part_at(time: datetime, borders: Sequence[tuple[Split, datetime]]) -> Split:
    part: Split = "train"
    for later, start in borders:
        if time >= start:
            part = later
    return part


def split_by_slice(
    samples: Sequence[Sample], column: str, value: str, seed: int = 0, placed: Mapping[str, Split] | None = None
) -> dict[str, Split]:
    """Unit of groups -> part: every unit with a picture of that slice is test, the others are spread over train and validation.

    Raises DatasetError for a column or a value that no picture has.
    """
    values = sorted(set(_column(samples, column)) - {""})
    if value not in values:
        raise DatasetError(f"no picture has {column}={value}; {column} is one of: {', '.join(values)}")
    unit = group_units(samples)
    held_out: dict[str, Split] = {
        unit[sample.group]: "test" for sample, one in zip(samples, _column(samples, column), strict=True) if one == value
    }
    return spread(samples, seed, WITHOUT_TEST, held_out | dict(placed or {}))


def straddling(samples: Sequence[Sample], column: str, value: str) -> list[str]:
    """Groups that hold pictures of that slice and others; all of them are test."""
    inside: dict[str, set[bool]] = defaultdict(set)
    unit = group_units(samples)
    for sample, one in zip(samples, _column(samples, column), strict=True):
        inside[unit[sample.group]].add(one == value)
    return sorted({sample.group for sample in samples if len(inside[unit[sample.group]]) > 1})


def time_ranges(samples: Sequence[Sample], column: str) -> dict[Split, tuple[datetime, datetime]]:
    """Part -> the times of its first and its last picture."""
    times: dict[str, list[datetime]] = defaultdict(list)
    for sample, time in zip(samples, _times(samples, column), strict=True):
        times[sample.split].append(time)
    return {part: (min(times[part]), max(times[part])) for part in SPLITS if part in times}


def _column(samples: Sequence[Sample], column: str) -> list[str]:
    """Each sample's value, empty where it has none."""
    columns = sorted({name for sample in samples for name, _ in sample.slices})
    if column not in columns:
        raise DatasetError(
            f"no picture has a column {column!r}; there are: {', '.join(columns) or 'none'}; add it to groups.csv and name it "
            "under `slices` in dataset.yaml (see datasets/README.md)"
        )
    return [dict(sample.slices).get(column, "") for sample in samples]


def _times(samples: Sequence[Sample], column: str) -> list[datetime]:
    values = _column(samples, column)
    without = [sample.path for sample, value in zip(samples, values, strict=True) if not value]
    if without:
        raise DatasetError(
            f"{len(without)} of {len(samples)} pictures have no {column} (first: {without[0]}); give each one to split by time"
        )
    times = [_time(sample, column, value) for sample, value in zip(samples, values, strict=True)]
    if len({time.tzinfo is None for time in times}) > 1:
        raise DatasetError(f"some values of {column} name their time zone and some do not; expected one or the other for all")
    return times


def _time(sample: Sample, column: str, value: str) -> datetime:
    try:
        # Python 3.10 reads no Z.
        return datetime.fromisoformat(value[:-1] + "+00:00" if value.endswith(("Z", "z")) else value)
    except ValueError as error:
        raise DatasetError(f"{column} of {sample.path} is {value!r}; expected ISO 8601, such as 2026-03-01T10:20:00") from error
