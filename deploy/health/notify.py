"""Words to the service manager (systemd's sd_notify protocol): ready, alive, stopping. Without one they go nowhere."""

import os
import socket
from contextlib import suppress


def notify(*words: str) -> bool:
    """Send assignments such as `READY=1` or `STATUS=…`; never waits, and never raises.

    False where the service manager did not take them; it may later.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return True
    if address[0] == "@":
        address = "\0" + address[1:]
    said = "\n".join(word.replace("\n", " ") for word in words).encode(errors="replace")
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.sendto(said, address)
        return True
    return False


def watchdog_s() -> float | None:
    """Within how many seconds the service manager wants a sign of life from this process; None: it wants none."""
    with suppress(ValueError):
        if int(os.environ.get("WATCHDOG_PID", os.getpid())) == os.getpid():
            return int(os.environ.get("WATCHDOG_USEC", "")) / 1e6 or None
    return None
