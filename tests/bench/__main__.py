"""`make bench`: speed ratios of this machine, each measured in one run. Names on the command line choose: engines, training."""

import sys

from tests.bench import engines, training

if __name__ == "__main__":
    asked = sys.argv[1:] or ["engines", "training"]
    for name in asked:
        {"engines": engines.main, "training": training.main}[name]()
