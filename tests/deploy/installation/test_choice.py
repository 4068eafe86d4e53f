import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.bundle_spec import PRECISIONS
from deploy.engines import RUNTIMES
from deploy.errors import BundleError, GoldenMismatch
from deploy.installation.choice import Choice, Latency, Outcome, PairFound, check_writable, choose, read_choice, write_choice
from deploy.installation.machine import Machine

MACHINE = Machine(platform="Linux x86_64", cpu="AMD EPYC", cores=2)
REASONS: tuple[Outcome, ...] = ("differs", "not passed in the lab", "cannot run here", "failed")


def pair(precision: str, runtime: str, p50: float | None = 1.0, outcome: Outcome = "agrees") -> PairFound:
    took = None if p50 is None else Latency(p50_ms=p50, p99_ms=2 * p50, per_second=900 / p50, pictures=100)
    refused = "" if outcome == "agrees" else "because"
    return PairFound(precision=precision, runtime=runtime, outcome=outcome, refused=refused, latency=took)


def choice(*pairs: PairFound, **changes: Any) -> Choice:
    known = {
        "bundle": "redness",
        "version": 1,
        "bundle_sha256": "0" * 64,
        "signed_by": "1" * 64,
        "measured": "2026-11-20T12:00:00+00:00",
        "machine": MACHINE,
        "runtimes": {"onnxruntime": "1.31.1"},
        "pairs": list(pairs or [pair("fp32", "onnxruntime")]),
        "precision": "fp32",
        "runtime": "onnxruntime",
    }
    return Choice(**{**known, **changes})


@pytest.mark.parametrize(
    ("pairs", "chosen"),
    [
        pytest.param([("fp32", "onnxruntime", 2), ("fp32", "openvino", 1)], "fp32 on openvino", id="the fastest"),
        pytest.param([("fp32", "onnxruntime", 1), ("int8-cpu", "openvino", 3)], "fp32 on onnxruntime", id="INT8 may be slower"),
        pytest.param(
            [("fp32", "onnxruntime", 2), ("int8-cpu", "onnxruntime", 0.1, "differs"), ("fp16", "tensorrt", 1)],
            "fp16 on tensorrt",
            id="the fastest of all differs",
        ),
        pytest.param(
            [("fp32", "tensorrt", None), ("fp32", "onnxruntime", 9)], "fp32 on onnxruntime", id="one that was not timed"
        ),
        pytest.param(
            [("int8-cpu", "openvino", 1), ("fp32", "openvino", 1)], "fp32 on openvino", id="of equals the plainer model"
        ),
        pytest.param(
            [("fp32", "openvino", 1), ("fp32", "onnxruntime", 1)], "fp32 on onnxruntime", id="of equals the plainer engine"
        ),
        pytest.param(
            [("fp32", "onnxruntime", None, "cannot run here"), ("fp16", "tensorrt", 5)], "fp16 on tensorrt", id="only one"
        ),
    ],
)
def test_the_rule(pairs: list[tuple[Any, ...]], chosen: str) -> None:
    assert choose([pair(*one) for one in pairs]).name == chosen


outcomes = st.sampled_from(("agrees", *REASONS))
speeds = st.floats(min_value=0.01, max_value=1000)


@settings(deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from(PRECISIONS), st.sampled_from(RUNTIMES)), st.tuples(speeds, outcomes)), st.randoms()
)
def test_the_choice_agrees_and_nothing_that_agrees_is_faster(found: dict[tuple[str, str], Any], random: Any) -> None:
    pairs = [pair(*key, *rest) for key, rest in found.items()]
    agreeing = [one for one in pairs if one.outcome == "agrees"]
    if not agreeing:
        with pytest.raises(GoldenMismatch, match="no model of the bundle answers"):
            choose(pairs)
        return
    chosen = choose(pairs)
    assert chosen in agreeing
    assert chosen.latency is not None
    assert all(one.latency is not None and chosen.latency.p50_ms <= one.latency.p50_ms for one in agreeing)
    random.shuffle(pairs)
    assert choose(pairs) == chosen


