"""How often a promised limit is broken, by simulation: thresholds derived again and again from scores of a known distribution.

Ours against two ways that look the same on the validation parts: the quantile of their own scores (plug-in), and pictures counted
as witnesses although those of a part score alike.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Canvas
from rich.table import Table
from scipy.special import expit, ndtri
from scipy.stats import beta, binom, mannwhitneyu

from deploy.command import console, say
from pipeline.data.prepare import counting
from pipeline.evaluation.calibration import fit_calibration
from pipeline.evaluation.limits import Costs
from pipeline.evaluation.metrics import Scores, upper_bound
from pipeline.evaluation.thresholds import allowed_errors, cheapest, percent

SIZES = (15, 57, 100, 299, 600, 1000)
PICTURES = (1, 3, 6)
LIMITS = (0.01, 0.05, 0.1)
CONFIDENCES = (0.9, 0.95)
REPETITIONS = 2000
AT_ONCE = 200
"""Repetitions in memory with all their pictures."""
REFERENCE = 1_000_000
"""Parts that stand for the true distribution."""
HARD_SHARE = 0.2
COSTS = Costs(escape=200, overkill=1.5, review=0.3, defect_rate=0.005)
SIGNIFICANCE = 0.001


@dataclass(frozen=True)
class World:
    """Log-odds of parts as centre and spread; each picture differs a little from its part."""

    name: str
    good: tuple[float, float]
    bad: tuple[float, float]
    hard: tuple[float, float] | None = None
    """Of HARD_SHARE of the defective parts: a type that the model hardly sees."""
    heavy: bool = False
    """Student's t with two degrees of freedom instead of the normal."""
    steps: int = 0
    """Probabilities are rounded to so many steps: ties everywhere."""


WORLDS = (
    World("well separated", (-4, 1), (4, 1)),
    World("overlapping", (-1.5, 1), (1.5, 1)),
    World("hardly separated", (-0.2, 1), (0.2, 1)),
    World("heavy-tailed", (-3, 1), (3, 1), heavy=True),
    World("discrete", (-1.5, 1.2), (1.5, 1.2), steps=10),
    World("two types", (-3, 1), (4, 1), hard=(0.5, 1)),
)


@dataclass(frozen=True)
class Drawn:
    """Scores of R repetitions with n parts of a class, or of one with many."""

    log_odds: Scores
    """... x n x views."""
    pictures: Scores
    """The same as probabilities."""
    parts: Scores
    """... x n, by deploy.verdict.part_probability."""
    hard: npt.NDArray[np.bool_]
    """... x n."""


@dataclass(frozen=True)
class Row:
    """One cell of the study."""

    world: str
    kind: str
    views: int
    parts: int
    limit: float
    confidence: float
    repetitions: int
    promised: float
    """The limit where so many parts can show it, else what they show; the mean over repetitions where their number varies."""
    ours: int
    """Repetitions whose true rate is above what was promised."""
    plug_in: int | None = None
    """The same of the plug-in quantile, which promises the limit."""
    by_picture: int | None = None
    """The same of pictures as witnesses: the true rate of pictures against what they are said to show."""
    used: float = 0.0
    """Median true rate as a share of the promise: what caution costs."""

    @property
    def tolerated(self) -> float:
        """The share of repetitions that may break the promise."""
        return 1 - self.confidence


def draw(world: World, defective: bool, uniform: Scores, views: int, random: np.random.Generator) -> Drawn:
    """Scores for parts at the given quantiles of their type's distribution, any shape."""
    hard = (random.random(uniform.shape) < HARD_SHARE) & (defective and world.hard is not None)
    centre, spread = world.bad if defective else world.good
    place, width = np.where(hard, (world.hard or (0, 0))[0], centre), np.where(hard, (world.hard or (0, 0))[1], spread)
    standard = (2 * uniform - 1) / np.sqrt(2 * uniform * (1 - uniform)) if world.heavy else ndtri(uniform)
    part = place + width * standard
    log_odds = part[..., None] + 0.3 * width[..., None] * random.normal(size=(*uniform.shape, views))
    probability = expit(log_odds)
    if world.steps:
        probability = np.round(probability * world.steps) / world.steps
    return Drawn(log_odds, probability, np.sort(probability, axis=-1)[..., -2:].mean(axis=-1), hard)


