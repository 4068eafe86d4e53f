"""The figures for Prometheus, at http://address:port/metrics."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from deploy.cameras.state import State
from deploy.errors import StationError
from deploy.health.snapshot import Snapshot

AT_ONCE = 8
"""More connections are closed at once: each is a thread and two files of a process that must not run out of them."""
QUANTILES = {"p50": "0.5", "p99": "0.99"}


@contextmanager
def metrics_served(address: str, port: int, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
    """Answer meanwhile, on threads of its own. Raises StationError where the port is taken or the address is not ours."""
    registry = CollectorRegistry()
    registry.register(StationCollector(snapshot))
    ProcessCollector(registry=registry)  # memory, open files and start under the names that Prometheus gives them everywhere
    try:
        server = make_server(address, port, make_wsgi_app(registry), _Server6 if ":" in address else _Server, _Handler)
    except OSError as error:
        raise StationError(
            f"health: {address} port {port} cannot be listened on ({error.strerror or error}); is another inspector using it? "
            "Give another port, an address of this machine (0.0.0.0 for all), or take health out of station.yaml"
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class StationCollector(Collector):
    """Makes metrics of a snapshot, at each scrape anew."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that nobody takes a snapshot for the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The metrics of now."""
        now = self._snapshot()
        session = now.session
        yield InfoMetricFamily(
            "inspector_bundle",
            "What decides.",
            {
                "bundle": session.bundle,
                "version": str(session.version),
                "sha256": session.bundle_sha256,
                "precision": session.precision,
                "engine": session.engine,
            },
        )
        yield GaugeMetricFamily("inspector_ready", "1 while parts get verdicts, 0 while they are faults.", now.ready)
        yield GaugeMetricFamily("inspector_recording", "1 while rows reach the disk.", now.record.trouble is None)
        parts = CounterMetricFamily("inspector_parts", "Parts by their verdict.", labels=["verdict"])
        for verdict, count in now.parts.items():
            parts.add_metric([verdict], count)
        yield parts
        yield CounterMetricFamily("inspector_faults", "What kept frames from being judged.", now.faults)
        latency = Metric("inspector_latency_seconds", "Capture to decision: the age of a frame when it was decided.", "summary")
        for name, value_ms in now.latency_ms.items():
            if value_ms is not None:
                latency.add_sample(latency.name, {"quantile": QUANTILES[name]}, value_ms / 1000)
        yield latency
        yield from _cameras(now)
        record = now.record
        yield GaugeMetricFamily("inspector_record_rows_waiting", "Rows that wait for the disk.", record.rows_waiting)
        yield GaugeMetricFamily("inspector_record_pictures_waiting", "Pictures that wait for the disk.", record.pictures_waiting)
        yield CounterMetricFamily("inspector_record_rows_lost", "Rows that will never be in the record.", record.rows_lost)
        yield CounterMetricFamily("inspector_record_views_dropped", "Views the disk did not take.", record.views_dropped)
        pictures = CounterMetricFamily("inspector_pictures", "Pictures worth keeping.", labels=["fate"])
        pictures.add_metric(["saved"], record.pictures_saved)
        pictures.add_metric(["dropped"], record.pictures_dropped)
        yield pictures
        drift = GaugeMetricFamily("inspector_drift", "1 while it drifts.", labels=["camera", "region", "quantity"])
        for figure in now.drift:
            drift.add_metric([figure.camera, figure.region, figure.quantity], figure.drifts)
        yield drift


def _cameras(now: Snapshot) -> Iterator[Metric]:
    captured = CounterMetricFamily("inspector_frames_captured", "Frames that the camera delivered.", labels=["camera"])
    frames = CounterMetricFamily("inspector_frames", "Where they went.", labels=["camera", "fate"])
    state = GaugeMetricFamily("inspector_camera_state", "1 for the state it is in.", labels=["camera", "state"])
    age = GaugeMetricFamily("inspector_frame_age_seconds", "Since its newest frame was captured.", labels=["camera"])
    rate = GaugeMetricFamily("inspector_frame_rate_hertz", "Frames a second that really came.", labels=["camera"])
    reconnects = GaugeMetricFamily("inspector_camera_reconnects", "Reopened within the last hour.", labels=["camera"])
    for one in now.cameras:
        captured.add_metric([one.name], one.captured)
        frames.add_metric([one.name, "judged"], one.judged)
        frames.add_metric([one.name, "dropped"], one.dropped)
        frames.add_metric([one.name, "faulted"], one.faulted)
        if one.state is None or one.fps is None:
            continue
        for each in State:
            state.add_metric([one.name, each.value], each.value == one.state)
        rate.add_metric([one.name], one.fps)
        reconnects.add_metric([one.name], one.reconnects_last_hour)
        if one.age_s is not None:
            age.add_metric([one.name], one.age_s)
    yield from (captured, frames, state, age, rate, reconnects)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, *words: Any) -> None:
        self._free = threading.Semaphore(AT_ONCE)
        super().__init__(*words)

    def verify_request(self, *_: Any) -> bool:
        """Is there a thread left for who asks?"""
        return self._free.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        """As the base class does."""
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread to be had now
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As the base class does."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def server_bind(self) -> None:
        """As the base classes do, but without asking a name server for this machine's name: a line may have none, for 30 s."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, *_: Any) -> None:
        """Somebody who asked has gone, or never said what for."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 1
    """Who connects and says nothing holds a thread no longer than this."""

    def log_message(self, *_: Any) -> None:
        """Nothing: a scrape is no event."""
