"""What INT8 costs and gains: FP32, onnxruntime's own quantisation as everybody calls it, and ours, of exported runs."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from deploy.bundle import Bundle, load_bundle
from deploy.bundle_spec import GateEvidence
from deploy.engines import Engine
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.engines.openvino import OpenVinoEngine
from deploy.preprocess import Picture, Preprocessing
from pipeline.evaluation.predict import derive
from pipeline.export.calibration import choose_calibration
from pipeline.export.candidates import frame_of
from pipeline.export.gate import judge, needed_agreement, refer
from pipeline.training.run import load_run
from tests.bench.engines import milliseconds

ENGINES: dict[str, Callable[..., Engine]] = {"onnxruntime": OnnxRuntimeEngine, "openvino": OpenVinoEngine}


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, frames: Sequence[Picture]) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, Picture] | None:
        frame = next(self._frames, None)
        return None if frame is None else {"frames": frame[None]}


def main(pairs: Sequence[str]) -> None:
    """Print a table of `RUN=BUNDLE` pairs, one thread."""
    print("| backbone | model | AUROC | verdicts (needed) | escapes | INT8 | MB | onnxruntime | OpenVINO | gate |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for pair in pairs:
        run, _, bundle = pair.partition("=")
        for row in rows(Path(run), load_bundle(Path(bundle))):
            print(f"| {' | '.join(row)} |", flush=True)


def rows(path: Path, bundle: Bundle) -> Iterator[list[str]]:
    """FP32, naive and ours: accuracy on the test groups, and how many times as fast as FP32 on the same engine."""
    run, spec = load_run(path), bundle.spec.preprocessing
    validation, test = run.manifest.split("validation"), run.manifest.split("test")
    fp32 = bundle.path / bundle.model("fp32").file
    infer = OnnxRuntimeEngine(fp32).infer
    derived = derive(validation, spec, infer, run.decision.limits)
    before, held = (refer(infer, spec, samples, derived) for samples in (validation, test))
    with tempfile.TemporaryDirectory() as folder:
        naive = Path(folder) / "naive.onnx"
        _quantise_as_everybody(fp32, naive, [frame_of(one, spec) for one in choose_calibration(run.manifest.split("train"))])
        files, int8 = {"FP32": fp32, "naive INT8": naive}, None
        if "int8-cpu" in bundle.spec.models:
            ours = bundle.model("int8-cpu")
            files["ours"], int8 = bundle.path / ours.file, ours.int8
        taken = {runtime: _milliseconds(files, runtime, spec) for runtime in ENGINES}
        milli: dict[tuple[str, str], float] = {}
        for name, file in files.items():
            judged = {
                runtime: judge(engine(file), spec, before, held, run.decision.limits) for runtime, engine in ENGINES.items()
            }
            best = judged["openvino"] if name == "ours" and judged["onnxruntime"].refused else judged["onnxruntime"]
            share = {"FP32": "", "naive INT8": "100%", "ours": f"{int8.share:.0%}" if int8 else ""}[name]
            tuned = ", fine-tuned" if name == "ours" and int8 and int8.tuned else ""
            passed = [runtime for runtime, one in judged.items() if not one.refused]
            milli |= {(name, runtime): taken[runtime][name] for runtime in passed}
            speeds = [f"{taken[runtime]['FP32'] / taken[runtime][name]:.2f}" for runtime in ENGINES]
            yield [
                bundle.spec.source.backbone if name == "FP32" else "",
                name + tuned,
                *_accuracy(best.gate),
                share,
                f"{file.stat().st_size / 1e6:.1f}",
                *speeds,
                ", ".join(passed) or "refused",
            ]
        name, runtime = min(milli, key=lambda pair: milli[pair])
        faster = taken[runtime]["FP32"] / taken[runtime][name]
        best_of_all = f"fastest that passed: {name} on {runtime}"
        yield ["", best_of_all, *[""] * 5, f"{milli[name, runtime]:.2f} ms", f"{faster:.2f}", ""]


def _accuracy(gate: GateEvidence) -> list[str]:
    auroc = "" if gate.auroc is None else f"{gate.auroc:.4f}"
    return [auroc, f"{gate.agreement:.1%} ({needed_agreement(gate):.1%})", f"{gate.escapes} ({gate.escapes_fp32})"]


def _milliseconds(files: dict[str, Path], runtime: str, spec: Preprocessing) -> dict[str, float]:
    engines: dict[str, Engine] = {name: ENGINES[runtime](file, threads=1) for name, file in files.items()}
    frame = np.random.default_rng(0).integers(0, 255, (1, spec.height, spec.width, 3), np.uint8)
    return milliseconds(engines, frame)


def _quantise_as_everybody(fp32: Path, file: Path, frames: Sequence[Picture]) -> None:
    logging.getLogger().setLevel(logging.ERROR)
    options: dict[str, Any] = {"quant_format": QuantFormat.QDQ}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(fp32, file, _Pictures(frames), **options)
