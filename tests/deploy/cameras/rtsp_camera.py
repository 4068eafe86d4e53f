"""A network camera: H.264 over RTSP on loopback, 320 x 240, with a number and the clock drawn into every picture.

Usage: rtsp_camera.py PORT FPS, run by the system's Python, which has GStreamer's bindings. The picture's first two rows of
blocks are the frame's number and its inverse, the next two the milliseconds of the machine's monotonic clock and their inverse.
"""

import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

WIDTH, HEIGHT, BLOCK = 320, 240, 16
BITS = WIDTH // BLOCK


def picture(number: int, milliseconds: int) -> bytes:
    rows = []
    for value in (number, milliseconds):
        for inverted in (False, True):
            bits = [bool(value >> bit & 1) != inverted for bit in range(BITS)]
            rows.append(b"".join((b"\xe0" if bit else b"\x20") * BLOCK for bit in bits) * BLOCK)
    moving = bytes((column + 4 * number) % 256 // 2 + 64 for column in range(WIDTH))
    return b"".join(rows) + moving * (HEIGHT - 4 * BLOCK)


def serve(port: str, fps: int) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer(service=port, address="127.0.0.1")
    belt = GstRtspServer.RTSPMediaFactory()
    belt.set_shared(True)
    belt.set_launch(
        "( appsrc name=source is-live=true do-timestamp=true format=time"
        f" caps=video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate={fps}/1"
        f" ! videoconvert ! video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps}"
        " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    sources = []

    def configured(_: object, media: "GstRtspServer.RTSPMedia") -> None:
        source = media.get_element().get_child_by_name("source")
        sources.append(source)
        media.connect("unprepared", lambda _: sources.remove(source))

    number = 0

    def shoot() -> bool:
        nonlocal number
        number += 1
        data = picture(number, int(time.monotonic() * 1000) % (1 << BITS))
        for source in list(sources):
            source.emit("push-buffer", Gst.Buffer.new_wrapped(data))
        return True

    belt.connect("media-configure", configured)
    server.get_mount_points().add_factory("/belt", belt)
    server.attach(None)
    GLib.timeout_add(1000 // fps, shoot)
    GLib.MainLoop().run()


serve(sys.argv[1], int(sys.argv[2]))
