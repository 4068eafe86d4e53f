"""Memory, descriptors and threads over time, with the faults."""

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def plot(folder: Path) -> Path:
    """Draw what a soak left in `folder`; also one that still runs."""
    samples = [json.loads(row) for row in (folder / "samples.jsonl").read_text().splitlines()]
    minutes = [one["at_s"] / 60 for one in samples]
    figure, (memory, counts, frames) = plt.subplots(3, sharex=True, figsize=(10, 8), layout="constrained")
    for name in ("rss_mb", "own_mb"):
        memory.plot(minutes, [one[name] for one in samples], label=f"{name.removesuffix('_mb')} [MB]")
    for name in ("descriptors", "threads"):
        counts.plot(minutes, [one[name] for one in samples], label=name)
    frames.plot(minutes, [one["frames"] for one in samples], label="frames judged")
    injected = folder / "injected.json"
    if injected.exists():
        for number, (name, times) in enumerate(sorted(_by_name(json.loads(injected.read_text())).items())):
            frames.plot(times, [number] * len(times), "|", label=name)
    for axes in (memory, counts, frames):
        axes.legend(loc="upper left", fontsize="small")
        axes.set_ylim(bottom=0)
    frames.set_xlabel("minutes")
    figure.savefig(folder / "soak.png", dpi=100)
    plt.close(figure)
    return folder / "soak.png"


def _by_name(injected: list[dict[str, float | str]]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    for one in injected:
        times.setdefault(str(one["name"]), []).append(float(one["at_s"]) / 60)
    return times
