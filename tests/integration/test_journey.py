"""The main job end to end, through the commands a user gives, on a small demo line."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import cv2
import pytest

from deploy.preprocess import read_picture
from pipeline.data.demo.line import write_demo_dataset

BACKBONE = "mobilenetv3_small_050"
TRAIN = ("--backbone", BACKBONE, "--from-scratch", "--input-size", "64", "--epochs", "3")
ENTRY = {
    "pipeline": "from pipeline.cli import main; main()",
    "inspector": "from deploy.cli import main; main()",
}


def command(name: str, *words: object, home: Path) -> tuple[list[str], dict[str, str]]:
    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    environment.pop("INSPECTOR_WEIGHTS", None)
    return [sys.executable, "-c", ENTRY[name], *map(str, words)], environment


def give(name: str, *words: object, home: Path, code: int = 0) -> str:
    """Give a command and return what it said; its exit code must be `code`, and no traceback may reach the user."""
    line, environment = command(name, *words, home=home)
    done = subprocess.run(line, env=environment, cwd=home, capture_output=True, text=True, timeout=600)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, said
    assert "Traceback" not in said
    return said


def give_here(name: str, *words: object, home: Path, code: int = 0) -> str:
    """As `give`, in this process, which has long loaded what a new one would load for seconds."""
    main: Callable[[], None] = import_module({"pipeline": "pipeline.cli", "inspector": "deploy.cli"}[name]).main
    line, environment = command(name, *words, home=home)
    before, said = Path.cwd(), io.StringIO()
    os.chdir(home)
    try:
        with (
            patch.object(sys, "argv", [name, *line[3:]]),
            patch.dict(os.environ, environment, clear=True),
            patch("huggingface_hub.constants.HF_HUB_OFFLINE", True),  # which a process reads from its environment once
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # libraries' own, which a process only prints
            with pytest.raises(SystemExit) as ended:  # anything else would be a traceback
                main()
    finally:
        os.chdir(before)
    words_said = " ".join(said.getvalue().split())
    assert (ended.value.code or 0) == code, words_said
    return words_said


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def line(home: Path) -> Path:
    write_demo_dataset(home / "line", parts=36, exposures=2)
    return home / "line"


@pytest.fixture(scope="module")
def run(home: Path, line: Path) -> Path:
    said = give("pipeline", "train", line, *TRAIN, home=home)
    assert "source weights for mobilenetv3_small_050: from scratch" in said
    assert "split by group" in said
    return home / "runs" / "demo-line-0001"


@pytest.fixture(scope="module")
def bundle(home: Path, run: Path) -> Path:
    assert "bundle: bundles/demo-line-1" in give("pipeline", "export", run, home=home)
    return home / "bundles" / "demo-line-1"


def test_a_run_holds_its_evidence(run: Path) -> None:
    for name in (
        "recipe.yaml",
        "manifest.csv",
        "weights.safetensors",
        "metrics.json",
        "history.csv",
        "report.html",
        "environment.json",
        "decision.json",
    ):
        assert (run / name).is_file(), name
    assert not list(run.glob("*.ckpt"))
    metrics = json.loads((run / "metrics.json").read_text())
    for figure in ("auroc", "average_precision", "escape", "overkill"):
        assert metrics[figure].keys() >= {"value", "low", "high"}
    with (run / "history.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3"]
    report = (run / "report.html").read_text()
    assert "<svg" in report
    assert not re.search(r"""(src|href)=["']?https?:""", report), "the report must open offline"


def test_evaluating_again_gives_the_same_figures(home: Path, run: Path) -> None:
    before = json.loads((run / "metrics.json").read_text())
    give("pipeline", "evaluate", run, home=home)
    assert json.loads((run / "metrics.json").read_text()) == before


def test_evaluating_on_what_was_learned_is_told(home: Path, run: Path, line: Path) -> None:
    said = give_here("pipeline", "evaluate", run, line, "--out", home / "flattered", home=home)
    assert "show what the run learned from: the figures flatter it" in said
    assert "flatter it" in (home / "flattered" / "report.html").read_text()
    assert (home / "flattered" / "metrics.json").is_file()


def test_bundle_is_complete_and_answers_as_trained(home: Path, bundle: Path) -> None:
    spec = json.loads((bundle / "bundle.json").read_text())
    for judged in spec["models"]["fp32"]["engines"].values():
        assert judged["gate"]["max_difference"] <= 1e-4
        assert judged["gate"]["agreement"] == 1
    assert set(spec["models"]) | set(spec["left_out"]) == {"fp32", "fp16", "int8-qdq", "int8-cpu"}
    assert all(one["reason"] for one in spec["left_out"].values())
    assert {path.name for path in bundle.iterdir()} == {*spec["files"], "bundle.json", "signature"}
    assert "fp32" in give("inspector", "selftest", bundle, home=home)


