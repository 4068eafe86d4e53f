import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.capture.board import HEIGHT, WIDTH, Button, buttons_for, clicked, draw
from deploy.capture.keys import Command, Key, keys_for
from deploy.capture.labelling import Message
from deploy.capture.screen import key_of
from deploy.capture.status import Status

TYPES = tuple(f"type {number} with a rather long name" for number in range(1, 10))
STATUS = Status("part 1: no pictures yet", "in all: no pictures", "sharpness 12  frame 1", True, Message("ready"))


@pytest.mark.parametrize("types", [(), ("scratch",), TYPES])
@pytest.mark.parametrize("steps", [False, True])
def test_every_key_has_a_button_of_its_own_within_the_window(types: tuple[str, ...], steps: bool) -> None:
    keys = keys_for(types, steps)
    buttons = buttons_for(keys)
    assert [button.key for button in buttons] == list(keys)
    covered = np.zeros((HEIGHT, WIDTH), int)
    for button in buttons:
        assert button.left >= 0
        assert button.left + button.width <= WIDTH
        assert button.top + button.height <= HEIGHT
        covered[button.top : button.top + button.height, button.left : button.left + button.width] += 1
    assert covered.max() == 1


def test_a_click_is_the_key_below_it() -> None:
    buttons = buttons_for(keys_for(("scratch",), False))

    def middle(button: Button) -> tuple[int, int]:
        return button.left + button.width // 2, button.top + button.height // 2

    assert [clicked(buttons, *middle(button)) for button in buttons] == ["g", "d", "1", "n", "u", "q"]
    assert clicked(buttons, WIDTH // 2, 10) is None
    assert clicked(buttons, buttons[0].left + buttons[0].width, buttons[0].top) is None  # the gap


@pytest.mark.parametrize("shape", [(8, 8, 3), (2000, 300, 3), (300, 4000, 3)])
def test_any_picture_fits(shape: tuple[int, ...]) -> None:
    board = draw(np.full(shape, 200, np.uint8), STATUS, buttons_for(keys_for(TYPES, True)))
    assert board.shape == (HEIGHT, WIDTH, 3)
    assert (board == 200).all(axis=2).any()


def test_without_a_picture_nothing_old_is_shown() -> None:
    board = draw(None, STATUS, buttons_for(keys_for((), False)))
    assert (board[:400] == board[0, 0]).all()


def test_names_that_opencv_cannot_draw_get_readable_substitutes() -> None:
    named = keys_for(("Öl", "裂纹", "Stoß", "纹"), True)
    plain = keys_for(("Ol", "type 2", "Stoss", "type 4"), True)
    said = Status(
        "part 1: 1 Öl, 2 裂纹, 1 纹",
        "in all: 9 Stoß, 1 锈",
        "sharpness 9  teil_é.png",
        True,
        Message("裂纹: defective/裂纹/a.png"),
    )
    drawn = Status(
        "part 1: 1 Ol, 2 type 2, 1 type 4",
        "in all: 9 Stoss, 1 _",
        "sharpness 9  teil_e.png",
        True,
        Message("type 2: defective/type 2/a.png"),
    )
    assert (draw(None, said, buttons_for(named)) == draw(None, drawn, buttons_for(plain))).all()
    folders = [key.does for key in named if not isinstance(key.does, Command)]
    assert folders[2:] == ["defective/Öl", "defective/裂纹", "defective/Stoß", "defective/纹"]


@given(st.text(min_size=1, max_size=40))
def test_nothing_that_is_written_needs_a_question_mark(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr("deploy.capture.board.cv2.putText", lambda _, text, *__: written.append(text))
        button = Key("1", text.replace("?", ""), "defective/x")
        status = Status(button.text, button.text, button.text, True, Message(button.text))
        draw(None, status, buttons_for((button, Key("q", "end", Command.END))))
    assert len(written) == 5
    assert all(one.isascii() and "?" not in one for one in written)


@pytest.mark.parametrize(
    ("code", "key"),
    [(-1, None), (103, "g"), (71, "G"), (27, "\x1b"), (0xFF51, None), (0xFFB2, "2"), (0x100000 | 103, "g"), (0xFFE1, None)],
)
def test_arrows_and_shift_are_no_letters(code: int, key: str | None) -> None:
    assert key_of(code) == key
