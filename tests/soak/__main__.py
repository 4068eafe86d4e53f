"""`python -m tests.soak --minutes 120 --out soak`: exit code 1, and what is amiss, where something is."""

import argparse
import json
import sys
from pathlib import Path

from tests.deploy.cameras.rtsp import missing_for_rtsp
from tests.soak.plot import plot
from tests.soak.soak import soak


def main() -> int:
    """Run it, print the result, draw it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, default=45, help="mean seconds from one fault of a victim to its next")
    parser.add_argument("--every", type=float, default=10, help="seconds from one sample to the next")
    parser.add_argument("--growth", type=float, default=0.01, help="share by which memory may grow")
    options = parser.parse_args()
    if (missing := missing_for_rtsp()) is not None:
        sys.exit(missing)
    result = soak(options.out, 60 * options.minutes, options.seed, options.pause, options.every, options.growth)
    print(json.dumps(result, indent=2))
    print(plot(options.out))
    return 1 if result["trouble"] else 0


sys.exit(main())
