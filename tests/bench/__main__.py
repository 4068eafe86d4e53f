"""`make bench`: speed ratios of this machine, each measured in one run. Names on the command line choose.

`coverage` is no speed: it simulates how often a promised limit is broken, and `--figure FILE` draws that.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench import coverage, engines, int8, loop, training

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="engines | training | loop | coverage | int8", default=["engines", "training", "loop"]
    )
    parser.add_argument("--figure", type=Path, help="of coverage: where to write its figure (.svg or .png)")
    parser.add_argument("--exported", nargs="+", metavar="RUN=BUNDLE", default=[], help="of int8: runs and their bundles")
    asked = parser.parse_args()
    benches: dict[str, Callable[[], None]] = {
        "engines": engines.main,
        "training": training.main,
        "loop": loop.main,
        "coverage": partial(coverage.main, asked.figure),
        "int8": partial(int8.main, asked.exported),
    }
    if unknown := set(asked.names) - set(benches):
        parser.error(f"no bench is called {', '.join(sorted(unknown))}; there are {', '.join(benches)}")
    for name in asked.names:
        benches[name]()
