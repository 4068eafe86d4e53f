"""The command `inspector`: run a bundle on a camera, check a bundle on this device, and collect pictures to train on."""

from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from deploy.command import console, run, say, say_error

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", add_completion=False)

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of an exported bundle.")]
Trust = Annotated[
    str | None, typer.Option("--trust", metavar="KEY", help="Accept only a bundle signed by this public key (64 hex digits).")
]

EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        show_default="what `inspector install` chose here, else onnxruntime",
        help="What runs it. [bold]onnxruntime[/] runs on the CPU of every device. [bold]onnxruntime-cuda[/] runs on an NVIDIA "
        "GPU, through CUDA. [bold]openvino[/] is the fastest on most CPUs. [bold]tensorrt[/] builds for an NVIDIA GPU or Jetson.",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default="what `inspector install` chose here, else fp32",
        help="Which model of the bundle: fp32, fp16, int8-qdq or int8-cpu.",
    ),
]


class Log(str, Enum):
    """How a line of the log looks."""

    PLAIN = "plain"
    JSON = "json"


class Parts(str, Enum):
    """What a part is in the pictures."""

    WHOLE = "whole"
    BELT = "belt"


@app.callback()
def inspector() -> None:
    """Inspect parts on a line with a bundle made by [bold]pipeline export[/], and collect pictures to train on."""


@app.command("run")
def run_command(
    context: typer.Context,
    target: Annotated[
        Path, typer.Argument(metavar="STATION|BUNDLE", help="station.yaml, which says all else; or folder of an exported bundle.")
    ],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            show_default=False,
            help="With a bundle: folder of pictures, video file, webcam number, rtsp:// or http:// address, or what "
            "`inspector cameras` lists.",
        ),
    ] = None,
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
    precision: Precision = None,
    engine: EngineName = None,
    max_age_ms: Annotated[
        float, typer.Option(min=1, help="A live frame older than this when it is judged is a FAULT, in milliseconds.")
    ] = 500,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Replay a video at its own rate, dropping what is late, as a live camera would.")
    ] = False,
    trust: Trust = None,
    log: Annotated[
        Log | None,
        typer.Option(
            help="A line on stderr for each event, in place of the counts.",
            show_default="plain into systemd's journal, else none",
        ),
    ] = None,
) -> None:
    """Inspect a camera, a video or a folder of pictures; one verdict for each part. Ctrl-C ends, and so does SIGTERM.

    A line with several cameras or regions, its limits and its record are described in a station.yaml.

    Example: [cyan]inspector run bundles/demo-1 belt.mp4 --parts belt --annotate annotated[/], or
    [cyan]inspector run station.yaml[/]
    """
    from deploy.station import is_station

    if crop is not None and parts is not Parts.BELT:
        raise typer.BadParameter("is for parts on a belt: add --parts belt, or leave --crop out", param_hint="--crop")
    from rich.console import Console

    from deploy.health.logs import is_journal, logged
    from deploy.inspector.session import run_session
    from deploy.inspector.settings import CROP, CameraWanted, Settings, from_station

    if is_station(str(target)):
        beside = ("target", "annotate", "show", "log")
        given = [name for name in context.params if name not in beside and _is_given(context, name)]
        if given:
            name = "SOURCE" if given[0] == "source" else f"--{given[0].replace('_', '-')}"
            raise typer.BadParameter(f"belongs into {target}: set it there, and leave it out here", param_hint=name)
        settings = from_station(target, annotate, show)
    elif source is None:
        raise typer.BadParameter(
            "is missing: give what to inspect with this bundle, or a station.yaml alone", param_hint="SOURCE"
        )
    else:
        camera = CameraWanted(source, max_age_ms=max_age_ms, crop=(crop or CROP) if parts is Parts.BELT else None)
        settings = Settings(
            target,
            (camera,),
            out,
            annotate=annotate,
            show=show,
            precision=precision,
            engine=engine,
            realtime=realtime,
            trusted_key=trust,
        )
    form = log.value if log else "plain" if is_journal() else None
    with logged(form) if form else nullcontext():
        is_complete = run_session(settings, Console(quiet=True, force_terminal=False) if form else console)
    if not is_complete:
        raise typer.Exit(130)


def _is_given(context: typer.Context, name: str) -> bool:
    found = context.get_parameter_source(name)
    return found is not None and found.name == "COMMANDLINE"


@app.command("reload")
def reload_command(
    target: Annotated[Path, typer.Argument(metavar="STATION|RECORD", help="station.yaml, or the folder of the running record.")],
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The bundle to go on with.", show_default="the one in station.yaml, or the same again"),
    ] = None,
) -> None:
    """Give a running inspector another bundle: it is checked in full meanwhile, and takes over between two frames.

    A bundle that does not pass is refused, and the one that runs goes on deciding.

    Example: [cyan]inspector reload station.yaml[/]
    """
    from deploy.inspector.reload import ask_reload
    from deploy.station import record_folder

    say(ask_reload(record_folder(target), bundle))


