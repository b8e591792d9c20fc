"""How far a long run is: a line on standard error, if that is a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from fungi_onnx.errors import FungiOnnxError

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """A bar with rate and remaining time; without a terminal it is nothing.

    Attributes:
        total: how many there are, once that is known.
    """

    def __init__(self, done: int, failed: int, count: Callable[[], int | None]) -> None:
        """Begins at ``done``, of which ``failed``; ``count`` finds the total, in a thread."""
        self._bar: tqdm[Any] | None = None
        self.total: int | None = None
        if sys.stderr is not None and sys.stderr.isatty():
            self._bar = _bar(done)
            self.step(failed, 0)
            self._bar.refresh()
            threading.Thread(target=self._find_total, args=[count], daemon=True).start()

    def step(self, failed: int, steps: int = 1) -> None:
        """One more is done; ``failed`` are by now."""
        if self._bar is not None:
            self._bar.set_postfix_str(f" · {failed:,} failed" if failed else "", refresh=False)
            self._bar.update(steps)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _find_total(self, count: Callable[[], int | None]) -> None:
        with contextlib.suppress(FungiOnnxError):
            self.total = count()
            if self._bar is not None:
                self._bar.total = self.total


def rate(pictures: float, seconds: float) -> str:
    """Pictures a second, short."""
    per_second = pictures / seconds if seconds > 0 else 0.0
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, short: ``2 h 05 min``, ``3 min 20 s``, ``8 s``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {left:02} s" if minutes else f"{left} s"


def _bar(done: int) -> tqdm[Any]:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]  # only its stub is generic
        monitor_interval = 0  # no thread of its own

        @property
        def format_dict(self) -> MutableMapping[str, Any]:
            facts = dict(super().format_dict)
            n, total, elapsed = facts["n"], facts["total"], facts["elapsed"]
            per_second = facts["rate"] or ((n - facts["initial"]) / elapsed if elapsed else 0)
            if total and n <= total:
                facts["bar_format"] = "{percentage:3.0f}% {bar} {said}"
                said = f"{n:{len(f'{total:,}')},} of {total:,}"
            else:
                facts["bar_format"] = "{said}"
                said = f"{n:,} done"
            if per_second:
                said += f" · {rate(per_second, 1)}"
                if total and n <= total:
                    said += f" · {duration((total - n) / per_second)} left"
            facts["said"] = said + (facts["postfix"] or "")
            return facts

    return Bar(initial=done, file=sys.stderr, leave=False, dynamic_ncols=True, miniters=1)
