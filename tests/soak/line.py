"""The line around the station: an RTSP camera, a folder that pictures are dropped into, a small disk, bundles, the process."""

import json
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import cv2

from deploy.store import Place, Store
from deploy.store.policy import MB
from tests.deploy.cameras.rtsp import RtspCamera
from tests.deploy.commands import COMMAND, ENVIRONMENT
from tests.deploy.redness import drawn_part, write_bundle
from tests.deploy.store.feed import SESSION, step, wait_for

RTSP_FPS = 8
DROP_EVERY_S = 0.25
DISK_MB = 64
MAX_AGE_MS = 1000
RECORD_MB = 10


class Line:
    """`start` begins; everything is stopped again when its context ends."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.record = self.disk / "record"
        self.drops = folder / "drops"
        self.station = folder / "station.yaml"
        self.bundles = [folder / "redness-1", folder / "redness-2"]
        self.bad_bundle = folder / "bad"
        self.rtsp = RtspCamera(RTSP_FPS)
        self.cameras = ["rtsp", "drop"]
        self.is_small_disk = False
        self.feeding = threading.Event()
        self.process: subprocess.Popen[bytes]
        self._rng = rng
        self._over = threading.Event()

    @contextmanager
    def started(self) -> Iterator[None]:
        """The station runs, and both cameras bring pictures."""
        with ExitStack() as stack:
            self._prepare(stack)
            self.rtsp.plug_in()
            stack.callback(self.rtsp.unplug)
            feeder = threading.Thread(target=self._feed, daemon=True)
            feeder.start()
            stack.callback(feeder.join)
            stack.callback(self._over.set)
            log = stack.enter_context((self.folder / "station.log").open("wb"))
            self.process = subprocess.Popen(
                [*COMMAND, "run", str(self.station)],
                cwd=self.folder,
                env={**ENVIRONMENT, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            stack.callback(self.process.wait)
            stack.callback(self.process.kill)
            yield

    def asked(self, query: str, *words: object) -> list[tuple[Any, ...]]:
        """What the record says; nothing while it cannot be read."""
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{self.record}/store.sqlite?mode=ro", uri=True)) as database:
            return database.execute(query, words).fetchall()
        return []

    def newest(self) -> int:
        """The number of the newest record."""
        tables = " UNION ALL ".join(f"SELECT max(record) AS record FROM {table}" for table in ("parts", "faults", "events"))
        return max((record or 0 for (record,) in self.asked(f"SELECT record FROM ({tables})")), default=0)

    def _prepare(self, stack: ExitStack) -> None:
        self.disk.mkdir(parents=True)
        self.drops.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(self.disk)]
        self.is_small_disk = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        if self.is_small_disk:
            stack.callback(self._keep_record)
        self._write_history()
        for bundle in self.bundles:
            write_bundle(bundle)
        shutil.copytree(self.bundles[0], self.bad_bundle)
        (self.bad_bundle / "model.onnx").write_bytes(b"something else")
        # JSON is YAML. The quotas are small, so that old rows and pictures make room while the soak looks on.
        cameras = [
            {
                "name": "rtsp",
                "source": self.rtsp.address,
                "max_age_ms": MAX_AGE_MS,
                "regions": [{"name": "left", "roi": [0, 0, 160, 240]}, {"name": "right", "roi": [160, 0, 160, 240]}],
            },
            {"name": "drop", "source": f"watch:{self.drops}", "max_age_ms": MAX_AGE_MS},
        ]
        pictures = {"good_every": 10, "quota_mb": 8, "leave_free_mb": 1}
        record = {"folder": str(self.record), "quota_mb": RECORD_MB, "pictures": pictures}
        station = {"name": "soak", "bundle": str(self.bundles[0]), "cameras": cameras, "record": record}
        self.station.write_text(json.dumps(station, indent=1))

    def _write_history(self) -> None:
        """As after months: the record is as large as it may be. While it grows, SQLite's caches do, and so would memory."""
        file = self.record / "store.sqlite"
        store, numbers = Store(file, SESSION, quota_bytes=RECORD_MB * MB), count(1)
        with closing(store):
            while file.stat().st_size < RECORD_MB * MB:
                for number in islice(numbers, 500):
                    store.add(replace(step(number), parts=[]), Place("rtsp", "left"))
                wait_for(lambda: store.rows_waiting == 0)

    def _keep_record(self) -> None:
        shutil.copytree(self.record, self.folder / "record", dirs_exist_ok=True)
        subprocess.run(["umount", "--lazy", str(self.disk)], check=True)

    def _feed(self) -> None:
        """Another program drops pictures, whole under their names, and keeps the folder small."""
        pictures = [cv2.imencode(".jpg", drawn_part(bad, 240))[1].tobytes() for bad in (False, False, False, True)]
        self.feeding.set()
        number = 0
        while not self._over.wait(DROP_EVERY_S * self._rng.uniform(0.5, 1.5)):
            if not self.feeding.is_set():
                continue
            number += 1
            with suppress(OSError):  # the folder was taken away
                growing = self.drops / ".growing"
                growing.write_bytes(self._rng.choice(pictures))
                growing.rename(self.drops / f"part-{number:07d}.jpg")
                for old in self.drops.glob("*.jpg"):
                    if time.time() - old.stat().st_mtime > 10:
                        old.unlink()
