"""Command `pipeline`: pictures -> a trained run -> a bundle. Heavy imports wait until a command needs them."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from deploy.command import run as run_app
from deploy.command import say

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", help="Train, evaluate and export inspectors."
)

manifests = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(manifests, name="manifest", help="Look at manifest versions.")

DatasetPath = Annotated[Path, typer.Argument(help="Dataset folder or CSV file; layouts are told in datasets/README.md.")]
LayoutName = Annotated[
    str | None, typer.Option("--layout", help="folders, csv, coco, voc or labelme; default: what the folder looks like.")
]
RunPath = Annotated[Path, typer.Argument(help="Run folder, such as runs/parts-0001.")]
RunsOut = Annotated[Path, typer.Option("--out", help="Folder in which the run folder is made.")]


class EdgeTarget(str, Enum):
    """What will run a bundle."""

    jetson = "jetson"
    gpu = "gpu"
    cpu = "cpu"


class Required(str, Enum):
    """A precision that a bundle may have to have."""

    int8 = "int8"
    fp16 = "fp16"


@app.command(epilog="Example: pipeline audit datasets/parts")
def audit(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder, CSV file, or a manifest version made by pipeline split.")],
    out: Annotated[Path, typer.Option("--out", help="Folder in which the report's folder is made.")] = Path("audits"),
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights to compare pictures with, .safetensors; default: from the folder INSPECTOR_WEIGHTS names."),
    ] = None,
    layout: LayoutName = None,
) -> None:
    """Say what is wrong with a dataset before it is trained on. Exit code 0: clean, 1: warnings, 2: errors."""
    from deploy.command import say_error
    from deploy.errors import InspectionError
    from pipeline.data.audit.command import audit_command
    from pipeline.data.prepare import named_layout

    try:
        code = audit_command(dataset, out, weights, named_layout(layout))
    except InspectionError as error:  # 1 would say that there are warnings
        say_error(str(error))
        code = 2
    except OSError as error:
        say_error(f"{error.filename or 'a file'}: {error.strerror or error}; check the path and the disk")
        code = 2
    raise typer.Exit(code)


@app.command(epilog="Example: pipeline split datasets/parts --out manifests")
def split(
    dataset: DatasetPath,
    out: Annotated[Path, typer.Option("--out", help="Folder in which the version's folder is made.")] = Path("manifests"),
    seed: Annotated[int, typer.Option(help="Same seed, same split.")] = 0,
    folds: Annotated[int | None, typer.Option(help="Make so many manifests; over them every group is tested on once.")] = None,
    by_time: Annotated[bool, typer.Option("--by-time", help="Train on the oldest groups, test on the newest.")] = False,
    time_column: Annotated[
        str | None, typer.Option(help="As --by-time, with the time (ISO 8601) in this column; default: time.")
    ] = None,
    test_slice: Annotated[
        str | None, typer.Option(help="COLUMN=VALUE, such as line=B: test on all groups with such pictures, and on no others.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Split everything afresh, even if the dataset brings a split or a version exists.")
    ] = False,
    layout: LayoutName = None,
) -> None:
    """Divide a dataset into train, validation and test groups: a version to train on. Later versions move no known picture."""
    from deploy.errors import DatasetError
    from pipeline.data.prepare import named_layout
    from pipeline.data.split.command import fold_command, split_command

    column = time_column or ("time" if by_time else None)
    if sum(option is not None for option in (folds, column, test_slice)) > 1:
        raise DatasetError("--folds, --by-time and --test-slice are different splits; give one of them")
    if test_slice is not None and not all(test_slice.partition("=")):
        raise DatasetError(f"--test-slice {test_slice!r}; expected COLUMN=VALUE, such as line=B")
    if folds is not None:
        fold_command(dataset, out, folds, seed, named_layout(layout))
    else:
        asked = f"time:{column}" if column else f"slice:{test_slice}" if test_slice else None
        split_command(dataset, out, seed, asked, fresh, named_layout(layout))


@manifests.command(epilog="Example: pipeline manifest diff manifests/parts-v1 manifests/parts-v2 --out changes.json")
def diff(
    old: Annotated[Path, typer.Argument(help="Manifest version or run folder.")],
    new: Annotated[Path, typer.Argument(help="Manifest version or run folder to hold against it.")],
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write, with every picture that changed.")] = None,
) -> None:
    """Show what changed between two manifests: pictures, labels, groups, and parts of the split."""
    from pipeline.data.manifest.differences import diff_command

    diff_command(old, new, out)


@app.command(epilog="Example: pipeline train datasets/parts --backbone tf_mobilenetv3_small_100")
def train(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder or CSV file, or a manifest version made by pipeline split.")],
    recipe: Annotated[Path | None, typer.Option(help="YAML with any of the recipe's keys; options below override it.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="timm backbone; auto takes the best of the sources at hand (see pipeline sources).")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="What learns: feature_extraction, fine_tune, progressive, full or lora.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="localising (says where) or pooled (plain classifier).")] = None,
    weights: Annotated[Path | None, typer.Option(help="Source weights, .safetensors in timm's naming.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    input_size: Annotated[int | None, typer.Option(help="Input height and width in pixels, a multiple of 32.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of all phases together.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time of the training, such as 90s, 10m or 1h: the schedule ends with it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the split and the training.")] = None,
    resplit: Annotated[bool, typer.Option("--resplit", help="Split by group even if the dataset brings a split.")] = False,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Train on a split that leaks; every report then carries a warning.")
    ] = False,
    layout: LayoutName = None,
    out: RunsOut = Path("runs"),
) -> None:
    """Fine-tune a backbone on good and defective pictures. The same command again goes on with an interrupted training."""
    from deploy.errors import WeightsError
    from pipeline.data.prepare import named_layout, prepare
    from pipeline.training.machine import first_process_talks
    from pipeline.training.recipe import AUTO, STARTER_ORIGIN, parse_minutes, resolve_recipe
    from pipeline.training.sources.command import best_source
    from pipeline.training.train import train as run_training
    from pipeline.training.weights import resolve_start

    first_process_talks()
    told = {
        "backbone": backbone,
        "strategy": strategy,
        "head": head,
        "height": input_size,
        "width": input_size,
        "epochs": epochs,
        "budget": parse_minutes(budget) if budget else None,
        "seed": seed,
    }
    chosen = resolve_recipe(recipe, from_scratch, **told)
    if chosen.backbone == AUTO:
        if weights or from_scratch:
            raise WeightsError("--backbone auto chooses among the sources at hand; leave --weights and --from-scratch out")
        manifest = prepare(dataset, chosen.seed, resplit, allow_leakage, named_layout(layout))
        name, source = best_source(manifest, chosen, out)
        chosen = resolve_recipe(recipe, source.about.origin == STARTER_ORIGIN, **told | {"backbone": name})
    else:
        chosen, source = resolve_start(recipe, weights, from_scratch, **told)
        manifest = prepare(dataset, chosen.seed, resplit, allow_leakage, named_layout(layout))
    say(f"source weights for {chosen.backbone}: {source.about.origin}")
    folder = run_training(manifest, chosen, source, out)
    say(f"run: {folder}  report: {folder / 'report.html'}", style="bold")
    say(f"next: pipeline export {folder}")


@app.command(epilog="Example: pipeline evaluate runs/parts-0001 datasets/parts-line-b")
def evaluate(
    run: RunPath,
    dataset: Annotated[
        Path | None,
        typer.Argument(help="Another dataset, all of it, or a manifest version, its test part; default: the run's own."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for metrics.json and report.html; default: in the run.")
    ] = None,
    layout: LayoutName = None,
) -> None:
    """Measure a run on pictures it never learned from."""
    from pipeline.data.prepare import named_layout
    from pipeline.evaluation.evaluate import evaluate_command

    evaluate_command(run, dataset, out, named_layout(layout))


@app.command(epilog="Example: pipeline thresholds runs/parts-0001 --max-escape 1% --confidence 95%")
def thresholds(
    run: RunPath,
    max_escape: Annotated[
        list[str] | None,
        typer.Option(help="Share of defective parts that may pass, such as 1%, or of one type: crack=0.5%. Repeatable."),
    ] = None,
    max_overkill: Annotated[str | None, typer.Option(help="Share of good parts that may be rejected.")] = None,
    confidence: Annotated[str, typer.Option(help="Of each limit by itself.")] = "95%",
    escape_cost: Annotated[float | None, typer.Option(help="What a defective part that passes costs.")] = None,
    overkill_cost: Annotated[float | None, typer.Option(help="What a rejected good part costs.")] = None,
    review_cost: Annotated[float | None, typer.Option(help="What a person's look at a part costs.")] = None,
    defect_rate: Annotated[str | None, typer.Option(help="Share of defective parts on the line; needed with costs.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 when a limit is not shown or is broken.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; default: the run itself.")] = None,
) -> None:
    """Derive a run's thresholds from what the plant allows, and say what its parts prove. Default: 1% escapes, 2% overkill."""
    from pipeline.evaluation.decide import thresholds_command
    from pipeline.evaluation.limits import parse_limits

    limits = parse_limits(max_escape or [], max_overkill, confidence, escape_cost, overkill_cost, review_cost, defect_rate)
    if not thresholds_command(run, limits, out) and strict:
        raise typer.Exit(1)


