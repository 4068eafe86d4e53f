"""The picture, the status and the buttons, drawn as one image; and which button lies under the mouse."""

import unicodedata
from dataclasses import dataclass

import cv2
import numpy as np

from deploy.capture.keys import GOOD, Command, Key
from deploy.capture.status import Status
from deploy.preprocess import Picture, Preprocessing, letterbox

WIDTH, HEIGHT = 1024, 720
BUTTON = 44
GAP = 6
LINE = 26
PICTURE_HEIGHT = HEIGHT - 3 * LINE - 2 * (BUTTON + GAP) - 2 * GAP
FONT = cv2.FONT_HERSHEY_SIMPLEX
SMALLEST = 0.35

Colour = tuple[int, int, int]
BACKGROUND: Colour = (35, 35, 35)  # BGR
WHITE: Colour = (255, 255, 255)
DIM: Colour = (150, 150, 150)
GREEN: Colour = (80, 160, 40)
RED: Colour = (50, 45, 215)
ALARM: Colour = (110, 110, 255)
GREY: Colour = (95, 95, 95)

_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i"}
)
"""Latin letters that do not decompose into one of ASCII and a mark."""


@dataclass(frozen=True)
class Button:
    """A key that can be clicked."""

    key: Key
    left: int
    top: int
    width: int
    height: int = BUTTON

    def holds(self, x: int, y: int) -> bool:
        """Is this point of the image on the button?"""
        return self.left <= x < self.left + self.width and self.top <= y < self.top + self.height


def buttons_for(keys: tuple[Key, ...]) -> tuple[Button, ...]:
    """Two rows at the bottom of the image: the labels above, everything else below."""
    labels = [key for key in keys if isinstance(key.does, str)]
    commands = [key for key in keys if isinstance(key.does, Command)]
    placed = []
    for row, top in ((labels, HEIGHT - 2 * (BUTTON + GAP)), (commands, HEIGHT - BUTTON - GAP)):
        width = (WIDTH - GAP) // len(row)
        placed += [Button(key, GAP + number * width, top, width - GAP) for number, key in enumerate(row)]
    return tuple(placed)


def clicked(buttons: tuple[Button, ...], x: int, y: int) -> str | None:
    """The key of the button at this point, or None."""
    return next((button.key.key for button in buttons if button.holds(x, y)), None)


def draw(picture: Picture | None, status: Status, buttons: tuple[Button, ...]) -> Picture:
    """An image of HEIGHT x WIDTH: the picture with its aspect ratio kept, three lines of status, the buttons."""
    board = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
    if picture is not None:
        room = Preprocessing(height=PICTURE_HEIGHT, width=WIDTH, pad_bgr=(0, 0, 0))
        board[:PICTURE_HEIGHT] = letterbox(picture, room)
    lines = (
        (f"{status.part}   |   {status.counts}", WHITE),
        (status.picture, WHITE if status.ready else ALARM),
        (status.last.text, ALARM if status.last.alarm else WHITE),
    )
    named = [button.key for button in buttons if not button.key.text.isascii()]
    for number, (text, colour) in enumerate(lines):
        for key in sorted(named, key=lambda key: -len(key.text)):
            text = text.replace(key.text, _drawn(key))
        _write(board, text, GAP, PICTURE_HEIGHT + GAP + number * LINE, WIDTH - 2 * GAP, LINE, colour, 0.55)
    for button in buttons:
        _draw_button(board, button, status.ready)
    return board


def _drawn(key: Key) -> str:
    """A key's text in the characters that OpenCV can draw: without marks, or by its number where that is not enough."""
    text = _without_marks(key.text)
    return text if text.isascii() else f"type {key.key}"


def _without_marks(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text.translate(_LETTERS)) if not unicodedata.combining(c))


def _draw_button(board: Picture, button: Button, ready: bool) -> None:
    is_label = isinstance(button.key.does, str)
    colour = GREY if not is_label or not ready else GREEN if button.key.does == GOOD else RED
    corner = (button.left + button.width - 1, button.top + button.height - 1)
    cv2.rectangle(board, (button.left, button.top), corner, colour, cv2.FILLED)
    text = f"{button.key.key.upper()}  {_drawn(button.key)}"
    text_colour = DIM if is_label and not ready else WHITE
    _write(board, text, button.left + GAP, button.top, button.width - 2 * GAP, button.height, text_colour, 0.6, centred=True)


def _write(
    board: Picture, text: str, left: int, top: int, width: int, height: int, colour: Colour, scale: float, centred: bool = False
) -> None:
    """Write within this rectangle: smaller where it would not fit, and cut off where that would be illegible.

    OpenCV draws a question mark for each byte outside ASCII; what has no substitute becomes an underscore.
    """
    text = "".join(c if c.isascii() else "_" for c in _without_marks(text))
    scale = max(SMALLEST, scale * min(1.0, width / max(1, _width(text, scale))))
    if _width(text, scale) > width:
        while text and _width(f"{text}...", scale) > width:
            text = text[:-1]
        text = f"{text}..."
    (_, text_height), _ = cv2.getTextSize("Ag", FONT, scale, 1)
    shift = (width - _width(text, scale)) // 2 if centred else 0
    cv2.putText(board, text, (left + shift, top + (height + text_height) // 2), FONT, scale, colour, 1, cv2.LINE_AA)


def _width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, FONT, scale, 1)[0][0])