def ordered(drawn: Drawn) -> Drawn:
    """Parts and pictures sorted by score; log-odds are left out."""
    order = np.argsort(drawn.parts, axis=-1)
    pictures = np.sort(drawn.pictures.reshape(*drawn.parts.shape[:-1], -1), axis=-1)
    return Drawn(
        np.empty(0), pictures, np.take_along_axis(drawn.parts, order, axis=-1), np.take_along_axis(drawn.hard, order, axis=-1)
    )


@lru_cache(maxsize=4)
def reference(world: World, views: int, defective: bool, size: int = REFERENCE) -> Drawn:
    """So many parts of the true distribution, at evenly spaced quantiles: their rates hardly err. Sorted."""
    random = np.random.default_rng([zlib.crc32(world.name.encode()), views, defective])
    return ordered(draw(world, defective, random.permutation((np.arange(size) + 0.5) / size), views, random))


def share_below(scores: Scores, thresholds: Scores) -> Scores:
    """Of sorted scores."""
    return np.asarray(np.searchsorted(scores, thresholds, "left") / len(scores))


def share_above(scores: Scores, thresholds: Scores) -> Scores:
    """Of sorted scores."""
    return np.asarray(1 - np.searchsorted(scores, thresholds, "right") / len(scores))


def order_statistics(one: "Batch", limit: float, confidence: float, allowed: Callable[..., int]) -> Scores:
    """Accept and reject of R repetitions, 2 x R: what derive_thresholds does for one limit on both errors."""
    errors = allowed(one.size, limit, confidence)
    accept, reject = one.bad.parts[:, errors], one.good.parts[:, one.size - 1 - errors]
    low, high = (np.log(cut / (1 - cut)) for cut in np.clip([reject, accept], 1e-6, 1 - 1e-6))
    quarter = (high - low) / 4
    inner = np.minimum(accept, 1 / (1 + np.exp(-(low + quarter)))), np.maximum(reject, 1 / (1 + np.exp(-(high - quarter))))
    chosen = np.where(accept > reject, inner, (accept, reject))
    return np.asarray(np.where(one.luck > 1 - confidence, [[0.0], [1.0]], chosen))


def plug_in(parts: int, limit: float) -> int:
    """The highest threshold below which no more than the limit of the validation parts lie."""
    return math.floor(limit * parts)


known_errors = cache(allowed_errors)


@dataclass(frozen=True)
class Batch:
    """Validation parts of R repetitions, sorted, and the truth behind them."""

    world: World
    views: int
    size: int
    bad: Drawn
    good: Drawn
    luck: Scores
    """R, how likely luck is to rank the parts so well."""
    true_bad: Drawn
    true_good: Drawn


def batch(world: World, views: int, size: int, repetitions: int, truth: int = REFERENCE) -> Batch:
    """So many repetitions with `size` parts of either class."""
    random = np.random.default_rng([zlib.crc32(world.name.encode()), views, size])

    def drawn(defective: bool) -> Drawn:
        shapes = [(min(AT_ONCE, repetitions - start), size) for start in range(0, repetitions, AT_ONCE)]
        pieces = [ordered(draw(world, defective, random.random(shape), views, random)) for shape in shapes]
        pictures, parts, hard = ([getattr(piece, name) for piece in pieces] for name in ("pictures", "parts", "hard"))
        return Drawn(np.empty(0), np.concatenate(pictures), np.concatenate(parts), np.concatenate(hard))

    bad, good = drawn(True), drawn(False)
    luck = mannwhitneyu(bad.parts, good.parts, alternative="greater", axis=1).pvalue
    return Batch(world, views, size, bad, good, luck, *(reference(world, views, defective, truth) for defective in (True, False)))


def promised(allowed: int, parts: int, limit: float, confidence: float) -> float:
    """See thresholds.Promise: its limit where that is shown, else its bound."""
    return max(limit, upper_bound(allowed, parts, confidence))


