"""What ours should reach, and by how much it does: ratios within rounds, then their median."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .figures import Series, Spread, ratio
from .peers import FP32, INT8, LITERT, OURS, PLAIN, RESIZED, TENSORFLOW

LIMIT = "limit"  # the peer of a target that is measured against what its own parts allow


@dataclass(frozen=True)
class Target:
    """One line of what this project wants to reach.

    Attributes:
        part: of the benchmark, as `peers.Peer.parts` has it, or ``memory``.
        title: what is compared, in words.
        mode: the series of ours that the target is for.
        peer: the series it is compared with, or `LIMIT`.
        bound: of the ratio.
        faster: True: the peer's time over ours is to be at least ``bound``; False: ours over the
            peer's, time or memory, is to be at most that.
    """

    part: str
    title: str
    mode: str
    peer: str
    bound: float
    faster: bool = False

    def ratio(self, series: Series, mode: str) -> Spread | None:
        """Of a mode of ours; None if either was not timed."""
        mine = series.get(self.part, {}).get(mode)
        theirs = (
            series.get(LIMIT, {}).get(mode)
            if self.peer == LIMIT
            else series.get(self.part, {}).get(self.peer)
        )
        if not mine or not theirs:
            return None
        return ratio(theirs, mine) if self.faster else ratio(mine, theirs)

    def met(self, ratio: Spread) -> bool:
        """By the median."""
        return ratio.median >= self.bound if self.faster else ratio.median <= self.bound

    def others(self, series: Series) -> Iterator[tuple[str, Spread]]:
        """The other modes of ours in the same part, so that nothing is hidden."""
        for name in series.get(self.part, {}):
            other = self.ratio(series, name) if name.startswith(OURS) else None
            if name != self.mode and other:
                yield name, other


# The modes: `exact` is the default, so it is what a first answer is judged by; `fast` is for large
# photos and many of them, and what those targets were set for.
_NETWORK, _PHOTO = "network, one image", "12-MP JPEG → top-5, warm"
_START, _MEMORY, _BULK = "start → first answer", "peak memory of that", "many 12-MP JPEGs, images/s"
_EXACT, _FAST = f"{FP32} exact", f"{FP32} fast"
TARGETS = (
    Target("network", _NETWORK, FP32, LITERT, 1.0),
    Target("network", _NETWORK, FP32, TENSORFLOW, 0.45),
    Target("network", _NETWORK, INT8, LITERT, 0.75),
    Target("photo", _PHOTO, _FAST, TENSORFLOW, 0.45),
    Target("photo", _PHOTO, _FAST, RESIZED, 0.45),
    Target("photo", _PHOTO, _FAST, LITERT, 0.55),
    Target("start", _START, _EXACT, TENSORFLOW, 0.06),
    Target("start", _START, _EXACT, LITERT, 1.15),
    Target("memory", _MEMORY, _EXACT, TENSORFLOW, 0.22),
    Target("memory", _MEMORY, _EXACT, LITERT, 1.05),
    Target("bulk", _BULK, _FAST, TENSORFLOW, 5, faster=True),
    Target("bulk", _BULK, _FAST, RESIZED, 5, faster=True),
    Target("bulk", _BULK, _FAST, PLAIN, 2, faster=True),
    Target("bulk", _BULK, _FAST, LIMIT, 0.93, faster=True),
)
