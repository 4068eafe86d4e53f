"""Prometheus' endpoint by itself: who asks too much, says nothing, or cannot be answered."""

import socket
import threading
import urllib.request
from contextlib import ExitStack

import pytest

from deploy.errors import StationError
from deploy.health.metrics import AT_ONCE, metrics_served
from tests.deploy.health.test_status_file import snapshot
from tests.deploy.store.feed import wait_for


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return b"inspector_ready 1.0" in answer.read()
    except OSError:  # refused: every thread is taken
        return False


def test_connections_that_say_nothing_take_a_few_threads_and_not_for_long(port: int) -> None:
    before = threading.active_count()
    with metrics_served("127.0.0.1", port, snapshot), ExitStack() as stack:
        for _ in range(5 * AT_ONCE):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        wait_for(lambda: threading.active_count() > before + 1)
        assert threading.active_count() <= before + 1 + AT_ONCE
        wait_for(lambda: answers(port))
        for _ in range(3 * AT_ONCE):
            wait_for(lambda: answers(port))


def test_threads_that_cannot_be_started_cost_no_places(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "process_request" in thread.name and len(refused) < 2 * AT_ONCE:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with metrics_served("127.0.0.1", port, snapshot):
        for _ in range(2 * AT_ONCE):
            assert not answers(port)
        assert answers(port)
    assert len(refused) == 2 * AT_ONCE


def test_an_address_of_another_machine_is_told(port: int) -> None:
    with (
        pytest.raises(StationError, match=f"203.0.113.7 port {port} cannot be listened on .*assign.*Give another port"),
        metrics_served("203.0.113.7", port, snapshot),
    ):
        pass
