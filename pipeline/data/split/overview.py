"""What each part of a split holds, and what its test part can prove."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from deploy.command import console, say
from pipeline.data.sample import SPLITS, Sample
from pipeline.evaluation.metrics import upper_bound


def overview(samples: Sequence[Sample]) -> dict[str, Any]:
    """For manifest.json: part -> type -> pictures and groups, the defective test parts, and the escape rate they can exclude."""
    defective = defective_test_parts(samples)
    return {"parts": count_by_part(samples), "defective_test_parts": defective, "escapes_below": upper_bound(0, defective)}


def count_by_part(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, int]]]:
    """Part -> type ("good" for good pictures) -> {"pictures": .., "groups": ..}."""
    kinds = sorted({sample.defect_type for sample in samples})
    table: dict[str, dict[str, dict[str, int]]] = {}
    for part in SPLITS:
        table[part] = {}
        for kind in kinds:
            groups = [sample.group for sample in samples if sample.split == part and sample.defect_type == kind]
            table[part][kind or "good"] = {"pictures": len(groups), "groups": len(set(groups))}
    return table


def defective_test_parts(samples: Sequence[Sample]) -> int:
    """How many defective parts (groups) the split tests on."""
    return len({sample.group for sample in samples if sample.split == "test" and sample.label == "defective"})


def proof(samples: Sequence[Sample]) -> str:
    """What the test part can prove about escapes, in one sentence."""
    parts = defective_test_parts(samples)
    return (
        f"the test part holds {parts} defective parts: without a single miss they show, with 95 % confidence, an escape rate "
        f"below {upper_bound(0, parts):.1%}; less than 1 % takes 299"
    )


def print_overview(title: str, samples: Sequence[Sample]) -> None:
    """Show the table and what it proves."""
    counts = count_by_part(samples)
    table = Table(title=f"{title}: pictures / groups", title_justify="left")
    table.add_column("part")
    for kind in counts["train"]:
        table.add_column(kind, justify="right")
    table.add_column("all", justify="right")
    for part, kinds in counts.items():
        groups = len({sample.group for sample in samples if sample.split == part})
        everything = f"{sum(one['pictures'] for one in kinds.values())} / {groups}"
        table.add_row(part, *(f"{one['pictures']} / {one['groups']}" for one in kinds.values()), everything)
    console.print(table)
    say(proof(samples))
    untested = [kind for kind, one in counts["test"].items() if not one["pictures"] and kind != "good"]
    if untested:
        say(f"of {', '.join(untested)} nothing can be shown: no such part is in the test part", style="yellow")


def print_folds(title: str, splits: Sequence[Sequence[Sample]]) -> None:
    """Show what each fold tests on, and what they prove together."""
    table = Table(title=f"{title}: what each fold tests on", title_justify="left")
    for column in ("fold", "pictures", "groups", "defective parts", "escapes below, without a miss"):
        table.add_column(column, justify="right")
    for number, samples in enumerate(splits, start=1):
        test, parts = [sample for sample in samples if sample.split == "test"], defective_test_parts(samples)
        groups = len({sample.group for sample in test})
        table.add_row(str(number), str(len(test)), str(groups), str(parts), f"{upper_bound(0, parts):.1%}")
    console.print(table)
    total = sum(defective_test_parts(samples) for samples in splits)
    say(f"over the folds {total} defective parts are tested: without a miss escapes are below {upper_bound(0, total):.1%}")