@app.command("status")
def status_command(
    target: Annotated[Path, typer.Argument(metavar="STATION|RECORD", help="station.yaml, or the folder of the running record.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Say how a running inspector fares. Exit code 0: ready; 1: not ready, hung, or not running.

    Example: [cyan]inspector status station.yaml[/]
    """
    from deploy.health.status import show_status
    from deploy.station import record_folder

    if not show_status(record_folder(target), as_json, console):
        raise typer.Exit(1)


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
    camera: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which camera of the station.yaml.", show_default="its only one")
    ] = None,
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

    run_capture(Settings(source, folder, names, min_sharpness, terminal, camera), console)


@app.command("install")
def install_command(bundle: BundlePath, trust: Trust = None) -> None:
    """Find what runs this bundle fastest on this device and still answers as the lab did; run takes it from then on.

    Every model with every engine that is here is asked the golden pictures, its verdicts are compared, and what agrees is timed.
    The choice and all figures go to engines/<bundle>/choice.json beside the bundle. TensorRT builds its engines: minutes, once.

    Example: [cyan]inspector install bundles/demo-1[/]
    """
    from deploy.installation.install import install

    try:
        install(bundle, trust, console)
    except KeyboardInterrupt:
        say_error("interrupted; what was installed before stays as it was")
        raise typer.Exit(130) from None


@app.command("bench")
def bench_command(
    bundle: BundlePath,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            show_default=False,
            help="Measure the whole inspector on this source, as `run` takes it, with what `inspector install` chose.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, metavar="N", help="How long to time, in all.")] = 60,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads on the CPU.", show_default="as each engine likes")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")] = None,
    trust: Trust = None,
) -> None:
    """Time every model in every engine that answers as the lab did, longer than install does; nothing is installed.

    With --source: time the whole inspector instead, against its bare engine and in its parts (read, crop and letterbox, infer,
    decide, record), with the time to its first verdict and its memory. Recordings are replayed as fast as they can be.

    Example: [cyan]inspector bench bundles/demo-1 --threads 1 --json bench.json[/], or
    [cyan]inspector bench bundles/demo-1 --source belt.mp4[/]
    """
    if source is not None:
        if threads is not None:
            raise typer.BadParameter("is for comparing engines; leave it out with --source", param_hint="--threads")
        from deploy.bench.command import bench_source

        bench_source(bundle, source, trust, seconds, json_file, console)
        return
    from deploy.installation.install import bench

    bench(bundle, trust, seconds, threads, json_file, console)


@app.command("doctor")
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Say what this machine has for the inspector (engines, GPU, power mode, cameras, clock) and what to do for more.

    Example: [cyan]inspector doctor[/]
    """
    from deploy.installation.doctor import doctor

    doctor(as_json, console)


@app.command()
def selftest(bundle: BundlePath, precision: Precision = None, engine: EngineName = None, trust: Trust = None) -> None:
    """Check signature and hashes, and that this device answers the golden pictures as the lab did.

    Checked is what `inspector install` chose on this device. Where nothing is installed, or only --engine is given, it is every
    model that passed in that engine.

    Example: [cyan]inspector selftest bundles/demo-1[/]
    """
    from rich.table import Table

    from deploy.bundle import load_bundle
    from deploy.engines import open_engine
    from deploy.errors import InspectionError
    from deploy.installation.resolve import resolve
    from deploy.installation.trial import passed
    from deploy.selftest import check_golden

    checked = load_bundle(bundle, trust)
    who = "as you trust" if trust else "unchanged since then; --trust KEY also checks who signed"
    console.print(f"signed by {checked.signed_by}: {who}", highlight=False, soft_wrap=True)
    console.print(f"{len(checked.spec.files)} files with the hashes they were exported with", highlight=False)
    chosen = resolve(checked, precision, engine)
    if chosen.note:
        say(chosen.note)
    table = Table("model", "engine", "pictures", "difference", "allowed", "answers")
    failures: list[InspectionError] = []
    one_model = precision is not None or (chosen.installed and engine is None)
    checked.judged(chosen.precision, chosen.runtime)  # what the lab refused `run` would not take either
    for name in [chosen.precision] if one_model else passed(checked, chosen.runtime):
        try:
            opened = open_engine(checked, name, chosen.runtime)
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


@app.command("export-records")
def export_records_command(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="store.sqlite, or the folder of a record.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to: records.csv or records.parquet.")],
    session: Annotated[int | None, typer.Option(min=1, metavar="N", show_default="all", help="One session only.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", show_default="all", help="Parts from this ISO date or time on, in UTC.")
    ] = None,
) -> None:
    """Write the parts of a record as one table: verdicts, what decided, pictures, what people said. The station may be running.

    Example: [cyan]inspector export-records inspections/demo --out records.parquet --since 2026-11-20[/]
    """
    from deploy.store.export import export_records

    say(f"{export_records(store, out, session, since)} parts in {out}")


@app.command("cameras")
def cameras_command() -> None:
    """List the cameras that are there, each with the words that open it; and say what is missing to find others.

    USB webcams, Basler cameras (pypylon), GigE and USB3 Vision (Aravis), GenTL producers in GENICAM_GENTL64_PATH, CSI cameras of
    a Jetson. Network cameras, videos and folders need no search: give rtsp://user:password@host/stream, belt.mp4, a folder, or
    watch:FOLDER for pictures that another program drops.

    Example: [cyan]inspector cameras[/], then [cyan]inspector run bundles/demo-1 basler:40012345[/]
    """
    from deploy.cameras.listing import list_cameras

    list_cameras(console)


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