def test_the_device_chooses_what_is_fastest_there_and_runs_it(bundle: Path, home: Path, line: Path) -> None:
    said = give("inspector", "install", bundle, home=home)
    choice = json.loads((bundle.parent / "engines" / bundle.name / "choice.json").read_text())
    spec = json.loads((bundle / "bundle.json").read_text())
    assert not spec["models"][choice["precision"]]["engines"][choice["runtime"]]["refused"]
    assert "chosen" in said
    give_here("inspector", "run", bundle, line / "good", "--out", home / "chosen", home=home)
    session = json.loads((home / "chosen" / "summary.json").read_text())["session"]
    assert session["precision"] == choice["precision"]
    assert session["engine"].startswith(choice["runtime"].split("-")[0])


def test_an_export_for_one_kind_of_device_holds_what_that_runs(run: Path, home: Path) -> None:
    give_here("pipeline", "export", run, "--target", "cpu", "--name", "pc", "--budget", "20s", home=home)
    spec = json.loads((home / "bundles" / "pc-1" / "bundle.json").read_text())
    assert set(spec["models"]) | set(spec["left_out"]) == {"fp32", "int8-cpu"}
    frontier = json.loads((home / "bundles" / "pc-1" / "frontier.int8-cpu.json").read_text())
    assert (frontier["chosen"] is not None) == ("int8-cpu" in spec["models"]) or spec["left_out"]["int8-cpu"]["gate"]


