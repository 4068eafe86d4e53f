"""`inspector install`, `bench`, and what `run` and `selftest` make of the choice: real engines, as a user gives the commands."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

import deploy
from deploy.bundle import load_bundle
from deploy.engines import RUNTIMES, Engine, open_engine
from deploy.errors import EngineError, GoldenMismatch, SignatureError
from deploy.installation import install as commands
from deploy.installation import trial
from deploy.installation.choice import Choice, Measured, PairFound, choice_file, read_choice
from deploy.installation.install import bench, install
from tests.deploy.installation.conftest import Product
from tests.deploy.redness import sign
from tests.deploy.tensorrt.doubles import FakeTensorRT

pytest.importorskip("openvino", reason="OpenVINO is not installed; `pip install openvino`")

COMMAND = [sys.executable, "-m", "deploy.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(deploy.__file__).parents[1]), "COLUMNS": "200"}
Inspector = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def inspector(tmp_path: Path) -> Inspector:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )

    return run


def named(measured: Measured) -> dict[str, PairFound]:
    return {pair.name: pair for pair in measured.pairs}


@pytest.mark.usefixtures("at_once")
def test_what_agrees_is_timed_and_what_does_not_is_told(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    path = product(
        fp16={"refused": {"openvino": "AUROC fell by 0.1"}},
        int8_qdq={"golden": [0.0, 0.93], "reject": 0.95, "accept": 0.5},  # near enough, but another verdict
        int8_cpu={"golden": [0.5, 1.0]},  # too far
    )
    choice = install(path, None, Console())
    found = named(choice)
    assert set(found) == {f"{precision} on {runtime}" for precision in load_bundle(path).spec.models for runtime in RUNTIMES}
    for name in ("fp32 on onnxruntime", "fp32 on openvino", "fp16 on onnxruntime"):
        assert found[name].outcome == "agrees"
        assert found[name].latency is not None
    assert found["fp16 on openvino"].outcome == "not passed in the lab"
    assert "AUROC fell by 0.1" in found["fp16 on openvino"].refused
    for runtime in ("onnxruntime", "openvino"):
        flips, differs = found[f"int8-qdq on {runtime}"], found[f"int8-cpu on {runtime}"]
        assert (flips.outcome, flips.other_verdicts, flips.latency) == ("differs", 1, None)
        assert "1 of 2 golden pictures get another verdict" in flips.refused
        assert (differs.outcome, differs.latency) == ("differs", None)
        assert differs.difference == pytest.approx(0.5, abs=1e-3)
        assert "at most 0.1 expected for int8-cpu" in differs.refused
    agreeing = [pair.latency.p50_ms for pair in choice.pairs if pair.latency is not None]
    chosen = found[f"{choice.precision} on {choice.runtime}"].latency
    assert chosen is not None
    assert chosen.p50_ms == min(agreeing)
    reference = found["fp32 on onnxruntime"].latency
    assert reference is not None
    assert reference.times_fp32 == 1
    assert choice.runtimes.keys() >= {"onnxruntime", "openvino"}
    said = capsys.readouterr().out
    for pair in choice.pairs:
        assert pair.refused in said
    assert f"chosen: {choice.precision} on {choice.runtime}" in said


@pytest.mark.usefixtures("at_once")
def test_the_choice_lies_beside_the_bundle_and_the_bundle_is_as_it_was(product: Product) -> None:
    path = product(fp16={})
    before = {file: file.read_bytes() for file in path.iterdir()}
    choice = install(path, None, Console())
    assert {file: file.read_bytes() for file in path.iterdir()} == before
    assert read_choice(path.parent / "engines" / "redness-1" / "choice.json") == choice
    assert choice_file(load_bundle(path)) == path.parent / "engines" / "redness-1" / "choice.json"


def fastest_of_all(name: str) -> Callable[..., dict[Any, Any]]:
    def measure(engines: dict[tuple[str, str], Engine], *_: Any) -> dict[tuple[str, str], list[float]]:
        return {key: [0.001 if " on ".join(key) == name else 1.0] for key in engines}

    return measure


@pytest.mark.parametrize(
    "wrong",
    [pytest.param({"golden": [0.5, 1.0]}, id="answers"), pytest.param({"refused": {"openvino": "x"}}, id="the lab's gate")],
)
def test_a_pair_that_differs_is_not_taken_though_it_would_be_the_fastest(
    wrong: dict[str, Any], product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "measure", fastest_of_all("int8-cpu on openvino"))
    assert install(product(int8_cpu={}), None, Console()).precision == "int8-cpu"
    assert install(product(int8_cpu=wrong), None, Console()).precision == "fp32"


@pytest.mark.usefixtures("at_once")
def test_one_that_fails_while_it_is_timed_is_not_taken(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = product(), [0]

    def gives_up(bundle: Any, precision: str, runtime: str, threads: Any) -> Engine:
        engine = open_engine(bundle, precision, runtime, threads)
        if runtime == "openvino":
            real = engine.infer

            def infer(frames: Any) -> Any:
                asked[0] += 1
                if asked[0] > 20:
                    raise EngineError("the GPU fell off the bus")
                return real(frames)

            monkeypatch.setattr(engine, "infer", infer)
        return engine

    monkeypatch.setattr(commands, "try_pair", partial(trial.try_pair, opener=gives_up))
    choice = install(path, None, Console())
    found = named(choice)["fp32 on openvino"]
    assert (found.outcome, found.latency) == ("failed", None)
    assert "failed while it was timed: the GPU fell off the bus" in found.refused
    assert choice.runtime == "onnxruntime"


@pytest.mark.usefixtures("at_once")
def test_when_nothing_agrees_nothing_is_installed(product: Product) -> None:
    path = product()
    install(path, None, Console())
    file = path.parent / "engines" / "redness-1" / "choice.json"
    before = file.read_bytes()
    spec = json.loads((path / "bundle.json").read_text())
    spec["models"]["fp32"]["golden"] = [0.9, 0.1]
    sign(path, json.dumps(spec).encode())
    with pytest.raises(GoldenMismatch, match="no model of the bundle answers on this device as it did in the lab"):
        install(path, None, Console())
    assert file.read_bytes() == before


def test_another_lab_s_bundle_is_refused_before_anything_is_written(product: Product) -> None:
    path = product()
    with pytest.raises(SignatureError, match="was signed by"):
        install(path, "0" * 64, Console())
    assert not (path.parent / "engines").exists()


@pytest.mark.usefixtures("at_once")
def test_tensorrt_builds_its_engine_and_is_timed_with_the_others(
    product: Product, gpu: FakeTensorRT, capsys: pytest.CaptureFixture[str], bundle_path: Path
) -> None:
    with np.load(bundle_path / "golden.npz") as stored:
        greens = (stored["frames"][..., 1].mean(axis=(1, 2)) / 255).tolist()  # what the double says of them
    path = product(fp16={"golden": greens})
    choice = install(path, None, Console())
    found = named(choice)
    pair = found["fp16 on tensorrt"]
    assert pair.outcome == "agrees"
    assert pair.difference == pytest.approx(0, abs=1e-4)
    assert pair.engine.startswith(f"tensorrt {gpu.__version__} NVIDIA Orin (nvgpu) fp16")
    assert pair.latency is not None
    assert pair.latency.times_fp32 is None, "fp32 differs there, so there is nothing to compare with"
    assert found["fp32 on tensorrt"].outcome == "differs"
    assert choice.machine.gpu == "NVIDIA Orin (nvgpu)"
    assert choice.runtimes["tensorrt"] == gpu.__version__
    assert list((path.parent / "engines" / "redness-1").glob("*fp16*.engine"))
    assert "building the fp16 engine for NVIDIA Orin (nvgpu)" in capsys.readouterr().out


def test_bench_repeats_it_with_threads_and_installs_nothing(product: Product, tmp_path: Path) -> None:
    path = product(fp16={})
    file = tmp_path / "figures" / "bench.json"
    measured = bench(path, None, 0.2, 1, file, Console())
    assert Measured.model_validate_json(file.read_bytes()) == measured
    assert measured.threads == 1
    assert not (path.parent / "engines").exists()
    timed = [pair.latency for pair in measured.pairs if pair.latency is not None]
    assert len(timed) == 4
    assert all(one.per_second > 0 and one.p99_ms >= one.p50_ms > 0 for one in timed)
    assert len({one.pictures for one in timed}) == 1, "all of them have had as many turns"


def test_a_user_installs_tests_and_runs(inspector: Inspector, product: Product, draw_part: Any, tmp_path: Path) -> None:
    path = product(int8_cpu={})
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), draw_part(True))
    before = inspector("run", path, "pictures")
    assert (before.returncode, before.stderr) == (0, "")
    assert (
        f"fp32 on onnxruntime: nothing was installed for this bundle on this device; `inspector install {path}`" in before.stdout
    )
    done = inspector("install", path)
    assert (done.returncode, done.stderr) == (0, "")
    choice = Choice.model_validate_json((path.parent / "engines" / "redness-1" / "choice.json").read_bytes())
    installed = f"{choice.precision} on {choice.runtime}, as installed on this device"
    after = inspector("run", path, "pictures")
    assert (after.returncode, after.stderr) == (0, "")
    assert installed in after.stdout
    session = json.loads((tmp_path / "inspections" / "redness" / "summary.json").read_text())["session"]
    assert session["precision"] == choice.precision
    assert session["engine"].startswith(choice.runtime)
    tested = inspector("selftest", path)
    assert installed in tested.stdout
    assert tested.stdout.count("as in the lab") == 1
    all_of_it = inspector("selftest", path, "--engine", "openvino")
    assert all_of_it.stdout.count("as in the lab") in (1, 2)  # the choice may be openvino's
    own = inspector("run", path, "pictures", "--precision", "int8-cpu", "--engine", "onnxruntime")
    assert "installed" not in own.stdout
    session = json.loads((tmp_path / "inspections" / "redness" / "summary.json").read_text())["session"]
    assert (session["precision"], session["engine"].split()[0]) == ("int8-cpu", "onnxruntime")


def test_a_damaged_choice_is_a_warning_and_fp32(inspector: Inspector, product: Product, tmp_path: Path) -> None:
    path = product()
    file = path.parent / "engines" / "redness-1" / "choice.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"schema_version": 1, "bundle": "red')
    done = inspector("selftest", path)
    assert done.returncode == 0
    assert "fp32 on onnxruntime: the installed choice is not used, as" in done.stdout
    assert "is damaged" in done.stdout
    assert "as in the lab" in done.stdout


def test_a_model_that_the_lab_refused_in_this_engine_is_refused_here(inspector: Inspector, product: Product) -> None:
    path = product(int8_cpu={"refused": {"onnxruntime": "12 more escapes"}})
    for command in (("selftest",), ("run",)):
        words = [*command, path, *(("nowhere",) if command == ("run",) else ())]
        done = inspector(*words, "--precision", "int8-cpu", "--engine", "onnxruntime")
        assert done.returncode == 1
        assert "int8-cpu of" in done.stderr
        assert "did not pass the gate in onnxruntime (12 more escapes)" in done.stderr
    assert inspector("selftest", path).stdout.count("as in the lab") == 1, "what the lab refused is no failure of this device"


def test_a_folder_that_takes_no_choice_is_told_before_anything_is_built(inspector: Inspector, product: Product) -> None:
    path = product()
    (path.parent / "engines").write_text("in the way")
    done = inspector("install", path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "cannot be written" in done.stderr
    assert "this device" not in done.stdout


@pytest.mark.usefixtures("at_once")
def test_ctrl_c_leaves_the_former_choice(product: Product, tmp_path: Path) -> None:
    path = product(fp16={}, int8_qdq={}, int8_cpu={})
    install(path, None, Console())
    file = path.parent / "engines" / "redness-1" / "choice.json"
    before = file.read_bytes()
    with (tmp_path / "said").open("wb") as said:
        command = [*COMMAND, "install", str(path)]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            end = time.monotonic() + 60
            while b"this device" not in (tmp_path / "said").read_bytes():
                assert time.monotonic() < end, "waited in vain"
                time.sleep(0.05)
            time.sleep(0.5)  # it tries and times for seconds
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
        finally:
            process.kill()
            process.wait()
    assert "interrupted; what was installed before stays as it was" in (tmp_path / "said").read_text()
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["choice.json"]


@pytest.mark.parametrize("command", ["install", "bench", "doctor"])
def test_help_has_an_example(command: str, inspector: Inspector) -> None:
    assert f"Example: inspector {command}" in inspector(command, "--help").stdout


def test_help_has_a_sentence_for_each_engine(inspector: Inspector) -> None:
    said = " ".join(inspector("run", "--help").stdout.replace("│", " ").split())
    for runtime in RUNTIMES:
        assert f"{runtime} runs on" in said or f"{runtime} is the fastest" in said or f"{runtime} builds for" in said
