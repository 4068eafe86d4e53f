"""Real pipelines of GStreamer's own test source."""

import time

import numpy as np
import pytest

from deploy.cameras import open_camera
from deploy.cameras.gobject import gstreamer
from deploy.cameras.gstreamer import Pipeline
from deploy.cameras.newest import NewestOnly
from deploy.cameras.pulled import Pulled
from deploy.cameras.settings import CameraSettings
from deploy.errors import CameraError, CameraLost
from tests.deploy.cameras.ages import youngest_s

DEFAULTS = CameraSettings()
BELT = "videotestsrc is-live=true ! video/x-raw,width=322,height=240,framerate=25/1"


@pytest.fixture(autouse=True)
def installed(system_gi: None) -> None:
    try:
        gstreamer()
    except CameraError as error:
        pytest.skip(str(error))


def test_it_delivers_through_its_uri() -> None:
    with open_camera(f"gstreamer:{BELT}") as camera:
        frames = [camera.read() for _ in range(3)]
        assert camera.fps == 25
    for frame in frames:
        assert frame is not None
        assert frame.picture.shape == (240, 322, 3)  # 322 x 3 bytes are padded to 968 in GStreamer
    assert [frame.sequence for frame in frames if frame] == sorted({frame.sequence for frame in frames if frame})


@pytest.mark.parametrize("kind", ["I420", "NV12", "BGRx", "GRAY8", "RGB", "bayer"])
def test_colours_and_places_are_right_whatever_the_source_sends(kind: str) -> None:
    """Colour bars: white on the left, blue on the right."""
    caps = "video/x-bayer,format=rggb" if kind == "bayer" else f"video/x-raw,format={kind}"
    convert = " ! bayer2rgb" if kind == "bayer" else ""
    if convert and gstreamer()[0].ElementFactory.find("bayer2rgb") is None:
        pytest.skip("apt install gstreamer1.0-plugins-bad")
    with Pulled(
        Pipeline(f"videotestsrc pattern=smpte75 is-live=true ! {caps},width=140,height=90,framerate=25/1{convert}", DEFAULTS)
    ) as camera:
        picture = camera.read().picture
    grey, blue = picture[20, 10].astype(int), picture[20, 130].astype(int)
    assert np.ptp(grey) < 12
    assert 160 < grey.mean() < 210
    if kind != "GRAY8":
        assert (blue[0] > 150, blue[1] < 40, blue[2] < 40) == (True, True, True)


def test_a_frame_that_waited_is_the_newest_and_its_age_is_honest() -> None:
    with Pulled(Pipeline(BELT, DEFAULTS)) as camera:
        camera.read()
        looked = time.monotonic()
        time.sleep(0.5)
        assert camera.read().captured_at <= looked + 0.01
        assert youngest_s(camera) < 0.2


def test_a_stream_that_ends_is_a_loss_and_is_opened_anew() -> None:
    with (
        Pulled(Pipeline("videotestsrc num-buffers=5", DEFAULTS)) as camera,
        pytest.raises(CameraLost, match="the stream has ended"),
    ):
        list(iter(camera.read, None))
    with NewestOnly(lambda: Pulled(Pipeline(f"{BELT} ! identity eos-after=5", DEFAULTS))) as camera:
        frames, losses = 0, 0
        end = time.monotonic() + 20
        while (frames < 8 or not losses) and time.monotonic() < end:
            try:
                frames += camera.read() is not None
            except CameraLost:
                losses += 1
        assert frames >= 8


def test_an_error_of_an_element_is_a_loss_with_its_words() -> None:
    with Pulled(Pipeline(f"{BELT} ! identity error-after=4", DEFAULTS)) as camera, pytest.raises(CameraLost, match="identity"):
        list(iter(camera.read, None))


def test_a_silent_source_is_a_loss() -> None:
    driver = Pipeline(BELT, DEFAULTS)
    with Pulled(driver) as camera:
        camera.read()
        driver._pipeline.set_state(gstreamer()[0].State.PAUSED)
        started = time.monotonic()
        with pytest.raises(CameraLost, match=r"delivered nothing for 1\.5 s"):
            list(iter(camera.read, None))
        assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("", "give the pipeline up to the picture"),
        ("videotestsrc ! appsink", "no appsink"),
        ("nosuchsrc", 'no element "nosuchsrc"; check its elements with gst-inspect-1.0'),
        ("videotestsrc ! !", "syntax error"),
        ("v4l2src device=/dev/video99", "Cannot identify device '/dev/video99'"),
        ("filesrc location=/nowhere ! jpegdec", "Resource not found"),
        ("fakesrc num-buffers=0 ! jpegdec", "it opens, but delivers no picture"),
    ],
)
def test_what_does_not_start_says_why(pipeline: str, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        open_camera(f"gstreamer:{pipeline}")


def test_no_password_is_told() -> None:
    pipeline = "souphttpsrc location=http://anna:se@cret@127.0.0.1:9/x user-pw=topsecret proxy-pw='my secret' ! jpegdec"
    with pytest.raises(CameraError) as caught:
        open_camera(f"gstreamer:{pipeline}")
    assert "http://anna:***@127.0.0.1:9/x user-pw=*** proxy-pw=***" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_settings_belong_into_the_pipeline_but_pictures_can_be_turned() -> None:
    with pytest.raises(CameraError, match="exposure, gain cannot be set here, only rotation can; say it in the pipeline"):
        open_camera(f"gstreamer:{BELT}", settings=CameraSettings(exposure=1000, gain="auto"))
    with open_camera(f"gstreamer:{BELT}", settings=CameraSettings(rotation=270)) as camera:
        frame = camera.read()
    assert frame is not None
    assert frame.picture.shape == (322, 240, 3)


def test_closing_in_any_state() -> None:
    camera = Pulled(Pipeline(BELT, DEFAULTS))
    camera.close()
    camera.close()
    with pytest.raises(CameraLost, match="is closed"):
        camera.read()
