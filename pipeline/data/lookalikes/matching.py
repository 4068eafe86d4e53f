"""How much two pictures look alike, whatever the light, when one may be shifted, turned or mirrored."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.special import ndtri

from pipeline.data.survey.descriptors import ANGLES, PLANE_SIDE, RADII

Array = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]
Indices = npt.NDArray[np.int64]
Kind = TypeVar("Kind", bound=np.generic)

SHIFT = 3
"""How far a picture may be shifted, in pixels of the plane: 6 % of its side."""
FLOOR = 0.5
"""Correlation that no two unrelated pictures reach by chance (measured: 99.99 % of unrelated pairs are below 0.4)."""
FALSE_LINKS = 0.01
"""Links between unrelated pictures that are accepted, per picture."""


@dataclass(frozen=True)
class Planes:
    """All pictures' high-pass planes, kept as int8; `take` frees them of what all of them share."""

    stored: npt.NDArray[np.int8]
    """N x side x side."""
    mean: Array
    weight: Array

    def take(self, which: Indices) -> Array:
        """Some of them, M x side x side, comparable: each of length 1."""
        return _unit((self.stored[which] - self.mean) * self.weight)

    def similarity(self, first: Indices, second: Indices) -> Array:
        """Correlation of pairs, the best over shifts of up to SHIFT pixels, right-angle turns and mirroring."""
        best = np.full(len(first), -1, np.float32)
        for block in blocks(len(first), 512):
            one, other = scipy.fft.rfft2(self.take(first[block])), self.take(second[block])
            for turned in turns(other):
                found = scipy.fft.irfft2(one * scipy.fft.rfft2(turned).conj(), s=(PLANE_SIDE, PLANE_SIDE))
                near = np.concatenate([found[:, : SHIFT + 1], found[:, -SHIFT:]], axis=1)
                near = np.concatenate([near[:, :, : SHIFT + 1], near[:, :, -SHIFT:]], axis=2)
                best[block] = np.maximum(best[block], near.max(axis=(1, 2)))
        return best


@dataclass(frozen=True)
class Rings:
    """All pictures' polar planes, kept as int8; `take` gives their spectra over the angle, freed of what all of them share."""

    stored: npt.NDArray[np.int8]
    """N x ANGLES x RADII."""
    mean: Array
    weight: Array

    def take(self, which: Indices) -> Spectrum:
        """Spectra of some of them, M x frequencies x RADII."""
        return np.asarray(scipy.fft.rfft(_unit((self.stored[which] - self.mean) * self.weight), axis=1), np.complex64)

    def similarity(self, first: Indices, second: Indices) -> Array:
        """Correlation of pairs, the best over all angles by which one may be turned around its centre, and mirroring."""
        best = np.empty(len(first), np.float32)
        for block in blocks(len(first), 1024):
            one, other = self.take(first[block]), self.take(second[block])
            turned = scipy.fft.irfft((one * other.conj()).sum(axis=2), n=ANGLES, axis=1).max(axis=1)
            mirrored = scipy.fft.irfft((one * other).sum(axis=2), n=ANGLES, axis=1).max(axis=1)
            best[block] = np.maximum(turned, mirrored)
        return best


def planes_of(stored: npt.NDArray[np.int8]) -> Planes:
    """N x side x side int8 -> comparable planes.

    Parts of one design share their edges: the mean over all of them says nothing of one, and a pixel that differs everywhere says
    less than one that rarely does. What a shift moves in and out at the edges counts less, too.
    """
    mean: Array = np.mean([turned.mean(axis=0, dtype=np.float32) for turned in turns(stored)], axis=0, dtype=np.float32)
    square = np.zeros_like(mean)
    for block in blocks(len(stored), 4096):
        square += sum((turned**2).sum(axis=0) for turned in turns(stored[block] - mean)) / (8 * len(stored))
    window = np.hanning(PLANE_SIDE + 2)[1:-1]
    return Planes(stored, mean, (np.sqrt(np.outer(window, window)) * _rarity(np.sqrt(square))).astype(np.float32))


def rings_of(stored: npt.NDArray[np.int8]) -> Rings:
    """N x ANGLES x RADII int8 -> comparable rings; an outer ring is longer and counts more."""
    mean = stored.mean(axis=(0, 1), dtype=np.float32)
    square = np.zeros_like(mean)
    for block in blocks(len(stored), 4096):
        square += ((stored[block] - mean) ** 2).sum(axis=(0, 1)) / (len(stored) * ANGLES)
    spread = np.sqrt(square)
    length = np.sqrt((np.arange(RADII) + 0.5) / RADII)
    return Rings(stored, mean, (length * _rarity(spread)).astype(np.float32))


def turns(pictures: npt.NDArray[Kind]) -> list[npt.NDArray[Kind]]:
    """N x side x side in the eight ways a picture can be turned by right angles and mirrored."""
    return [np.rot90(one, turn, (1, 2)) for one in (pictures, pictures[:, :, ::-1]) for turn in range(4)]


def limit(unrelated: Array, pictures: int) -> float:
    """The similarity from which two of so many pictures count as look-alikes.

    `unrelated` is the similarity of random pairs, nearly all of which show different parts: the limit is where less than
    FALSE_LINKS of them per picture would lie, were their Fisher-transformed values normal. Where all parts look alike anyway it
    rises by itself.
    """
    transformed = np.arctanh(np.clip(unrelated, -0.999, 0.999))
    middle, high = np.percentile(transformed, [50, 90])
    spread = (high - middle) / ndtri(0.9)
    return max(FLOOR, float(np.tanh(middle + spread * -ndtri(FALSE_LINKS / max(2, pictures)))))


def blocks(count: int, size: int) -> list[slice]:
    """Slices of `size` that cover `count` rows."""
    return [slice(start, start + size) for start in range(0, count, size)]


def _rarity(spread: Array) -> Array:
    return np.asarray(1 / (spread + 0.1 * spread.mean() + 1e-6), np.float32)


def _unit(values: Array) -> Array:
    length = np.sqrt((values**2).sum(axis=(1, 2), keepdims=True))
    return np.asarray(values / np.maximum(length, 1e-9), np.float32)