def test_why_nothing_agrees_is_told() -> None:
    with pytest.raises(GoldenMismatch, match="fp32 on onnxruntime: because; fp16 on tensorrt: not timed"):
        choose([pair("fp32", "onnxruntime", None, "differs"), pair("fp16", "tensorrt", None)])


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "engines" / "redness-1" / "choice.json"
    assert read_choice(file) is None
    written = choice(pair("fp32", "onnxruntime", 1.25), pair("fp32", "tensorrt", None, "cannot run here"))
    for _ in range(2):  # over the former one too
        write_choice(file, written)
        assert read_choice(file) == written
    assert [one.name for one in file.parent.iterdir()] == ["choice.json"]
    keys = {"bundle", "version", "bundle_sha256", "machine", "runtimes", "measured", "pairs", "precision", "runtime"}
    assert set(json.loads(file.read_text())) >= keys


def test_every_key_that_needs_words_has_them() -> None:
    for record in (PairFound, Latency, Machine):
        for name, field in record.model_fields.items():
            assert field.description or name in ("precision", "runtime", "outcome"), f"{record.__name__}.{name}"


def damaged(change: dict[str, Any]) -> bytes:
    return json.dumps({**json.loads(choice().model_dump_json()), **change}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is damaged", id="empty"),
        pytest.param(choice().model_dump_json().encode()[:200], "is damaged", id="cut off"),
        pytest.param(b"\xff\xfe\x00", "is damaged", id="no text"),
        pytest.param(b"[]", "is damaged", id="a list"),
        pytest.param(b"[" * 100_000, "is damaged", id="nested without end"),
        pytest.param(b" " * 2_000_000, "more than 1048576 bytes", id="far too large"),
        pytest.param(damaged({"schema_version": 2}), "schema_version", id="of a later version"),
        pytest.param(damaged({"precision": "int8-cpu"}), "did not agree", id="a choice that was not measured"),
        pytest.param(damaged({"precision": "../../etc/passwd"}), "there is no such model", id="a path"),
        pytest.param(damaged({"runtime": "teleport"}), "there is no such model or engine", id="another runtime"),
        pytest.param(damaged({"bundle_sha256": "short"}), "bundle_sha256", id="no hash"),
        pytest.param(damaged({"pairs": []}), "did not agree", id="no evidence"),
        pytest.param(damaged({"note": "x"}), "note", id="an unknown key"),
        pytest.param(
            damaged({"pairs": [{**pair("fp32", "onnxruntime").model_dump(), "refused": "x"}]}), "pairs.0", id="two minds"
        ),
    ],
)
def test_a_damaged_one_is_told_and_no_crash(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "choice.json"
    file.write_bytes(content)
    with pytest.raises(BundleError, match=said) as raised:
        read_choice(file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


@settings(deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_one_changed_byte_is_another_choice_or_an_explained_error(at: int, change: int) -> None:
    content = bytearray(choice().model_dump_json().encode())
    content[at % len(content)] ^= change
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "choice.json"
        file.write_bytes(content)
        with suppress(BundleError):  # nothing else may come out
            assert read_choice(file) is not None


@pytest.mark.parametrize("blocked", ["a file", "a system's folder"])
def test_a_folder_that_takes_no_files_is_explained(blocked: str, tmp_path: Path) -> None:
    engines = tmp_path / "engines"
    if blocked == "a file":
        engines.write_text("in the way")
    else:
        engines.symlink_to("/proc")  # takes no files from root either
    file = engines / "redness-1" / "choice.json"
    for act in (check_writable, lambda where: write_choice(where, choice())):
        with pytest.raises(BundleError, match=r"engines/redness-1: cannot be written .*let this user write there"):
            act(file)
