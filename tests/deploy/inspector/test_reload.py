"""What a reload does when the machine is short of something; whole reloads are in test_stations.py."""

import threading
import time
from pathlib import Path

import pytest

from deploy.bundle import Bundle
from deploy.engines import open_engine
from deploy.inspector.judge import Judge
from deploy.inspector.reload import Reloading
from deploy.verdict import Thresholds


def test_a_reload_waits_for_a_thread_to_be_had(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before, after = (Judge(bundle, "fp32", open_engine(bundle), Thresholds(accept=0.1, reject=0.9), "") for _ in range(2))
    reloading = Reloading(before, tmp_path, lambda _: after)
    reloading._asked.set()
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        reloading.look()
    assert reloading.current() is before
    reloading.look()
    end = time.monotonic() + 30
    while reloading.current() is before and time.monotonic() < end:
        time.sleep(0.01)
    assert reloading.current() is after
