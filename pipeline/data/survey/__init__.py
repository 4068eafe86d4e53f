"""One pass over the picture files of a dataset: what each is, hashed and measured, or why it cannot be read."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, repeat

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
    bad_masks: tuple[Skipped, ...]
    """Masks that cannot be read or have not their picture's size; their pictures are kept, without them."""


def survey(samples: Sequence[Sample], progress: Progress | None = None) -> Survey:
    """Hash and measure every picture; those that do not decode are left out and told.

    What is known of a file of the same path, size and time is not read again.
    """
    kept: list[Sample] = []
    facts: list[Facts] = []
    skipped: list[Skipped] = []
    bad_masks: list[Skipped] = []
    remaining = iter(samples)
    done = 0
    with Cache(f"pictures-{VERSION}") as cache, ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(remaining, BATCH)):
            stamps = [stamp(sample.file) for sample in batch]
            known = cache.get([one for one in stamps if one])
            looks = list(pool.map(_look, batch, [known.get(one) if one else None for one in stamps]))
            skipped += [look for look in looks if isinstance(look, Skipped)]
            read = [(sample, *look) for sample, look in zip(batch, looks, strict=True) if not isinstance(look, Skipped)]
            new = {
                one: pack(*look)
                for one, look in zip(stamps, looks, strict=True)
                if one and one not in known and not isinstance(look, Skipped)
            }

            marks = [_mask_stamp(sample, one) for sample, _, one in read]
            known = cache.get([one for one in marks if one])
            places = pool.map(_hash_mask, [sample for sample, _, _ in read], [one for _, _, one in read], marks, repeat(known))
            for (sample, sha256, one), mark, mask_sha256 in zip(read, marks, places, strict=True):
                facts.append(one)
                if isinstance(mask_sha256, Skipped):
                    bad_masks.append(mask_sha256)
                    kept.append(replace(sample, sha256=sha256, mask=""))
                    continue
                kept.append(replace(sample, sha256=sha256, mask_sha256=mask_sha256))
                if mark:
                    new[mark] = mask_sha256.encode()
            cache.put({one: value for one, value in new.items() if one not in known})
            done += len(batch)
            if progress:
                progress(done, len(samples))
    return Survey(tuple(kept), tuple(facts), tuple(skipped), tuple(bad_masks))


def _look(sample: Sample, known: bytes | None) -> tuple[str, Facts] | Skipped:
    if known is not None:
        return unpack(known)
    try:
        facts = measure(sample.file)
    except DatasetError as error:
        return Skipped(sample.path, str(error))
    return sha256_of(sample.file), facts


def _mask_stamp(sample: Sample, facts: Facts) -> str | None:
    """What the mask and the picture's size, which it must have, are known by."""
    file = sample.mask_file
    one = stamp(file) if file else None
    return f"{one}|{sample.mask_entry}|{facts.height}|{facts.width}" if one else None


def _hash_mask(sample: Sample, facts: Facts, mark: str | None, known: Mapping[str, bytes]) -> str | Skipped:
    if not sample.mask:
        return ""
    if mark and mark in known:
        return known[mark].decode()
    try:
        read_place(sample, (facts.height, facts.width))
        return hash_place(sample)
    except DatasetError as error:
        return Skipped(sample.mask, str(error))
