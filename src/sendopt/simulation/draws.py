"""Random numbers without a state: each is a function of its purpose, so plans and machines cannot change it.

A draw is keyed by a 64-bit seed of an entity (a user, a send) and a path of lanes ("open", 20_100, …). Only integer
arithmetic leads from key to bits: they are the same on any machine, in any order, batch or number of threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sendopt.stats.arrays import Floats, Ints

Seeds = NDArray[np.uint64]
Lane = int | str

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def seeds_of(seed: int, texts: Iterable[str]) -> Seeds:
    """Return a 64-bit seed for each text, shape (len(texts),)."""
    key = str(seed).encode()
    words = [hashlib.blake2b(t.encode(), digest_size=8, key=key).digest() for t in texts]
    return np.frombuffer(b"".join(words), dtype="<u8").astype(np.uint64)


def uniform(seeds: Seeds, *lanes: Lane) -> Floats:
    """Return a number strictly inside (0, 1) for each seed, with 52 random bits.

    >>> draws = uniform(seeds_of(7, ["u1", "u2"]), "open")
    >>> bool((draws == uniform(seeds_of(7, ["u1", "u2"]), "open")).all())
    True
    """
    return ((_mixed(seeds, lanes) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normal(seeds: Seeds, *lanes: Lane) -> Floats:
    """Return a standard normal number for each seed."""
    return np.asarray(ndtri(uniform(seeds, *lanes)), dtype=np.float64)


def poisson(seeds: Seeds, mean: Floats, most: int, *lanes: Lane) -> Ints:
    """Return a Poisson count for each seed, of the given means, capped at `most`."""
    draw = uniform(seeds, *lanes)
    term = np.exp(-mean)
    below, count = term.copy(), np.zeros(len(seeds), np.int64)
    for k in range(1, most + 1):
        count += draw > below
        term = term * mean / k
        below += term
    return count


def choice(seeds: Seeds, weights: Iterable[float], *lanes: Lane) -> Ints:
    """Return an index into `weights` for each seed, with probabilities proportional to the weights."""
    edges = np.cumsum(np.asarray(list(weights), np.float64))
    return np.searchsorted(edges / edges[-1], uniform(seeds, *lanes)).astype(np.int64).clip(0, len(edges) - 1)


def _mixed(seeds: Seeds, lanes: tuple[Lane, ...]) -> Seeds:
    """Return the seeds after SplitMix64's finaliser for each lane; overflow wraps around by design."""
    word = seeds
    for lane in lanes:
        step = np.uint64((_number(lane) * _GOLDEN + _GOLDEN) & _MASK)
        word = word + step
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        word = word ^ (word >> np.uint64(31))
    return word


@lru_cache(maxsize=4096)
def _number(lane: Lane) -> int:
    if isinstance(lane, int):
        return lane & _MASK
    return int.from_bytes(hashlib.blake2b(lane.encode(), digest_size=8).digest(), "little")
