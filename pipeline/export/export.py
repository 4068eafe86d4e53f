"""`pipeline export`: a run in, a signed bundle out, with only the candidates that passed the gate."""

import re
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from rich.table import Table

from deploy.bundle import BundleSpec, Calibration, Data, LeftOut, ModelFile, Source, sha256_of
from deploy.command import console, say
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.errors import GateFailed
from deploy.preprocess import letterbox, read_picture
from pipeline.data.manifest import check_unchanged
from pipeline.data.sample import Sample
from pipeline.evaluation.predict import derive, predict, torch_infer
from pipeline.export.check_qdq import check_qdq
from pipeline.export.gate import MAX_FP32_DIFFERENCE, Judgement, Reference, compare, judge
from pipeline.export.graph import write_onnx
from pipeline.export.quantise import METHOD, choose_calibration, write_fp16, write_int8_cpu, write_int8_qdq
from pipeline.export.signing import sign, signing_key
from pipeline.training.run import PARTIAL, Run, environment, load_run

FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8-qdq": "model.int8.qdq.onnx", "int8-cpu": "model.int8.cpu.onnx"}
GOLDEN = 8


def export_run(path: Path, out: Path, name: str | None = None) -> Path:
    """Export a run; returns the bundle folder.

    Raises GateFailed when even FP32 does not answer as the torch model does; other candidates are left out with their reason.
    """
    run = load_run(path)
    validation, test = run.manifest.split("validation"), run.manifest.split("test")
    calibration = choose_calibration(run.manifest.split("train"), run.recipe.seed)
    check_unchanged([*validation, *test, *calibration])
    folder = _open(out, name or run.manifest.dataset)
    spec = run.recipe.preprocessing()

    fp32 = folder / FILES["fp32"]
    with console.status("writing and checking FP32"):
        model = run.model()
        write_onnx(model, run.decision.calibration, spec, fp32)
        torch_scores = predict(test, spec, torch_infer(model, run.decision.calibration))
        reference = _judge_fp32(OnnxRuntimeEngine(fp32), run, torch_scores)
    models = {"fp32": _model_file("fp32", reference)}
    left_out: dict[str, LeftOut] = {}
    standard = Reference(reference.scores, reference.thresholds)
    writers: dict[str, Callable[[Path], None]] = {
        "fp16": lambda file: write_fp16(fp32, file),
        "int8-qdq": lambda file: write_int8_qdq(fp32, file, calibration, spec),
        "int8-cpu": lambda file: write_int8_cpu(fp32, file, calibration, spec),
    }
    for precision, write in writers.items():
        file = folder / FILES[precision]
        try:
            with console.status(f"making and checking {precision}"):
                write(file)
                if precision == "int8-qdq" and (faults := check_qdq(file)):
                    raise GateFailed(f"TensorRT would not take it: {len(faults)} faults, the first: {faults[0]}")
                judgement = judge(OnnxRuntimeEngine(file), spec, validation, test, run.decision.limits, standard, torch_scores)
        except Exception as error:  # the converters and runtimes raise all kinds; FP32 ships whatever becomes of a candidate
            file.unlink(missing_ok=True)
            left_out[precision] = LeftOut(reason=f"it could not be made or run: {type(error).__name__}: {error}")
            continue
        if judgement.refusal is None:
            models[precision] = _model_file(precision, judgement)
        else:
            file.unlink()
            left_out[precision] = LeftOut(reason=judgement.refusal, gate=judgement.evidence)
    _print_gate(models, left_out)

    _write_golden(folder, run, OnnxRuntimeEngine(fp32), test)
    shutil.copyfile(run.path / "report.html", folder / "report.html")
    final = folder.with_name(folder.name.removesuffix(PARTIAL))
    label, version = _named(final)
    _seal(
        folder,
        BundleSpec(
            name=label,
            version=version,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            classes=["good", "defective"],
            preprocessing=spec,
            models=models,
            left_out=left_out,
            source=Source(
                backbone=run.recipe.backbone,
                head=run.recipe.head,
                origin=run.recipe.source.origin if run.recipe.source else "unknown",
                weights_sha256=sha256_of(run.weights),
            ),
            data=Data(
                name=run.manifest.dataset,
                manifest_sha256=run.manifest.sha256(),
                pictures=run.manifest.pictures(),
                groups=run.manifest.groups(),
                version=run.manifest.version,
                leakage=run.manifest.leakage,
            ),
            calibration=Calibration(method=METHOD, pictures_sha256=[sample.sha256 for sample in calibration]),
            software=environment(),
            files={file.name: sha256_of(file) for file in sorted(folder.iterdir())},
        ),
    )
    folder.rename(final)
    say(f"bundle: {final}", style="bold")
    if run.manifest.leakage:
        say(run.manifest.leakage, style="bold red")
    if run.decision.undecided:
        say(f"a station with this bundle sends every part to a person: {run.decision.undecided}", style="bold red")
    return final


