"""The rules that all SDK cameras share, with a driver that does what it is told."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deploy.cameras import Frame, Unreadable, pulled
from deploy.cameras.life import NothingYet
from deploy.cameras.newest import NewestOnly
from deploy.cameras.pulled import Pull, Pulled
from deploy.errors import CameraError, CameraLost

PICTURE = np.full((2, 2, 3), 7, np.uint8)
Answer = Callable[[float], Pull]


class Told:
    """Answers as it is told, one answer per call; then, the last one for ever."""

    def __init__(self, *answers: Answer, on_event: bool = False) -> None:
        self.name = "the camera"
        self.fps: float | None = None
        self.advice = "look at it"
        self.on_event = on_event
        self.released = 0
        self._answers = list(answers)

    def pull(self, timeout_s: float) -> Pull:
        return (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])(timeout_s)

    def release(self) -> None:
        self.released += 1


def there(_: float) -> Pull:
    return Pull(1, PICTURE, time.monotonic())


def nothing(timeout_s: float) -> Pull:
    time.sleep(timeout_s)
    return Pull()


def soon(_: float) -> Pull:
    time.sleep(0.05)
    return there(0)


def hung(_: float) -> Pull:
    time.sleep(0.6)
    return there(0)


def torn(timeout_s: float) -> Pull:
    time.sleep(min(timeout_s, 0.01))
    return Pull(2, arrived=time.monotonic(), trouble="a packet is missing")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulled, "FIRST_S", 0.3)
    monkeypatch.setattr(pulled, "SILENCE", 0.15)  # of 2 s
    monkeypatch.setattr(pulled, "EVENT_S", 0.1)


def test_a_picture_that_one_waited_for_is_as_old_as_its_arrival() -> None:
    camera = Pulled(Told(there, nothing, soon))
    asked = time.monotonic()
    assert camera.read().captured_at >= asked + 0.05


def test_a_picture_that_lay_there_is_as_old_as_the_last_look() -> None:
    camera = Pulled(Told(there))
    looked = time.monotonic()
    time.sleep(0.2)
    assert camera.read().captured_at <= looked


def test_a_picture_from_a_call_that_hung_is_as_old_as_the_question() -> None:
    camera = Pulled(Told(there, nothing, hung))
    captured_at = camera.read().captured_at
    assert time.monotonic() - captured_at >= 0.55  # the call took 0.6 s


def test_what_is_not_whole_is_counted_and_not_delivered() -> None:
    camera = Pulled(Told(there, torn, torn, there))
    assert camera.read().sequence == 6


@pytest.mark.parametrize(
    ("answer", "message"),
    [(nothing, r"delivered nothing for 0\.3 s; look at it"), (torn, r"no whole picture for 0\.3 s \(a packet is missing\)")],
)
def test_silence_is_a_loss(answer: Answer, message: str) -> None:
    with pytest.raises(CameraLost, match=message):
        Pulled(Told(there, answer)).read()


@pytest.mark.parametrize("answer", [nothing, torn])
def test_a_camera_without_a_first_picture_does_not_open(answer: Answer) -> None:
    driver = Told(answer)
    with pytest.raises(CameraError, match="it opens, but delivers no picture: the camera") as caught:
        Pulled(driver)
    assert not isinstance(caught.value, CameraLost)
    assert driver.released == 1


def test_a_triggered_camera_opens_without_a_picture_and_says_that_there_is_none() -> None:
    camera = Pulled(Told(nothing, on_event=True))
    with pytest.raises(NothingYet):
        camera.read()


def test_a_triggered_camera_says_so_often_enough_for_its_limit() -> None:
    camera = Pulled(Told(nothing, on_event=True), limit_s=0.2)
    asked = time.monotonic()
    for _ in range(10):
        with pytest.raises(NothingYet):
            camera.read()
    assert time.monotonic() - asked < 10 * 0.09  # from 0.09 s on it would be stalled


def test_a_torn_picture_of_a_triggered_camera_is_told_and_the_camera_stays_open() -> None:
    driver = Told(nothing, torn, nothing, soon, on_event=True)
    found: list[Frame | Unreadable] = []
    with NewestOnly(lambda: Pulled(driver)) as camera:
        while not found or isinstance(found[-1], Unreadable):
            try:
                frame = camera.read()
                assert frame is not None
                found.append(frame)
            except Unreadable as error:
                found.append(error)
        assert driver.released == 0
    first, second = found
    assert str(first) == "the camera delivered no whole picture (a packet is missing); look at it"
    assert (first.sequence, first.name) == (2, "frame 2")
    assert second.sequence > 2


def test_closing_twice_and_under_a_read_releases_once() -> None:
    driver = Told(there, nothing)
    camera = Pulled(driver)
    caught: list[Any] = []

    def read() -> None:
        try:
            camera.read()
        except CameraLost as error:
            caught.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    camera.close()
    camera.close()
    reader.join(5)
    assert driver.released == 1
    assert caught == ["the camera is closed"]


def test_a_driver_that_hangs_is_not_released_under_its_own_call() -> None:
    started, goes_on = threading.Event(), threading.Event()

    def stuck(_: float) -> Pull:
        started.set()
        goes_on.wait(10)
        return Pull()

    driver = Told(there, stuck)
    camera = Pulled(driver)

    def read() -> None:
        with pytest.raises(CameraLost):
            camera.read()

    reader = threading.Thread(target=read)
    reader.start()
    started.wait(5)
    camera.close()
    assert driver.released == 0
    goes_on.set()
    reader.join(5)
    camera.close()
    assert driver.released == 1