def rows_of(one: Batch, limit: float, confidence: float, allowed: Callable[..., int] = known_errors) -> list[Row]:
    """Escape and overkill of a batch under one limit on both; of the hard type and of costs too, where they are."""
    bad, good, pictures = one.bad.parts, one.good.parts, one.bad.pictures
    accept, reject = order_statistics(one, limit, confidence, allowed)
    promise = promised(allowed(one.size, limit, confidence), one.size, limit, confidence)

    def row(kind: str, rates: Scores, promise: float | Scores = promise, **more: int) -> Row:
        used, mean, broken = float(np.median(rates / promise)), float(np.mean(promise)), int((rates > promise).sum())
        return Row(one.world.name, kind, one.views, one.size, limit, confidence, len(rates), mean, broken, used=used, **more)

    old = plug_in(one.size, limit)
    old_escape = share_below(one.true_bad.parts, bad[:, old])
    old_overkill = share_above(one.true_good.parts, good[:, one.size - 1 - old])
    said = allowed(pictures.shape[1], limit, confidence)
    of_pictures = share_below(one.true_bad.pictures, pictures[:, said]) > promised(said, pictures.shape[1], limit, confidence)
    escape = share_below(one.true_bad.parts, accept)
    rows = [
        row("escape", escape, plug_in=int((old_escape > limit).sum()), by_picture=int(of_pictures.sum())),
        row("overkill", share_above(one.true_good.parts, reject), plug_in=int((old_overkill > limit).sum())),
    ]
    if one.world.hard:
        least, promises = of_type(one, limit, confidence, allowed)
        hard = one.true_bad.parts[one.true_bad.hard]
        rows.append(row("escape, hard type", share_below(hard, np.minimum(accept, least)), promises))
    if one.views == 1 and confidence == max(CONFIDENCES):  # the slowest of all
        both = zip(good, bad, accept.tolist(), reject.tolist(), strict=True)
        chosen = [cheapest(scores, others, COSTS, *cuts).accept for scores, others, *cuts in both]
        rows.append(row("escape, by costs", share_below(one.true_bad.parts, np.array(chosen))))
    return rows


def of_type(one: Batch, limit: float, confidence: float, allowed: Callable[..., int]) -> tuple[Scores, Scores]:
    """Highest accept (R) that the hard type's own limit allows, and what its parts, never the same number, promise (R)."""
    counts = one.bad.hard.sum(axis=1)
    errors = np.array([allowed(count, limit, confidence) for count in counts.tolist()])
    scores = np.sort(np.where(one.bad.hard, one.bad.parts, np.inf))
    promises = [promised(error, count, limit, confidence) for error, count in zip(errors.tolist(), counts.tolist(), strict=True)]
    return np.minimum(scores[np.arange(len(scores)), errors], 1), np.array(promises)


def calibrated_row(world: World, views: int, size: int, limit: float, confidence: float, repetitions: int) -> Row:
    """Escape where a calibration was fitted first, on the pictures of the very same parts, as a run does."""
    random = np.random.default_rng(size)
    truth = draw(world, True, random.permutation((np.arange(20_000) + 0.5) / 20_000), views, random)
    highest = np.sort(truth.log_odds)[:, -2:]  # a rising calibration leaves a part's two highest pictures where they are
    defective, weights = np.repeat([True, False], size * views), np.full(2 * size * views, 1 / views)
    allowed = known_errors(size, limit, confidence)
    rates = []
    for _ in range(repetitions):
        bad, good = (draw(world, label, random.random(size), views, random).log_odds for label in (True, False))
        fitted = fit_calibration("platt", np.concatenate([bad.ravel(), good.ravel()]), defective, weights)
        accept = np.sort(expit(np.sort(fitted.apply(bad))[:, -2:]).mean(axis=1))[allowed]
        rates.append((expit(fitted.apply(highest)).mean(axis=1) < accept).mean())
    promise = promised(allowed, size, limit, confidence)
    broken, used = int((np.array(rates) > promise).sum()), float(np.median(rates) / promise)
    return Row(world.name, "escape, calibrated", views, size, limit, confidence, repetitions, promise, broken, used=used)


def study(see: Callable[[int, int], None]) -> list[Row]:
    """All cells; `see` is told how many batches are done, of how many."""
    rows: list[Row] = []
    batches = [(world, views, size) for world in WORLDS for views in PICTURES for size in SIZES]
    for done, (world, views, size) in enumerate(batches):
        see(done, len(batches) + 2)
        one = batch(world, views, size, REPETITIONS)
        rows += [row for limit in LIMITS for confidence in CONFIDENCES for row in rows_of(one, limit, confidence)]
    for done, size in enumerate((57, 299)):
        see(len(batches) + done, len(batches) + 2)
        rows.append(calibrated_row(WORLDS[1], 3, size, 0.05, 0.95, REPETITIONS))
    return rows