@app.command(epilog="Example: pipeline robustness runs/parts-0001")
def robustness(
    run: RunPath,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; default: the run itself.")] = None,
) -> None:
    """Measure how verdicts change under what a line does to pictures: exposure, blur, noise, tilt, dust, a dying lamp."""
    from pipeline.evaluation.robustness.command import robustness_command

    robustness_command(run, out)


@app.command(epilog="Example: pipeline report --compare runs/parts-0001 runs/parts-0002")
def report(
    run: RunPath,
    other: Annotated[Path | None, typer.Argument(help="With --compare: the run to hold against it.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Two runs on the same test parts.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; default: the run itself.")] = None,
) -> None:
    """Write a run's report again, or hold two runs against each other."""
    from deploy.errors import RunError
    from pipeline.evaluation.evaluate import evaluate_command
    from pipeline.evaluation.report.versus import compare_reports

    if compare != (other is not None):
        raise RunError("give one run, or --compare and two")
    if other is None:
        evaluate_command(run, None, out)
    else:
        say(f"report: {compare_reports(run, other, out)}", style="bold")


@app.command(epilog="Example: pipeline export runs/parts-0001 --out bundles")
def export(
    run: RunPath,
    out: Annotated[Path, typer.Option("--out", help="Folder in which the bundle is made.")] = Path("bundles"),
    name: Annotated[str | None, typer.Option(help="Name of the bundle; default: the dataset's.")] = None,
    target: Annotated[
        EdgeTarget | None, typer.Option(help="Only what this kind of device runs.", show_default="all of them")
    ] = None,
    require: Annotated[
        Required | None, typer.Option(help="Write nothing unless this precision passes its gate.", show_default="FP32 is enough")
    ] = None,
    qat: Annotated[
        bool, typer.Option("--qat", help="Fine-tune for INT8 where leaving layers in floating point is not enough; some minutes.")
    ] = False,
    budget: Annotated[
        str, typer.Option(help="Time of the search for INT8, such as 90s, 10m or 1h; fine-tuning comes on top.")
    ] = "10m",
) -> None:
    """Export a run to ONNX: FP32, FP16 and as much INT8 as answers like FP32, each through its gate, in a signed bundle."""
    from pipeline.export.export import export_run
    from pipeline.training.recipe import parse_minutes

    export_run(
        run,
        out,
        name,
        target=target.value if target else None,
        require=require.value if require else None,
        tunes=qat,
        minutes=parse_minutes(budget),
    )


