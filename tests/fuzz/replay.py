"""Run fuzz targets outside pytest, e.g. under sanitizers: the corpora, then fresh mutations.

    python tests/fuzz/replay.py [--count N] [--seed N] [TARGET…]

Stops with the input in hexadecimal at the first one that breaks its target's invariant.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.fuzz.registry import Target, corpus_of, load_targets, mutations


def run_one(name: str, target: Target, data: bytes) -> None:
    try:
        target(data)
    except BaseException:
        print(f"{name}: broken by {data.hex()}", flush=True)
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20000, help="fresh mutations a target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("target", nargs="*")
    arguments = parser.parse_args()
    targets = load_targets()
    print(f"seed {arguments.seed}", flush=True)
    for name in arguments.target or targets:
        samples = [path.read_bytes() for path in corpus_of(name)]
        for data in samples:
            run_one(name, targets[name], data)
        for data in mutations(samples, arguments.count, arguments.seed):
            run_one(name, targets[name], data)
        print(f"{name}: {len(samples)} samples, {arguments.count} mutations", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