def most_by_chance(row: Row, cells: int) -> int:
    """More broken promises than this, chance explains in one study of so many cells in a thousand."""
    return int(binom.isf(SIGNIFICANCE / cells, row.repetitions, row.tolerated))


def in_theory(row: Row) -> float:
    """The probability that our promise is broken where no two scores are equal and a threshold is always found."""
    allowed = known_errors(row.parts, row.limit, row.confidence)
    return float(beta.sf(row.promised, allowed + 1, row.parts - allowed))


def table_of(rows: Iterable[Row]) -> Table:
    """One line for all worlds and numbers of pictures with one promise: the mean share of broken ones, and the worst cell."""
    alike = defaultdict(list)
    for row in rows:
        alike[row.kind, row.confidence, row.limit, row.parts].append(row)
    table = Table(title=f"promises broken in {REPETITIONS} repetitions of each cell, %: mean (worst)", title_justify="left")
    for column in ("what", "limit", "parts", "promised", "cells", "allowed", "ours", "plug-in", "pictures"):
        table.add_column(column, justify="left" if column == "what" else "right", no_wrap=True)
    for (kind, confidence, limit, parts), cells in sorted(alike.items()):
        many = [row for row in cells if row.views > 1]
        table.add_row(
            kind,
            f"{100 * limit:g}",
            str(parts),
            f"{100 * np.mean([row.promised for row in cells]):.3g}",
            str(len(cells)),
            f"{100 * (1 - confidence):.3g}",
            _mean_and_worst([row.ours / row.repetitions for row in cells]),
            _mean_and_worst([row.plug_in / row.repetitions for row in cells if row.plug_in is not None]),
            _mean_and_worst([row.by_picture / row.repetitions for row in many if row.by_picture is not None]),
        )
    return table


def _mean_and_worst(shares: Sequence[float]) -> str:
    return f"{100 * np.mean(shares):.1f} ({100 * max(shares):.1f})" if shares else ""


def write_figure(rows: Sequence[Row], file: Path) -> None:
    """How often each way of counting breaks the promise, over the number of defective parts; 95 % confidence."""
    ways: tuple[tuple[str, str, str, Callable[[Row], int | None]], ...] = (
        ("quantile of the parts", "#d1495b", "s", lambda row: row.plug_in),
        ("6 pictures as 6 witnesses", "#e9a23b", "^", lambda row: row.by_picture if row.views == 6 else None),
        ("this project", "#2a9d8f", "o", lambda row: row.ours),
    )
    canvas = Canvas(figsize=(9.6, 3.6), layout="constrained")
    panels = canvas.subplots(1, len(LIMITS), sharey=True)
    for axes, limit in zip(panels, LIMITS, strict=True):
        shown = [row for row in rows if (row.kind, row.limit, row.confidence) == ("escape", limit, 0.95)]
        for name, color, marker, count in ways:
            shares = defaultdict(list)
            for row in shown:
                if (broken := count(row)) is not None:
                    shares[row.parts].append(100 * broken / row.repetitions)
            axes.plot(list(shares), [np.mean(one) for one in shares.values()], color=color, marker=marker, label=name)
            low, high = ([pick(one) for one in shares.values()] for pick in (min, max))
            axes.fill_between(list(shares), low, high, color=color, alpha=0.15, linewidth=0)
        axes.axhline(5, color="#334155", linestyle="--", linewidth=1, label="allowed: 5 %")
        axes.set(xscale="log", xlabel="defective validation parts", title=f"escapes of at most {percent(limit)}", ylim=(0, 100))
        axes.set_xticks(SIZES, [str(size) for size in SIZES], fontsize=7)
        axes.minorticks_off()
    panels[0].set_ylabel("datasets that break the promise, %")
    handles, labels = panels[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "coverage", "font.family": "sans-serif"}):
        canvas.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main(figure: Path | None = None) -> None:
    """Run the study, print its table, and draw its figure where one is asked for."""
    with counting("simulating validation parts") as see:
        rows = study(see)
    console.print(table_of(rows))
    over = [row for row in rows if row.ours > most_by_chance(row, len(rows))]
    say(f"{len(rows)} cells; ours breaks its promise more often than chance explains in {len(over)} of them")
    if figure:
        write_figure(rows, figure)
        say(f"wrote {figure}")