@app.command(epilog="Example: pipeline keygen --out keys")
def keygen(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the key pair; default: your configuration folder, where export looks.")
    ] = None,
) -> None:
    """Make the key pair that bundles are signed with: one file to keep, one line for the stations."""
    from pipeline.export.signing import key_folder, keygen_command

    keygen_command(out or key_folder())


@app.command(epilog="Example: pipeline retrain runs/parts-0001 collected/week-47 --export")
def retrain(
    run: RunPath,
    new_pictures: Annotated[Path, typer.Argument(help="Folder of newly collected, labelled pictures, laid out as a dataset.")],
    export_bundle: Annotated[bool, typer.Option("--export", help="Export the new run if it is better.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; default: as the run.")] = None,
    layout: LayoutName = None,
    out: RunsOut = Path("runs"),
) -> None:
    """Learn from newly collected pictures on top of the old ones, and compare old and new on the same untouched test groups."""
    from pipeline.data.prepare import named_layout
    from pipeline.retraining.retrain import retrain as run_retraining

    run_retraining(run, new_pictures, out, epochs, export_bundle, named_layout(layout))


@app.command(epilog="Example: pipeline compare datasets/parts --folds 3 --seeds 2 --curve")
def compare(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder or CSV file, or a manifest version made by pipeline split.")],
    arms: Annotated[
        str | None,
        typer.Option(
            help="What to hold against the first, separated by commas: transfer (the default recipe), from-scratch, "
            "feature_extraction, fine_tune, progressive, full, lora. Default: transfer,from-scratch, or the recipes where there "
            "are two or more."
        ),
    ] = None,
    recipe: Annotated[
        list[Path] | None,
        typer.Option(help="YAML with any of the recipe's keys: one more arm, called after the file. Repeatable."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Source weights, .safetensors in timm's naming.")] = None,
    folds: Annotated[int, typer.Option(help="Every group is tested on once, in one of so many folds.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each arm on each fold.")] = 1,
    curve: Annotated[
        bool, typer.Option("--curve", help="Train with 5, 10, 20 and all defective groups, and draw learning curves.")
    ] = False,
    budget: Annotated[str | None, typer.Option(help="Time of each training, such as 90s, 10m or 1h; default: epochs.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training; default: the recipe's.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Input height and width in pixels, a multiple of 32.")] = None,
    backbone: Annotated[str | None, typer.Option(help="timm backbone.")] = None,
    head: Annotated[str | None, typer.Option(help="localising (says where) or pooled (plain classifier).")] = None,
    layout: LayoutName = None,
    out: Annotated[Path, typer.Option("--out", help="Folder in which the comparison's folder is made.")] = Path("comparisons"),
) -> None:
    """Train transfer and from-scratch, or strategies, under one budget by group, and say which wins and whether that is real.

    The same command again goes on where it stopped; given twice at once, both share the work.
    """
    from pipeline.comparison.command import compare_command
    from pipeline.data.prepare import named_layout
    from pipeline.training.recipe import parse_minutes

    compare_command(
        dataset,
        out,
        arms.split(",") if arms is not None else None,
        recipe or (),
        weights,
        folds,
        seeds,
        curve,
        named_layout(layout),
        budget=parse_minutes(budget) if budget else None,
        epochs=epochs,
        height=input_size,
        width=input_size,
        backbone=backbone,
        head=head,
    )


@app.command(epilog="Example: pipeline sources datasets/parts --out sources.json")
def sources(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder or CSV file, or a manifest version made by pipeline split.")],
    runs: Annotated[Path, typer.Option(help="Folder of earlier runs: those of other products are sources too.")] = Path("runs"),
    input_size: Annotated[int | None, typer.Option(help="Input height and width in pixels that the cost is told for.")] = None,
    layout: LayoutName = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write.")] = None,
) -> None:
    """Rank the source weights on this machine by what their frozen features tell of this dataset. Asks no network."""
    from pipeline.data.prepare import named_layout
    from pipeline.training.recipe import resolve_recipe
    from pipeline.training.sources.command import sources_command

    recipe = resolve_recipe(height=input_size, width=input_size)
    sources_command(dataset, recipe, runs, out, named_layout(layout))


@app.command(epilog="Example: pipeline pretrain --procedural --out starter.safetensors")
def pretrain(
    out: Annotated[Path, typer.Option("--out", help="File to write, .safetensors.")],
    procedural: Annotated[bool, typer.Option("--procedural", help="From pictures made by formulas: no real picture.")] = False,
    backbone: Annotated[str, typer.Option(help="timm backbone.")] = "tf_mobilenetv3_small_100",
    steps: Annotated[int, typer.Option(min=3, help="Batches of 32 pictures to learn from.")] = 3000,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures and weights.")] = 0,
) -> None:
    """Make source weights without any real picture. The same command again goes on with an interrupted training."""
    from pipeline.training.pretraining.pretrain import pretrain_command

    pretrain_command(out, procedural, backbone, steps, seed)


@app.command("augment-preview", epilog="Example: pipeline augment-preview datasets/parts --recipe recipe.yaml")
def augment_preview(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder or CSV file, or a manifest version made by pipeline split.")],
    recipe: Annotated[Path | None, typer.Option(help="YAML with any of the recipe's keys; default: its defaults.")] = None,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.")] = Path("augment-preview.png"),
    seed: Annotated[int, typer.Option(help="Same seed, same variants.")] = 0,
    layout: LayoutName = None,
) -> None:
    """Show on one sheet what training does to the pictures: would each variant still be a true part?"""
    from pipeline.data.augment.preview import preview_command
    from pipeline.data.prepare import named_layout

    preview_command(dataset, recipe, out, seed, named_layout(layout))


@app.command("demo-data", epilog="Example: pipeline demo-data datasets/demo-line --parts 160 --seed 0")
def demo_data(
    directory: Annotated[Path, typer.Argument(help="Folder to make; a conveyor video goes to its subfolder conveyor.")],
    parts: Annotated[int, typer.Option(min=2, help="Parts to render, three exposures of each.")] = 160,
    types: Annotated[str | None, typer.Option(help="Defect types, separated by commas; default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
) -> None:
    """Render the built-in demo line: machined parts, their defects and masks, and a conveyor video with its truth."""
    from pipeline.data.demo.line import DEFECT_TYPES, write_demo_line
    from pipeline.data.prepare import counting

    with counting("rendering") as progress:
        write_demo_line(directory, parts, tuple(types.split(",")) if types else DEFECT_TYPES, seed, progress)
    say(f"pictures: {directory}  conveyor video: {directory / 'conveyor' / 'belt.avi'}")


@app.command(epilog="Example: pipeline demo --out demo")
def demo(out: Annotated[Path, typer.Option("--out", help="Folder for everything the demo makes.")] = Path("demo")) -> None:
    """Show the whole way on the built-in demo line: pictures, training, evaluation, export, inspection of a conveyor video."""
    from pipeline.demo import run_demo

    run_demo(out)


def main() -> None:
    """Entry point of the command `pipeline`."""
    run_app(app)
