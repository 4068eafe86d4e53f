"""`pipeline export`: a run in, a signed bundle out, with only the candidates that passed the gate."""

import shutil
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.table import Table

from deploy.bundle import sha256_of
from deploy.bundle_spec import PRECISIONS, REFERENCE, BundleSpec, Calibration, Data, GateEvidence, LeftOut, ModelFile, Source
from deploy.command import console, say
from deploy.engines.onnxruntime import OnnxRuntimeEngine
from deploy.errors import GateFailed
from deploy.preprocess import Picture, Preprocessing, letterbox, read_picture
from pipeline.data.manifest import check_unchanged
from pipeline.data.pictures import Pictures
from pipeline.evaluation.calibration import to_log_odds
from pipeline.evaluation.metrics import Scores
from pipeline.evaluation.predict import derive, predict, torch_infer
from pipeline.export.calibration import choose_calibration
from pipeline.export.candidates import FILES, PRECISIONS_OF, Lab, Target, judge_all, make
from pipeline.export.folder import bundle_of, growing, label_of, set_aside
from pipeline.export.gate import MAX_FP32_DIFFERENCE, Reference, agreement, needed_agreement, refer
from pipeline.export.good_pictures import LEAST, good_pictures
from pipeline.export.graph import write_onnx
from pipeline.export.signing import sign, signing_key
from pipeline.training.run import Run, environment, load_run

GOLDEN = 8
FIRM = 3.0
"""A golden picture is so many standard deviations of a camera's noise away from the thresholds."""
INT8_MINUTES = 10.0
"""For the search of both INT8 layouts together."""


