"""Every fuzz target on its corpus, and on a few fresh inputs whose seed is printed.

WFPD_FUZZ_SEED repeats a run, WFPD_FUZZ_COUNT makes it longer.
"""

from __future__ import annotations

import os
import pathlib
import random

import pytest

from tests.fuzz.registry import CORPUS, Target, corpus_of, load_targets, mutations

TARGETS = load_targets()
SEED = int(os.environ.get("WFPD_FUZZ_SEED", random.SystemRandom().randrange(2**32)))
COUNT = int(os.environ.get("WFPD_FUZZ_COUNT", 300))
SAMPLES = [(name, path) for name in TARGETS for path in corpus_of(name)]


@pytest.mark.parametrize(("name", "path"), SAMPLES, ids=[f"{name}-{path.name}" for name, path in SAMPLES])
def test_a_sample_of_the_corpus_keeps_the_invariant(name: str, path: pathlib.Path) -> None:
    TARGETS[name](path.read_bytes())


@pytest.mark.parametrize(("name", "target"), TARGETS.items(), ids=list(TARGETS))
def test_fresh_mutations_keep_the_invariant(name: str, target: Target) -> None:
    samples = [path.read_bytes() for path in corpus_of(name)]
    for number, data in enumerate(mutations(samples, COUNT, SEED)):
        try:
            target(data)
        except Exception:
            print(f"WFPD_FUZZ_SEED={SEED}: {name}, input {number}: {data.hex()}")
            raise


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_target_has_samples_and_states_its_invariant(name: str) -> None:
    assert corpus_of(name)
    assert TARGETS[name].__doc__


def test_every_corpus_belongs_to_a_target() -> None:
    folders = {path.name for path in CORPUS.iterdir() if path.is_dir()}
    assert folders == set(TARGETS)
