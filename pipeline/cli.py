"""Command `pipeline`: pictures -> a trained run -> a bundle. Heavy imports wait until a command needs them."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.command import run as run_app
from deploy.command import say

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", help="Train, evaluate and export inspectors."
)

DatasetPath = Annotated[Path, typer.Argument(help="Dataset folder or CSV file; layouts are told in datasets/README.md.")]
RunPath = Annotated[Path, typer.Argument(help="Run folder, such as runs/parts-0001.")]
RunsOut = Annotated[Path, typer.Option("--out", help="Folder in which the run folder is made.")]


@app.command(epilog="Example: pipeline train datasets/parts --backbone tf_mobilenetv3_small_100")
def train(
    dataset: DatasetPath,
    recipe: Annotated[Path | None, typer.Option(help="YAML with any of the recipe's keys; options below override it.")] = None,
    backbone: Annotated[str | None, typer.Option(help="timm backbone.")] = None,
    head: Annotated[str | None, typer.Option(help="localising (says where) or pooled (plain classifier).")] = None,
    weights: Annotated[Path | None, typer.Option(help="Source weights, .safetensors in timm's naming.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    input_size: Annotated[int | None, typer.Option(help="Input height and width in pixels, a multiple of 32.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of both stages together.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the split and the training.")] = None,
    resplit: Annotated[bool, typer.Option("--resplit", help="Split by group even if the dataset brings a split.")] = False,
    out: RunsOut = Path("runs"),
) -> None:
    """Fine-tune a backbone on good and defective pictures. The same command again goes on with an interrupted training."""
    from pipeline.data.prepare import prepare
    from pipeline.training.recipe import resolve_recipe
    from pipeline.training.train import train as run_training
    from pipeline.training.weights import find_source

    chosen = resolve_recipe(
        recipe, from_scratch, backbone=backbone, head=head, height=input_size, width=input_size, epochs=epochs, seed=seed
    )
    source = find_source(chosen.backbone, weights, from_scratch)
    say(f"source weights for {chosen.backbone}: {source.about.origin}")
    folder = run_training(prepare(dataset, chosen.seed, resplit), chosen, source, out)
    say(f"run: {folder}  report: {folder / 'report.html'}", style="bold")
    say(f"next: pipeline export {folder}")


@app.command(epilog="Example: pipeline evaluate runs/parts-0001 datasets/parts-line-b")
def evaluate(
    run: RunPath,
    dataset: Annotated[
        Path | None, typer.Argument(help="Another dataset, all of it; default: the run's own test groups.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for metrics.json and report.html; default: in the run.")
    ] = None,
) -> None:
    """Measure a run on pictures it never learned from."""
    from pipeline.evaluation.evaluate import evaluate_command

    evaluate_command(run, dataset, out)


@app.command(epilog="Example: pipeline export runs/parts-0001 --out bundles")
def export(
    run: RunPath,
    out: Annotated[Path, typer.Option("--out", help="Folder in which the bundle is made.")] = Path("bundles"),
    name: Annotated[str | None, typer.Option(help="Name of the bundle; default: the dataset's.")] = None,
) -> None:
    """Export a run to ONNX, FP32 and INT8, check that each answers as trained, and write a signed bundle."""
    from pipeline.export.export import export_run

    export_run(run, out, name)


@app.command(epilog="Example: pipeline retrain runs/parts-0001 collected/week-47 --export")
def retrain(
    run: RunPath,
    new_pictures: Annotated[Path, typer.Argument(help="Folder of newly collected, labelled pictures, laid out as a dataset.")],
    export_bundle: Annotated[bool, typer.Option("--export", help="Export the new run if it is better.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; default: as the run.")] = None,
    out: RunsOut = Path("runs"),
) -> None:
    """Learn from newly collected pictures on top of the old ones, and compare old and new on the same untouched test groups."""
    from pipeline.retraining.retrain import retrain as run_retraining

    run_retraining(run, new_pictures, out, epochs, export_bundle)


@app.command("demo-data", epilog="Example: pipeline demo-data datasets/demo-line --parts 160 --seed 0")
def demo_data(
    directory: Annotated[Path, typer.Argument(help="Folder to make; a conveyor video goes to its subfolder conveyor.")],
    parts: Annotated[int, typer.Option(min=2, help="Parts to render, three exposures of each.")] = 160,
    types: Annotated[str | None, typer.Option(help="Defect types, separated by commas; default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
) -> None:
    """Render the built-in demo line: machined parts, their defects and masks, and a conveyor video with its truth."""
    from pipeline.data.demo_line import DEFECT_TYPES, write_demo_line
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
