"""Real defects of some training pictures on good ones: more defective parts than the line has made so far.

Pasting what was cut out along its mask, with soft edges: Dwibedi, Misra, Hebert: Cut, Paste and Learn, ICCV 2017. Pasting onto
good parts to learn to see defects: Li, Sohn, Yoon, Pfister: CutPaste, CVPR 2021; there the patch is any piece of the part, here
it is a defect, at a place where one has been.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.data.example import DEFECT, UNKNOWN, Example

AROUND = 3
"""Pixels around a defect that are cut out with it: its shadow, its rim, and a mask that was drawn too tight."""
FEATHER = 1.5
"""Sigma in pixels of the soft edge outside of those."""
FADED = 0.05
"""Less of a pixel than this is not cut out."""
LARGEST = 0.1
"""Share of the picture above which a cut is the part itself rather than something on it."""
SMALLEST = 0.1
"""Share of its picture's largest piece below which a piece is a speck of the mask, and alone no reason to reject a part."""
JITTER = 0.05
"""How far from the place where it was seen a defect is pasted, as a share of the picture's side."""


@dataclass(frozen=True)
class Cut:
    """A defect of h x w pixels."""

    picture: Tensor
    """3 x h x w, float, 0..255."""
    alpha: Tensor
    """h x w, 0..1: how much of it covers what is below."""
    defect: Tensor
    """h x w, bool."""
    ring: Tensor
    """h x w, bool: the good pixels around the defect, whose brightness is matched."""
    middle: tuple[float, float]
    """Where it was seen: row and column as shares of the picture's height and width."""


Bank = tuple[tuple[Cut, ...], ...]
"""The defects of each picture that has any."""


def cut_defects(examples: Iterable[Example]) -> Bank:
    """Cut the defects out of the examples; those that only a box tells of, or nothing, give none."""
    return tuple(cuts for example in examples if (cuts := tuple(_cuts(example))))


def _cuts(example: Example) -> Iterator[Cut]:
    truth = example.truth.numpy()
    if not (truth == DEFECT).any() or (truth == UNKNOWN).any():
        return
    top, left, height, width = example.content
    defect = (truth == DEFECT)[top : top + height, left : left + width]
    picture = example.picture[:, top : top + height, left : left + width]
    grown = cv2.dilate(defect.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * AROUND + 1,) * 2))
    count, pieces, boxes, _ = cv2.connectedComponentsWithStats(grown)
    sizes = [int((defect & (pieces == piece)).sum()) for piece in range(1, count)]
    margin = round(2 * FEATHER)
    for piece, size in enumerate(sizes, start=1):
        x, y, w, h = (int(value) for value in boxes[piece, :4])
        if size < SMALLEST * max(sizes) or w * h > LARGEST * height * width:
            continue
        rows = slice(max(0, y - margin), min(height, y + h + margin))
        columns = slice(max(0, x - margin), min(width, x + w + margin))
        alpha = cv2.GaussianBlur((pieces[rows, columns] == piece).astype(np.float32), (0, 0), FEATHER)
        alpha = np.where(alpha > FADED, alpha, 0)
        own = defect[rows, columns] & (pieces[rows, columns] == piece)
        yield Cut(
            picture[:, rows, columns].float(),
            torch.from_numpy(alpha),
            torch.from_numpy(own),
            torch.from_numpy((alpha > 0) & ~defect[rows, columns]),
            ((rows.start + rows.stop) / 2 / height, (columns.start + columns.stop) / 2 / width),
        )


def paste_defect(example: Example, bank: Bank, mirrors: tuple[bool, bool]) -> Example:
    """A good example with a random defect of the bank near where it was seen, as bright as what surrounds it.

    `mirrors` says whether it may be mirrored left to right, top to bottom. The defect stays within the picture, off the
    letterbox bars; an example it does not fit into is returned as it is.
    """
    cuts = bank[_below(len(bank))]
    cut = cuts[_below(len(cuts))]
    flips = [axis for axis, allowed in ((-1, mirrors[0]), (-2, mirrors[1])) if allowed and _below(2)]
    source, alpha, defect, ring = (plane.flip(flips) for plane in (cut.picture, cut.alpha, cut.defect, cut.ring))
    top, left, height, width = example.content
    h, w = defect.shape
    if h > height or w > width:
        return example
    row = top + _start(cut.middle[0], height, h)
    column = left + _start(cut.middle[1], width, w)
    picture, truth = example.picture.clone(), example.truth.clone()
    window = picture[:, row : row + h, column : column + w]
    below = window.float()
    if ring.any():
        source = source + (below[:, ring].mean(dim=1) - source[:, ring].mean(dim=1)).view(3, 1, 1)
    window[:] = torch.lerp(below, source, alpha).round_().clamp_(0, 255)
    truth[row : row + h, column : column + w][defect] = DEFECT
    return example._replace(picture=picture, truth=truth, defective=True)


def _start(middle: float, side: int, length: int) -> int:
    """Where `length` pixels begin in `side` of them, about that middle and never beyond the ends."""
    jitter = JITTER * float(torch.empty(()).uniform_(-1, 1))
    return min(max(0, round((middle + jitter) * side - length / 2)), side - length)


def _below(count: int) -> int:
    return int(torch.randint(count, ()))
