"""`pipeline augment-preview`: one sheet on which an engineer sees what training does to the pictures of a dataset."""

from collections.abc import Sequence
from pathlib import Path

import torch

from deploy.command import console, say
from deploy.errors import DatasetError, RunError
from deploy.files import write_bytes_whole
from pipeline.data.augment import augment, build_augmentation
from pipeline.data.augment.cut_paste import cut_defects
from pipeline.data.augment.extremes import DRAWS, extremes
from pipeline.data.augment.settings import Augmentation
from pipeline.data.augment.sheet import MAKER, Row, draw_sheet
from pipeline.data.example import UNKNOWN, read_example
from pipeline.data.layouts import Layout, check_any, read_dataset
from pipeline.data.manifest import holds_manifest, read_manifest
from pipeline.data.sample import Sample
from pipeline.training.recipe import AUTO, Recipe, resolve_recipe
from pipeline.training.weights import find_source

TYPES = 8
"""So many defect types are shown, the most frequent ones."""
BANKED = 40
"""So many pictures the preview cuts defects from; training takes all it has."""
SWITCH_OFF = "switch it off in the recipe, such as augmentation: {flip_vertical: false}"


def preview_command(dataset: Path, recipe: Path | None, out: Path, seed: int, layout: Layout | None) -> None:
    """Write the sheet. Raises DatasetError or RunError for a dataset, recipe or file name that cannot be used."""
    _check_out(out)
    chosen = resolve_recipe(recipe)
    samples = _training_samples(dataset, layout)
    with console.status("drawing"):
        rows, notes = preview_rows(samples, chosen, seed)
        write_bytes_whole(out, draw_sheet(rows, f"Would each of these still be a true part? If not, {SWITCH_OFF}"))
    for note in notes:
        say(note, style="yellow")
    say(f"{out}: {len(rows)} rows. Where a picture would be no true part, {SWITCH_OFF}")


def preview_rows(samples: Sequence[Sample], recipe: Recipe, seed: int) -> tuple[list[Row], list[str]]:
    """Rows of variants of a few samples, then one of each switch alone at its strongest; and what to tell the user."""
    backbone = Recipe().backbone if recipe.backbone == AUTO else recipe.backbone
    source = recipe.source or find_source(backbone, from_scratch=True).about
    spec = recipe.model_copy(update={"source": source}).preprocessing()
    augmentation = recipe.augmentation
    build_augmentation(augmentation, spec)  # refuses what does not fit before pictures are read
    torch.manual_seed(seed)
    notes = []
    bank = cut_defects(read_example(sample, spec) for sample in _masked(samples)) if augmentation.cut_paste else ()
    if augmentation.cut_paste and not bank:
        notes.append("cut_paste does nothing: no picture has a mask to cut a defect out along (boxes are too coarse)")
    changes = build_augmentation(augmentation, spec, bank)
    shown = [(sample, read_example(sample, spec)) for sample in _chosen(samples)]
    rows = [
        Row(
            sample.defect_type or sample.label,
            f"{sample.path}: as it is, and as training may see it",
            (("as it is", example), *((f"variant {number}", augment(changes, example)) for number in range(1, DRAWS + 1))),
        )
        for sample, example in shown
    ]
    good = next((example for _, example in shown if not example.defective), None)
    # The switches are shown where a defect is seen to move along, and to stay visible.
    typical = max((example for _, example in shown), key=lambda one: one.defective and not (one.truth == UNKNOWN).all())
    for one in extremes(augmentation, spec, typical, good, bank):
        title = f"{one.switch}: {_told(getattr(augmentation, one.switch))}"
        meaning = Augmentation.model_fields[one.switch].description or ""
        rows.append(Row(title, meaning, (("as it is", one.start), *one.variants)))
    if len(rows) == len(shown):
        notes.append("every switch of the augmentation is off: training sees the pictures as they are")
    return rows, notes


def _told(value: bool | float) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else f"{value:g}"


def _training_samples(dataset: Path, layout: Layout | None) -> Sequence[Sample]:
    """What training may see of the dataset: its training part where it brings a split that has both classes, else all."""
    samples = read_manifest(dataset).samples if holds_manifest(dataset) else read_dataset(dataset, layout).samples
    check_any(samples, dataset)
    train = [sample for sample in samples if sample.split == "train"]
    return train if len({sample.label for sample in train}) == 2 else samples


def _chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Two good samples and one of each frequent defect type, with a mask where one has it."""
    good = [sample for sample in samples if sample.label == "good"]
    kinds: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.label == "defective":
            kinds.setdefault(sample.defect_type, []).append(sample)
    frequent = sorted(kinds.values(), key=len, reverse=True)[:TYPES]
    defective = [[sample for sample in kind if sample.mask] or kind for kind in frequent]
    return [good[len(good) * part // 3] for part in (1, 2) if len(good) >= part] + [kind[len(kind) // 2] for kind in defective]


def _masked(samples: Sequence[Sample]) -> Sequence[Sample]:
    masked = [sample for sample in samples if sample.label == "defective" and sample.mask]
    return masked[:: max(1, len(masked) // BANKED)]


def _check_out(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise RunError(f"--out {out}: the sheet is a PNG; expected a name that ends in .png")
    if out.is_dir() or (out.is_file() and MAKER.encode() not in out.read_bytes()[:2000]):
        raise RunError(f"{out} exists and is no earlier preview; choose another name with --out, or delete it")
    if not out.parent.is_dir():
        raise DatasetError(f"{out.parent} is no folder; make it, or choose another name with --out")