def test_no_bundle_is_written_without_what_is_required(run: Path, home: Path) -> None:
    words = ("pipeline", "export", run, "--target", "cpu", "--require", "fp16", "--name", "half", "--budget", "20s")
    assert "fp16 is required, but --target cpu has none" in give_here(*words, home=home, code=1)
    assert not list((home / "bundles").glob("half*"))


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "bundle.json", "report.html"])
def test_one_changed_byte_is_found(home: Path, bundle: Path, name: str, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    subprocess.run(["cp", "-r", str(bundle), str(copy)], check=True)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    said = give_here("inspector", "selftest", copy, home=home, code=1)
    assert f"{name}" in said
    assert "changed after export" in said


def test_inspecting_a_folder_gives_the_lab_s_verdicts(home: Path, run: Path, bundle: Path, line: Path) -> None:
    give("inspector", "run", bundle, line / "good", "--out", home / "inspection", "--annotate", home / "pictures", home=home)
    summary = json.loads((home / "inspection" / "summary.json").read_text())
    assert summary["parts"] == len(list((line / "good").iterdir()))
    annotated = sorted((home / "pictures").iterdir())
    assert len(annotated) == summary["parts"]
    assert cv2.imread(str(annotated[0])) is not None


def test_retraining_compares_on_untouched_groups(home: Path, run: Path, line: Path) -> None:
    new = home / "collected"
    write_demo_dataset(new, parts=20, exposures=1, seed=7, types=("dent",))
    again = sorted((line / "good").iterdir())[0]
    (new / "good" / again.name).write_bytes(again.read_bytes())
    with (new / "groups.csv").open("a") as stream:
        stream.write(f"good/{again.name},again,0\n")
    limited = home / "limited"
    shutil.copytree(run, limited)
    give_here("pipeline", "thresholds", limited, "--max-escape", "5%", "--max-escape", "dent=10%", home=home)
    said = give("pipeline", "retrain", limited, new, "--epochs", "1", home=home)
    assert "1 pictures refused: the same picture is known already" in said
    assert "old test groups, untouched" in said
    assert "held-out groups of the new pictures" in said
    assert "nothing was exported" in said
    newest = home / "runs" / "demo-line-0002"
    comparison = json.loads((newest / "comparison.json").read_text())
    assert isinstance(comparison["better"], bool)
    limits = json.loads((newest / "decision.json").read_text())["limits"]
    assert (limits["max_escape"], limits["max_escape_of"]) == (0.05, {"dent": 0.1}), "what the plant allows survives retraining"
    about, before = (json.loads((folder / "manifest.json").read_text()) for folder in (newest, run))
    assert (about["version"], about["parent"]) == (2, before["sha256"])
    with (run / "manifest.csv").open() as old, (newest / "manifest.csv").open() as grown:
        tested = {row["path"]: row["split"] for row in csv.DictReader(old)}
        assert {
            path: split for path, split in ((r["path"], r["split"]) for r in csv.DictReader(grown)) if path in tested
        } == tested


def start(line: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        line,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A runner that started us in the background had Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition: object, process: subprocess.Popen[bytes], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, "the command ended too early"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_training_goes_on(how: signal.Signals, line: Path, tmp_path: Path) -> None:
    words = ("train", line, *TRAIN, "--epochs", "6", "--out", tmp_path / "runs")
    run_line, environment = command("pipeline", *words, home=tmp_path)
    process = start(run_line, environment, tmp_path)
    try:
        partial = tmp_path / "runs" / "demo-line-0001.partial"
        wait_for((partial / "last.ckpt").is_file, process)
        process.send_signal(how)
        assert process.wait(60) != 0
    finally:
        process.kill()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [partial.name]
    assert "is unfinished" in give_here("pipeline", "evaluate", tmp_path / "runs" / "demo-line-0001", home=tmp_path, code=1)
    said = give("pipeline", *words, home=tmp_path)
    assert "going on with the interrupted training" in said
    assert "epoch 1/6" not in said
    with (tmp_path / "runs" / "demo-line-0001" / "history.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3", "4", "5", "6"]


def test_an_interrupted_export_leaves_no_bundle(run: Path, tmp_path: Path) -> None:
    words, environment = command("pipeline", "export", run, "--out", tmp_path / "bundles", home=tmp_path)
    process = start(words, environment, tmp_path)
    try:
        partial = tmp_path / "bundles" / "demo-line-1.partial"
        wait_for((partial / "model.onnx").is_file, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    finally:
        process.kill()
    assert not (tmp_path / "bundles" / "demo-line-1").exists()
    give("pipeline", "export", run, "--budget", "10s", "--out", tmp_path / "bundles", home=tmp_path)
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["demo-line-1"]


def test_damaged_pictures_are_told_and_the_rest_trains(home: Path, tmp_path: Path) -> None:
    write_demo_dataset(tmp_path / "line", parts=36, exposures=1, seed=3)
    good = sorted((tmp_path / "line" / "good").iterdir())
    good[0].write_bytes(b"")
    good[1].write_text("no picture")
    whole = cv2.imencode(".jpg", read_picture(good[2]))[1].tobytes()
    good[2].write_bytes(whole[: len(whole) // 2])
    said = give_here("pipeline", "train", tmp_path / "line", *TRAIN, "--out", tmp_path / "runs", home=tmp_path)
    assert "left out 3 of 36 pictures" in said
    assert (tmp_path / "runs" / "demo-line-0001" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("pipeline", "train", "nowhere", "--from-scratch"), "nowhere does not exist; expected a dataset folder"),
        (("pipeline", "train", "empty", "--from-scratch"), "no readable pictures in a known layout"),
        (("pipeline", "train", "line/good", "--from-scratch"), "holds no readable pictures in a known layout"),
        (("pipeline", "train", "one-class", "--from-scratch"), "0 defective pictures; both are needed"),
        (("pipeline", "train", "line", "--backbone", "mobilnet"), "no backbone is called 'mobilnet'; nearest: "),
        (("pipeline", "train", "line", "--weights", "w.safetensors"), "does not exist"),
        (("pipeline", "train", "line", "--backbone", BACKBONE), "no source weights found for mobilenetv3_small_050"),
        (("pipeline", "train", "line", "--from-scratch", "--input-size", "100"), "multiple of 32"),
        (("pipeline", "export", "runs/none"), "expected a run folder"),
        (("inspector", "selftest", "line"), "no bundle.json found"),
    ],
)
def test_bad_input_gets_one_clear_sentence(words: tuple[str, ...], expected: str, home: Path, line: Path) -> None:
    (home / "empty").mkdir(exist_ok=True)
    if not (home / "one-class").is_dir():
        (home / "one-class").mkdir()
        (home / "one-class" / "good").symlink_to(line / "good")
    said = give_here(words[0], *words[1:], home=home, code=1)
    assert expected in said
    assert said.startswith(("error:", "source weights"))


@pytest.mark.parametrize("name", ["pipeline", "inspector"])
def test_help_has_an_example_for_every_command(name: str, home: Path) -> None:
    overview = give_here(name, "--help", home=home)
    commands = {
        "pipeline": (
            "split",
            "manifest diff",
            "train",
            "evaluate",
            "thresholds",
            "robustness",
            "report",
            "export",
            "keygen",
            "retrain",
            "demo-data",
            "demo",
        ),
        "inspector": ("run", "selftest", "install", "bench", "doctor", "cameras", "capture", "export-records"),
    }[name]
    for one in commands:
        assert one.split()[0] in overview
        assert f"Example: {name} {one}" in give_here(name, *one.split(), "--help", home=home)
