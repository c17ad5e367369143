"""Fuzz targets by name.

A target is a function of any bytes that returns, or raises because its invariant does not hold; the
first line of its docstring states the invariant.  To add one: write `tests/fuzz/target_<part>.py`
with `TARGETS = {"name": function}` and put at least one sample into `tests/fuzz/corpus/name/`.
"""

from __future__ import annotations

import importlib
import pathlib
import random
from collections.abc import Callable, Iterator

Target = Callable[[bytes], None]

HERE = pathlib.Path(__file__).parent
CORPUS = HERE / "corpus"


def load_targets() -> dict[str, Target]:
    """Every target of every target_*.py, in order of name."""
    targets: dict[str, Target] = {}
    for path in sorted(HERE.glob("target_*.py")):
        module = importlib.import_module(f"tests.fuzz.{path.stem}")
        for name, target in module.TARGETS.items():
            if name in targets:
                raise ValueError(f"two fuzz targets are named {name!r}")
            targets[name] = target
    return targets


def corpus_of(name: str) -> list[pathlib.Path]:
    """The samples of a target, in order of name."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())


def mutate(sample: bytes, rng: random.Random) -> bytes:
    """A near relative of `sample`: a few bytes changed, cut out, put in or doubled."""
    data = bytearray(sample)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at:at] = rng.randbytes(rng.randint(1, 9))
        elif kind == 2:
            del data[at : at + rng.randint(1, 9)]
        elif kind == 3:
            data[at:at] = data[max(0, at - rng.randint(1, 64)) : at]
        elif at < len(data):
            data[at] = data[at] ^ 1 << rng.randrange(8) if kind == 4 else rng.choice(b"\x00\x01\x04\x05\x7f\x80\xff")
    return bytes(data)


def mutations(samples: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` fresh inputs made from the samples; the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        yield mutate(rng.choice(samples), rng)
