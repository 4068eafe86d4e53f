"""One pass over the picture files of a dataset: what each is, hashed and measured, or why it cannot be read."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from deploy.bundle import sha256_of
from deploy.errors import DatasetError
from pipeline.data.masks import hash_place, read_place
from pipeline.data.sample import Sample
from pipeline.data.survey.cache import Cache, stamp
from pipeline.data.survey.facts import Facts, measure, pack, unpack

BATCH = 256
"""Pictures in flight, and kept in the cache at once: no more than these are ever decoded in memory."""
VERSION = 1
"""Of what is measured: another one makes what is in the cache void."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """The readable samples, hashed, with the facts of each, and those that were left out."""

    samples: tuple[Sample, ...]
    facts: tuple[Facts, ...]
    skipped: tuple[Skipped, ...]


def survey(samples: Sequence[Sample], progress: Progress | None = None) -> Survey:
    """Hash and measure every picture; those that do not decode are left out and told.

    What is known of a file of the same path, size and time is not read again. Raises DatasetError for a mask that cannot be read
    or has not its picture's size: better now than in the middle of training.
    """
    kept: list[Sample] = []
    facts: list[Facts] = []
    skipped: list[Skipped] = []
    remaining = iter(samples)
    done = 0
    with Cache(f"pictures-{VERSION}") as cache, ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(remaining, BATCH)):
            stamps = [stamp(sample.file) for sample in batch]
            known = cache.get([one for one in stamps if one])
            new: dict[str, bytes] = {}
            jobs = [known.get(one) if one else None for one in stamps]
            for sample, one, result in zip(batch, stamps, pool.map(_look, batch, jobs), strict=True):
                if isinstance(result, Skipped):
                    skipped.append(result)
                    continue
                if one and one not in known:
                    new[one] = pack(*result)
                kept.append(_hashed(sample, *result))
                facts.append(result[1])
            cache.put(new)
            done += len(batch)
            if progress:
                progress(done, len(samples))
    return Survey(tuple(kept), tuple(facts), tuple(skipped))


def _look(sample: Sample, known: bytes | None) -> tuple[str, Facts] | Skipped:
    if known is not None:
        return unpack(known)
    try:
        facts = measure(sample.file)
    except DatasetError as error:
        return Skipped(sample.path, str(error))
    return sha256_of(sample.file), facts


def _hashed(sample: Sample, sha256: str, facts: Facts) -> Sample:
    if sample.mask:
        read_place(sample, (facts.height, facts.width))
    return replace(sample, sha256=sha256, mask_sha256=hash_place(sample) if sample.mask else "")