def export_run(
    path: Path,
    out: Path,
    name: str | None = None,
    target: Target | None = None,
    require: str | None = None,
    tunes: bool = False,
    minutes: float = INT8_MINUTES,
) -> Path:
    """Export a run; returns the bundle folder.

    `target` limits the candidates to those of a kind of device, `require` ("int8" or "fp16") is a precision without which nothing
    is written, `tunes` allows quantisation-aware fine-tuning, `minutes` is what the search for INT8 may take.
    Raises GateFailed when FP32 does not answer as the torch model does, or what is required does not pass; other candidates are
    left out with their reason.
    """
    run = load_run(path)
    training, validation, test = (run.manifest.split(name) for name in ("train", "validation", "test"))
    calibration = choose_calibration(training, run.recipe.seed)
    check_unchanged([*validation, *test, *(training if tunes else calibration)])
    wanted = [one for one in (PRECISIONS_OF[target] if target else PRECISIONS) if one != "fp32"]
    if require and not any(one.startswith(require) for one in wanted):
        raise GateFailed(f"{require} is required, but --target {target} has none; leave one of the two out")
    if not test:
        raise GateFailed(
            f"{path} has no test pictures, so nothing can pass the gate; split the dataset into three parts and train again"
        )
    if not (run.path / "report.html").is_file():
        raise GateFailed(f"{path} has no report.html, which the bundle carries; write it again with `pipeline report {path}`")
    label = label_of(name or run.manifest.dataset)
    key, file, is_new = signing_key()  # what is wrong with it is told now, and not after the search
    if is_new:
        say(f"made a signing key: {file} (keep it; bundles are signed with it)")
    with growing(out, label) as folder:
        spec, fp32 = run.recipe.preprocessing(), folder / FILES["fp32"]
        with console.status("writing and checking FP32"):
            model = run.model()
            write_onnx(model, run.decision.calibration, spec, fp32)
            torch_scores = predict(test, spec, torch_infer(model, run.decision.calibration))
        engine = OnnxRuntimeEngine(fp32)
        layouts = sum(one.startswith("int8") for one in wanted)
        with console.status("how often FP32 repeats its verdicts"):
            derived = derive(validation, spec, engine.infer, run.decision.limits)
            lab = Lab(
                fp32=fp32,
                spec=spec,
                limits=run.decision.limits,
                validation=refer(engine.infer, spec, validation, derived),
                test=refer(engine.infer, spec, test, derived),
                torch=torch_scores,
                calibration=calibration,
                training=lambda: Pictures(training, spec, run.recipe.augmentation, keep=False),
                tunes=tunes,
                seconds=60 * minutes / max(1, layouts),
                seed=run.recipe.seed,
            )
        _check_fp32(lab.test.scores, run, torch_scores)
        golden = _golden(lab.test, spec)
        if (reference := good_pictures((lab.validation, lab.test), spec)) is None:
            say(
                f"a station cannot watch light and focus: fewer than {LEAST} groups of good pictures are held out", style="yellow"
            )
        models: dict[str, ModelFile] = {}
        left_out: dict[str, LeftOut] = {}
        _add("fp32", lab, golden, models, left_out)
        for precision in wanted:
            _add(precision, lab, golden, models, left_out)
        _print_gate(models, left_out)
        if require and not any(name.startswith(require) and _runs_on(target, model) for name, model in models.items()):
            reasons = "; ".join(f"{name}: {why.reason}" for name, why in left_out.items() if name.startswith(require))
            refused = set_aside(folder)
            raise GateFailed(
                f"{require} is required, but does not pass: {reasons or 'not in the engine that stands for the target'}; "
                f"no bundle was written. What was tried: {refused}/frontier.*"
            )

        np.savez_compressed(folder / "golden.npz", frames=golden, probability=engine.infer(golden).probability)
        shutil.copyfile(run.path / "report.html", folder / "report.html")
        final, label, version = bundle_of(folder)
        _seal(
            folder,
            key,
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
                calibration=Calibration(pictures_sha256=[sample.sha256 for sample in calibration]),
                reference=reference,
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


def _runs_on(target: Target | None, model: ModelFile) -> bool:
    """Whether a model passed in an engine that the target has, or in the one that stands for it."""
    return target not in ("jetson", "gpu") or not model.engines[REFERENCE].refused


def _add(precision: str, lab: Lab, golden: Picture, models: dict[str, ModelFile], left_out: dict[str, LeftOut]) -> None:
    """Make a candidate and let every engine judge it: into `models` if it passes in one, else into `left_out`."""
    file = lab.fp32.with_name(FILES[precision])
    try:
        int8 = make(precision, file, lab) if precision != "fp32" else None
        with console.status(f"{precision} through the gate"):
            judged = judge_all(file, lab)
            answers = OnnxRuntimeEngine(file).infer(golden).defect.tolist()
    except Exception as error:  # the converters and runtimes raise all kinds; FP32 ships whatever becomes of a candidate
        if precision == "fp32":
            raise
        file.unlink(missing_ok=True)
        told = str(error) if isinstance(error, GateFailed) else f"it could not be made or run: {type(error).__name__}: {error}"
        left_out[precision] = LeftOut(reason=told)
        return
    if any(not one.refused for one in judged.values()):
        models[precision] = ModelFile(file=file.name, engines=judged, golden=answers, int8=int8)
    else:
        file.unlink()
        best = max(judged.values(), key=lambda one: one.gate.agreement)
        left_out[precision] = LeftOut(reason=best.refused, gate=best.gate)


def _check_fp32(scores: Scores, run: Run, torch_scores: Scores) -> None:
    difference = float(np.abs(scores - torch_scores).max())
    agree = agreement(scores, torch_scores, run.decision.thresholds, run.decision.thresholds)
    if difference > MAX_FP32_DIFFERENCE or agree < 1:
        raise GateFailed(
            f"the exported FP32 graph differs from the trained model by up to {difference:.2g} in probability and "
            f"in {1 - agree:.1%} of verdicts; at most {MAX_FP32_DIFFERENCE:g} and none expected: report it as a bug"
        )


def _golden(test: Reference, spec: Preprocessing) -> Picture:
    """N x H x W x 3: pictures of each label over the whole range of scores, none of them near a threshold.

    A device rounds otherwise than the lab; a picture whose verdict hangs on that would tell nothing of the device.
    """
    odds, thresholds = to_log_odds(test.scores), test.derived.thresholds
    ends = to_log_odds(np.array([thresholds.accept, thresholds.reject]))
    firm = np.abs(odds[:, None] - ends).min(axis=1) > FIRM * test.noise
    chosen: list[int] = []
    for label in ("good", "defective"):
        places = [place for place in np.argsort(test.scores) if test.samples[place].label == label]
        places = [place for place in places if firm[place]] or places
        chosen += sorted(
            {int(places[at]) for at in np.linspace(0, len(places) - 1, GOLDEN // 2).round().astype(int)} if places else ()
        )
    return np.stack([letterbox(read_picture(test.samples[place].file), spec) for place in chosen])


def _seal(folder: Path, key: Ed25519PrivateKey, spec: BundleSpec) -> None:
    content = spec.model_dump_json(indent=2).encode()
    signature = sign(content, key)
    (folder / "bundle.json").write_bytes(content)
    (folder / "signature").write_bytes(signature.content())
    say(f"signed by {signature.public_key}")


def _print_gate(models: dict[str, ModelFile], left_out: dict[str, LeftOut]) -> None:
    table = Table(title="Candidates against FP32, on the test groups through the real engines", title_justify="left")
    for column in ("candidate", "AUROC", "verdicts agree (needed)", "escapes (FP32)", "INT8", "passes"):
        table.add_column(column)
    for precision, model in models.items():
        share = f"{model.int8.share:.0%}{', fine-tuned' if model.int8.tuned else ''}" if model.int8 else ""
        for runtime, judged in model.engines.items():
            _add_row(table, precision, runtime, judged.gate, share, "[yellow]no[/]" if judged.refused else "yes")
    for precision, out in left_out.items():
        if out.gate:
            _add_row(table, precision, "", out.gate, "", "[yellow]no[/]")
    console.print(table)
    for precision, out in left_out.items():
        say(f"{precision} is left out: {out.reason}", style="yellow")


def _add_row(table: Table, precision: str, runtime: str, gate: GateEvidence, share: str, passes: str) -> None:
    auroc = "" if gate.auroc is None else f"{gate.auroc:.4f}"
    verdicts = f"{gate.agreement:.1%} ({needed_agreement(gate):.1%})"
    table.add_row(f"{precision} {runtime}", auroc, verdicts, f"{gate.escapes} ({gate.escapes_fp32})", share, passes)
