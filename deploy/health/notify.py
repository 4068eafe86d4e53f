"""Words to the service manager (systemd's sd_notify protocol): ready, alive, stopping. Without one they go nowhere."""

import os
import socket
from contextlib import suppress


def notify(*words: str) -> None:
    """Send assignments such as `READY=1` or `STATUS=…`; never waits, and never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.sendto("\n".join(word.replace("\n", " ") for word in words).encode(), address.replace("@", "\0", 1))


def watchdog_s() -> float | None:
    """Within how many seconds the service manager wants a sign of life from this process; None: it wants none."""
    with suppress(ValueError):
        if int(os.environ.get("WATCHDOG_PID", os.getpid())) == os.getpid():
            return int(os.environ.get("WATCHDOG_USEC", "")) / 1e6 or None
    return None
