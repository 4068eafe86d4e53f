"""The command `inspector`: run a bundle on a camera, check a bundle on this device, and collect pictures to train on."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from deploy.command import console, run

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of an exported bundle.")]
Trust = Annotated[
    str | None, typer.Option("--trust", metavar="KEY", help="Accept only a bundle signed by this public key (64 hex digits).")
]

EngineName = Annotated[str, typer.Option("--engine", help="What runs it: onnxruntime, openvino or tensorrt.")]


class Parts(str, Enum):
    """What a part is in the pictures."""

    WHOLE = "whole"
    BELT = "belt"


@app.callback()
def inspector() -> None:
    """Inspect parts on a line with a bundle made by [bold]pipeline export[/], and collect pictures to train on."""


@app.command("run")
def run_command(
    bundle: BundlePath,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="Folder of pictures, video file, webcam number, or rtsp:// or http:// address."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the record.", show_default="inspections/<bundle name>")] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save annotated pictures, or annotated.mp4 for a video or camera, here.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the annotated frames in a window; q or Esc ends.")] = False,
    parts: Annotated[
        Parts, typer.Option(help="[bold]whole[/]: every frame is one part. [bold]belt[/]: parts travel through the picture.")
    ] = Parts.WHOLE,
    crop: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=4096,
            metavar="PX",
            show_default="256",
            help="Side of the square around each part on a belt; use the size of the pictures the model was trained on.",
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="Which model of the bundle: fp32, fp16, int8-qdq or int8-cpu.")] = "fp32",
    engine: EngineName = "onnxruntime",
    max_age_ms: Annotated[
        float, typer.Option(min=1, help="A live frame older than this when it is judged is a FAULT, in milliseconds.")
    ] = 500,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Replay a video at its own rate, dropping what is late, as a live camera would.")
    ] = False,
    trust: Trust = None,
) -> None:
    """Inspect a camera, a video or a folder of pictures; one verdict for each part. Ctrl-C ends.

    Example: [cyan]inspector run bundles/demo-1 belt.mp4 --parts belt --annotate annotated[/]
    """
    if crop is not None and parts is not Parts.BELT:
        raise typer.BadParameter("is for parts on a belt: add --parts belt, or leave --crop out", param_hint="--crop")
    from deploy.inspector.session import Settings, run_session

    belt_crop = (crop or 256) if parts is Parts.BELT else None
    settings = Settings(bundle, source, out, annotate, show, belt_crop, precision, engine, max_age_ms, realtime, trust)
    if not run_session(settings, console):
        raise typer.Exit(130)


@app.command("capture")
def capture_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="STATION|SOURCE",
            help="station.yaml; or a folder of pictures, video file, webcam number, rtsp:// or http:// address.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The dataset: begun here, or continued. Nothing is overwritten.")],
    types: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Defect types for the keys 1 to 9, such as scratch,dent.")
    ] = None,
    min_sharpness: Annotated[
        float, typer.Option(min=0, metavar="N", help="Refuse pictures less sharp than this; the sharpness is shown live.")
    ] = 0,
    terminal: Annotated[bool, typer.Option("--terminal", help="Keys from the terminal, even where there is a screen.")] = False,
) -> None:
    """Collect labelled pictures for training: in a window with buttons, over SSH by keys, or from a script.

    Keys: [bold]g[/] good, [bold]d[/] defective, [bold]1[/]-[bold]9[/] defective of a type, [bold]n[/] next part, [bold]u[/] undo,
    [bold]s[/] skip (folders), [bold]q[/] or Esc end. Press n whenever another part comes: its pictures must stay together.

    Example: [cyan]inspector capture 0 datasets/parts --types scratch,dent[/]
    """
    from deploy.capture.keys import parse_types

    try:
        names = parse_types(types) if types is not None else ()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--types") from error
    from deploy.capture.session import Settings, run_capture

    run_capture(Settings(source, folder, names, min_sharpness, terminal), console)


@app.command()
def selftest(
    bundle: BundlePath,
    precision: Annotated[
        str | None, typer.Option(help="Check one model: fp32, fp16, int8-qdq or int8-cpu.", show_default="all of them")
    ] = None,
    engine: EngineName = "onnxruntime",
    trust: Trust = None,
) -> None:
    """Check signature and hashes, and that this device answers the golden pictures as the lab did.

    Example: [cyan]inspector selftest bundles/demo-1[/]
    """
    from rich.table import Table

    from deploy.bundle import load_bundle
    from deploy.engines import open_engine
    from deploy.errors import InspectionError
    from deploy.selftest import check_golden

    checked = load_bundle(bundle, trust)
    who = "as you trust" if trust else "unchanged since then; --trust KEY also checks who signed"
    console.print(f"signed by {checked.signed_by}: {who}", highlight=False, soft_wrap=True)
    console.print(f"{len(checked.spec.files)} files with the hashes they were exported with", highlight=False)
    table = Table("model", "engine", "pictures", "difference", "allowed", "answers")
    failures: list[InspectionError] = []
    if precision:
        checked.model(precision)
    for name in [precision] if precision else checked.spec.models:
        try:
            opened = open_engine(checked, name, engine)
            result = check_golden(checked, opened, name)
        except InspectionError as error:
            failures.append(error)
            table.add_row(name, "", "", "", "", "[bold red]DIFFERENT[/]")
        else:
            row = (opened.name, str(result.pictures), f"{result.max_difference:.2g}", f"{result.tolerance:g}")
            table.add_row(name, *row, "[green]as in the lab[/]")
    console.print(table)
    if failures:
        raise failures[0]


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
