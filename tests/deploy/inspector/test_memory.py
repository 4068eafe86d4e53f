"""What was freed goes back to the system."""

import ctypes
import gc
import subprocess
import sys

import pytest

from deploy.inspector import memory
from deploy.inspector.memory import Memory, settled
from tests.deploy.commands import ENVIRONMENT

FRAGMENTED = """
import re, threading
from deploy.inspector.memory import give_back
def heap_mb():
    return int(re.search(r"Anonymous:\\s+(\\d+)", open("/proc/self/smaps_rollup").read())[1]) / 1000
kept = []
def work():  # many threads take large and small pieces; the small ones, which stay, keep the large ones from being given back
    pieces = [(bytearray(100_000), bytearray(2_000)) for _ in range(300)]
    kept.extend(small for _, small in pieces)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
before = heap_mb()
give_back()
print(before, heap_mb())
"""


POOLS = """
import re, sys, threading
import cv2, numpy, onnxruntime
from deploy.inspector.memory import Memory
if sys.argv[1] == "one":
    Memory()
kept = []
threads = [threading.Thread(target=lambda: kept.append(numpy.ones(50_000, numpy.uint8))) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
# A thread's own pool begins at a multiple of 64 MiB.
print(len([line for line in open("/proc/self/maps") if re.match(r"[0-9a-f]+[048c]000000-\\S+ rw-p 00000000 00:00 0 *$", line)]))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="mallopt is glibc's: run this on a Linux with glibc")
def test_threads_share_one_pool() -> None:
    def pools(how: str) -> int:
        line = [sys.executable, "-c", POOLS, how]
        return int(subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout)

    assert pools("each its own") > 0
    assert pools("one") == 0


def test_memory_that_threads_have_freed_goes_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("malloc_trim is glibc's: run this on a Linux with glibc")
    done = subprocess.run([sys.executable, "-c", FRAGMENTED], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert after < before - 20


def test_the_collector_leaves_alone_what_was_there() -> None:
    with settled():
        assert gc.get_freeze_count() > 10_000
        assert len(gc.get_objects()) < 1000
    assert gc.get_freeze_count() == 0


def test_it_is_done_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(memory, "give_back", lambda: calls.append(None))
    monkeypatch.setattr(memory, "EVERY_S", 1000.0)
    station = Memory()
    station.look()
    assert not calls
    station._due = 0.0
    for _ in range(3):
        station.look()
    assert len(calls) == 1
