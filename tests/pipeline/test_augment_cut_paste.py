"""Real defects on good pictures: where, how bright, and what is known of them then."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.augment.cut_paste import JITTER, cut_defects, paste_defect
from pipeline.data.example import DEFECT, GOOD, UNKNOWN, Example

SIDE = 96
CONTENT = (16, 0, 64, SIDE)
"""Between bars above and below."""


def part(grey: int, *defects: tuple[int, int, int, int], content: tuple[int, int, int, int] = CONTENT) -> Example:
    """A grey part between bars of 0, with darker defects at (top, left, height, width)."""
    top, left, height, width = content
    picture, truth = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8), torch.full((SIDE, SIDE), GOOD, dtype=torch.uint8)
    picture[:, top : top + height, left : left + width] = grey
    for y, x, h, w in defects:
        picture[:, y : y + h, x : x + w] = grey - 50
        truth[y : y + h, x : x + w] = DEFECT
    return Example(picture, truth, bool(defects), content)


def test_each_piece_of_a_mask_is_cut_and_its_specks_are_not() -> None:
    bank = cut_defects([part(120, (20, 10, 8, 8), (60, 70, 6, 9), (50, 30, 1, 1)), part(120, (40, 40, 5, 5))])
    assert [len(cuts) for cuts in bank] == [2, 1]
    assert [int(cut.defect.sum()) for cut in bank[0]] == [64, 54]
    cut = bank[1][0]
    assert list(cut.middle) == pytest.approx([(42.5 - 16) / 64, 42.5 / SIDE], abs=0.02)
    assert float(cut.alpha[cut.defect].min()) > 0.95
    assert not (cut.ring & cut.defect).any()


def test_what_is_not_known_exactly_or_is_the_part_itself_is_not_cut() -> None:
    boxed = part(120, (40, 40, 5, 5))
    boxed.truth[20:30, 20:30] = UNKNOWN
    nowhere = part(120)._replace(truth=torch.full((SIDE, SIDE), UNKNOWN, dtype=torch.uint8), defective=True)
    whole = part(120, (16, 0, 64, 60))
    assert cut_defects([boxed, nowhere, whole, part(120)]) == ()


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    row=st.integers(16, 72),
    column=st.integers(0, 88),
    content=st.sampled_from([CONTENT, (0, 30, SIDE, 36), (0, 0, SIDE, SIDE)]),
    mirrors=st.tuples(st.booleans(), st.booleans()),
)
def test_a_pasted_defect_lies_in_the_picture_near_its_place(
    seed: int, row: int, column: int, content: tuple[int, int, int, int], mirrors: tuple[bool, bool]
) -> None:
    torch.manual_seed(seed)
    bank = cut_defects([part(120, (row, column, 8, 8))])
    good = part(180, content=content)
    pasted = paste_defect(good, bank, mirrors)
    top, left, height, width = content
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[top : top + height, left : left + width] = True
    assert pasted.defective
    assert not (pasted.truth == UNKNOWN).any()
    assert int((pasted.truth == DEFECT).sum()) == 64
    assert not (pasted.truth == DEFECT)[~inside].any()
    assert torch.equal(pasted.picture[:, ~inside], good.picture[:, ~inside])
    assert (good.truth == GOOD).all(), "the good example itself stays good"
    rows, columns = torch.nonzero(pasted.truth == DEFECT, as_tuple=True)
    far = 12  # pixels by which a cut must give way to stay within the picture
    assert abs(float(rows.float().mean()) - top - (row + 3.5 - 16) / 64 * height) <= JITTER * height + far
    assert abs(float(columns.float().mean()) - left - (column + 3.5) / SIDE * width) <= JITTER * width + far


def test_it_is_as_much_darker_than_its_surroundings_as_it_was() -> None:
    torch.manual_seed(0)
    pasted = paste_defect(part(200), cut_defects([part(90, (40, 40, 8, 8))]), (False, False))
    assert np.allclose(pasted.picture[:, pasted.truth == DEFECT].float().mean(), 150, atol=4)
    unlike = (pasted.picture[0] != 200) & (pasted.truth != DEFECT) & (pasted.picture[0] > 0)
    assert int(unlike.sum()) == 0, "around it, nothing but the good part is seen"


def test_a_defect_that_does_not_fit_is_not_pasted() -> None:
    narrow = part(180, content=(0, 44, SIDE, 6))
    pasted = paste_defect(narrow, cut_defects([part(90, (40, 40, 8, 8))]), (False, False))
    assert not pasted.defective
    assert torch.equal(pasted.picture, narrow.picture)


def test_mirrors_only_where_they_are_allowed() -> None:
    wedge = part(120)
    for step in range(8):
        wedge.truth[40 + step, 40 : 41 + step] = DEFECT
    bank = cut_defects([wedge._replace(defective=True)])
    for mirrors, count in (((False, False), 1), ((True, False), 2), ((True, True), 4)):
        shapes = set()
        for seed in range(30):
            torch.manual_seed(seed)
            rows, columns = torch.nonzero(paste_defect(part(120), bank, mirrors).truth == DEFECT, as_tuple=True)
            shapes.add((tuple((rows - rows.min()).tolist()), tuple((columns - columns.min()).tolist())))
        assert len(shapes) == count