def _open(out: Path, name: str) -> Path:
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.iterdir():
        if re.fullmatch(rf"{re.escape(label)}-\d+{re.escape(PARTIAL)}", stale.name):
            shutil.rmtree(stale)  # an interrupted export; nothing in it is worth more than writing it again
    numbers = [int(match[1]) for folder in out.iterdir() if (match := re.fullmatch(rf"{re.escape(label)}-(\d+)", folder.name))]
    folder = out / f"{label}-{max(numbers, default=0) + 1}{PARTIAL}"
    folder.mkdir()
    return folder


def _named(bundle: Path) -> tuple[str, int]:
    label, _, version = bundle.name.rpartition("-")
    return label, int(version)


def _judge_fp32(engine: OnnxRuntimeEngine, run: Run, torch_scores: np.typing.NDArray[np.float64]) -> Judgement:
    test = run.manifest.split("test")
    scores = predict(test, run.recipe.preprocessing(), engine.infer)
    own = Reference(scores, run.decision.thresholds)
    evidence = compare(test, own, Reference(torch_scores, run.decision.thresholds), torch_scores)
    if evidence.max_difference > MAX_FP32_DIFFERENCE or evidence.agreement < 1:
        raise GateFailed(
            f"the exported FP32 graph differs from the trained model by up to {evidence.max_difference:.2g} in probability and "
            f"in {1 - evidence.agreement:.1%} of verdicts; at most {MAX_FP32_DIFFERENCE:g} and none expected: report it as a bug"
        )
    derived = derive(run.manifest.split("validation"), run.recipe.preprocessing(), engine.infer, run.decision.limits)
    return Judgement(derived.thresholds, derived.promises, evidence, scores, None)


def _model_file(precision: str, judgement: Judgement) -> ModelFile:
    return ModelFile(
        file=FILES[precision],
        thresholds=judgement.thresholds,
        promises=[str(promise) for promise in judgement.promises],
        gate=judgement.evidence,
    )


def _write_golden(folder: Path, run: Run, engine: OnnxRuntimeEngine, test: tuple[Sample, ...]) -> None:
    spec = run.recipe.preprocessing()
    by_label = [[sample for sample in test if sample.label == label][: GOLDEN // 2] for label in ("good", "defective")]
    frames = np.stack([letterbox(read_picture(sample.file), spec) for samples in by_label for sample in samples])
    np.savez_compressed(folder / "golden.npz", frames=frames, probability=engine.infer(frames).probability)


def _seal(folder: Path, spec: BundleSpec) -> None:
    key, file, made = signing_key()
    content = spec.model_dump_json(indent=2).encode()
    signature = sign(content, key)
    (folder / "bundle.json").write_bytes(content)
    (folder / "signature").write_bytes(signature.content())
    if made:
        say(f"made a signing key: {file} (keep it; bundles are signed with it)")
    say(f"signed by {signature.public_key}")


def _print_gate(models: dict[str, ModelFile], left_out: dict[str, LeftOut]) -> None:
    table = Table(title="Candidates against FP32, on the test groups through onnxruntime", title_justify="left")
    for column in ("precision", "AUROC", "verdicts agree", "escapes", "largest difference", "ships"):
        table.add_column(column)
    evidences = {precision: (model.gate, "yes") for precision, model in models.items()}
    evidences |= {precision: (out.gate, "[yellow]no[/]") for precision, out in left_out.items() if out.gate}
    for precision, (gate, ships) in evidences.items():
        table.add_row(
            precision, f"{gate.auroc:.4f}", f"{gate.agreement:.1%}", str(gate.escapes), f"{gate.max_difference:.2g}", ships
        )
    console.print(table)
    for precision, out in left_out.items():
        say(f"{precision} is left out: {out.reason}", style="yellow")
