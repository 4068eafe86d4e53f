"""What a comparison leaves behind: a table on the terminal, comparison.json, comparison.md, and curves.png.

`comparison.json` holds `dataset`, `pictures`, `groups`, `defective_groups`, `folds`, `seeds`, `resamples`, `command`, `verdict`
(the sentence), `notes`, `environment` and `points`, one for each number of defective groups learned from, the last with all:
`groups`, and `arms`, each with `name`, `from_scratch`, `source`, `recipe`, `auroc` and `average_precision` (`value`: mean over
folds and seeds, `sd` of single models, `low` and `high` of the mean), `trained_parameters`, `seconds` and `models` (`key` of its
entry, `fold`, `seed`, `auroc`, `average_precision`, `seconds`); and `versus_first` and `versus_best`, each with `arm`, `less`,
`auroc` and `average_precision` (`value`, `low`, `high`, `p`, `real`), `ahead` and `of`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from deploy.command import console, say
from deploy.files import write_bytes_whole, write_whole
from pipeline.comparison.curves import draw_curves
from pipeline.comparison.paired import RESAMPLES, Difference
from pipeline.comparison.result import ArmResult, Comparison, Pair, Point
from pipeline.comparison.sentence import verdict
from pipeline.training.run import environment


def figures(comparison: Comparison, command: str = "") -> dict[str, Any]:
    """For comparison.json."""
    return {
        "dataset": comparison.dataset,
        "pictures": comparison.pictures,
        "groups": comparison.groups,
        "defective_groups": comparison.defective_groups,
        "folds": comparison.folds,
        "seeds": comparison.seeds,
        "resamples": RESAMPLES,
        "command": command,
        "verdict": verdict(comparison),
        "notes": list(comparison.notes),
        "environment": environment(),
        "points": [_point(point) for point in comparison.points],
    }


def write_comparison(comparison: Comparison, folder: Path, command: str = "") -> None:
    """Write comparison.json, comparison.md and, where a curve was asked for, curves.png."""
    write_whole(folder / "comparison.json", json.dumps(figures(comparison, command), indent=2))
    write_whole(folder / "comparison.md", markdown(comparison, command))
    picture = folder / "curves.png"
    if len(comparison.points) > 1:
        write_bytes_whole(picture, draw_curves(comparison))
    else:
        picture.unlink(missing_ok=True)  # of another comparison


def print_comparison(comparison: Comparison) -> None:
    """Show the table, the notes and the sentence."""
    head, rows = _table(comparison.whole)
    table = Table(title=_title(comparison), title_justify="left")
    for number, column in enumerate(head):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if len(comparison.points) > 1:
        _print_curve(comparison)
    for note in comparison.notes:
        say(note, style="yellow")
    say(verdict(comparison), style="bold")


def markdown(comparison: Comparison, command: str = "") -> str:
    """The table, the sentence, how it was made."""
    lines = [f"# {_title(comparison)}", "", f"**{verdict(comparison)}**", "", *_rows(*_table(comparison.whole))]
    if len(comparison.points) > 1:
        lines += ["", "## AUROC by defective groups to learn from", "", *_rows(*_curve(comparison)), "", "![curves](curves.png)"]
    lines += ["", *(f"- {note}" for note in comparison.notes), *([f"- made by `{command}`"] if command else [])]
    lines += [
        "- AUROC and AP: mean over folds and seeds ± standard deviation of single models.",
        "- Difference: with the 95 % interval of a paired bootstrap over the groups that were tested on "
        f"({RESAMPLES} resamples); p after Holm; real: the interval excludes 0.",
        "- The validation groups are the same for every arm and point; they choose the epoch, and count for no figure.",
    ]
    return "\n".join(lines) + "\n"


def _title(comparison: Comparison) -> str:
    return (
        f"{comparison.dataset}: {comparison.folds} folds, {comparison.seeds} seed{'s' if comparison.seeds > 1 else ''}, "
        f"{comparison.pictures} pictures of {comparison.groups} groups, {comparison.defective_groups} defective"
    )


def _table(point: Point) -> tuple[list[str], list[list[str]]]:
    first = point.arms[0].arm.name
    versus = {pair.arm: pair for pair in point.versus_first}
    head = ["arm", "AUROC", "AP", f"AUROC less {first}", "p", "real", f"AP less {first}", "trained", "seconds"]
    return head, [_row(result, versus.get(result.arm.name)) for result in point.arms]


def _row(result: ArmResult, pair: Pair | None) -> list[str]:
    told = ["", "", "", ""]
    if pair:
        gap = pair.auroc
        p = "" if gap.p is None else "< 0.001" if gap.p < 0.001 else f"{gap.p:.3f}"
        told = [str(gap), p, "yes" if gap.real else "no", str(pair.average_precision)]
    size = f"{result.trained_parameters / 1e3:,.0f} k"
    return [result.arm.name, str(result.auroc), str(result.average_precision), *told, size, f"{result.seconds:.0f}"]


def _curve(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    head = ["arm", *(f"{point.groups:.0f}" for point in comparison.points)]
    return head, [
        [arm.arm.name, *(f"{point.arms[number].auroc.value:.3f}" for point in comparison.points)]
        for number, arm in enumerate(comparison.whole.arms)
    ]


def _print_curve(comparison: Comparison) -> None:
    head, rows = _curve(comparison)
    table = Table(
        title="AUROC by defective groups to learn from (validation and test groups stay the same)", title_justify="left"
    )
    for number, column in enumerate(head):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (head, rule, *rows)]


def _point(point: Point) -> dict[str, Any]:
    return {
        "groups": point.groups,
        "arms": [_arm(one) for one in point.arms],
        "versus_first": [_pair(pair) for pair in point.versus_first],
        "versus_best": [_pair(pair) for pair in point.versus_best],
    }


def _arm(result: ArmResult) -> dict[str, Any]:
    return {
        "name": result.arm.name,
        "from_scratch": result.arm.from_scratch,
        "source": result.arm.source.about.origin,
        "recipe": result.arm.recipe.model_dump(mode="json"),
        "auroc": asdict(result.auroc),
        "average_precision": asdict(result.average_precision),
        "trained_parameters": result.trained_parameters,
        "seconds": round(result.seconds, 1),
        "models": [
            entry.model_dump(include={"key", "fold", "seed", "auroc", "average_precision", "seconds"}) for entry in result.entries
        ],
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "arm": pair.arm,
        "less": pair.less,
        "auroc": _difference(pair.auroc),
        "average_precision": _difference(pair.average_precision),
        "ahead": pair.ahead,
        "of": pair.of,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "real": difference.real}
