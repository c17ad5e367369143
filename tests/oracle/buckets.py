"""Token buckets by the book: one for each key, exact fractions, no limit on their number."""

from __future__ import annotations

from fractions import Fraction


class SlowBuckets:
    """`rate` tokens in `period` seconds, at most `burst`."""

    def __init__(self, rate: int, period: int, burst: int) -> None:
        self.rate, self.burst = Fraction(rate, period * 10**9), burst
        self.kept: dict[object, tuple[Fraction, int]] = {}

    def take(self, key: object, amount: int, now_ns: int) -> bool:
        """Whether `amount` tokens were there, and were taken."""
        tokens, then = self.kept.get(key, (Fraction(self.burst), now_ns))
        tokens = min(Fraction(self.burst), tokens + self.rate * max(0, now_ns - then))
        enough = tokens >= amount
        self.kept[key] = (tokens - amount if enough else tokens, max(then, now_ns))
        return enough
