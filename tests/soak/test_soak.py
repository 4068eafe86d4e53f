"""The short one: too short to tell one per cent of memory, long enough for every fault."""

from pathlib import Path

import pytest

from tests.deploy.cameras.rtsp import missing_for_rtsp
from tests.soak.plot import plot
from tests.soak.soak import soak

pytest.importorskip("onnx", reason="the tiny graph of the bundle is made with onnx")


@pytest.mark.slow
def test_a_station_under_faults_loses_no_frame_no_record_and_no_descriptor(tmp_path: Path) -> None:
    if (missing := missing_for_rtsp()) is not None:
        pytest.skip(missing)
    result = soak(tmp_path / "soak", seconds=75, seed=1, pause_s=3, every_s=0.5, growth=0.15)
    assert result["trouble"] == []
    assert len(result["faults"]) + len(result["not_injected"]) == 8
    assert plot(tmp_path / "soak").stat().st_size > 10_000
