"""The peers take turns: within a round each has one, in an order that is drawn anew.

So whatever else the machine does in those minutes falls on all of them, and a ratio of two peers
is taken within a round. Before the rounds each answers everything once; whoever is wrong then, or
later, is not timed.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import verdict
from .figures import Series
from .peers import Peer, one_thread
from .verdict import Verdict

T = TypeVar("T")
PAUSE = 0.1  # seconds between turns: thread pools spin on for a while after their work is done
# How many pictures a turn has, and how many before them do not count.
COUNTS = {"network": 16, "network alone": 8, "photo": 8, "decode": 8, "bulk": 64}
# How many times the rounds of other parts: a turn of the network takes a tenth of a second, and a
# neighbour's few busy ones would decide the whole.
MORE = {"network": 4}
WARM = {"network": 4, "network alone": 4, "photo": 2, "decode": 2, "bulk": 0}


@dataclass(frozen=True)
class Materials:
    """What ``materials.py`` made: see there."""

    folder: Path
    photos: list[str]
    ordinary: str
    ordinary_answer: tuple[int, float]
    answers: NDArray[np.float32]
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Materials:
        facts = json.loads((folder / "photos.json").read_text())
        return cls(
            folder,
            facts["large"],
            facts["ordinary"],
            tuple(facts["ordinary_answer"]),
            np.load(folder / "answers.npy"),
            facts,
        )

    def right(self, number: int) -> tuple[int, float]:
        """(class, probability) of the right first answer to a photo."""
        answer = self.answers[number]
        return int(answer.argmax()), float(answer.max())


class Process:
    """A process that answers a JSON object a line with a JSON object a line."""

    def __init__(self, command: tuple[str, ...], log: Path, ready: bool) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        if ready:
            self._reply()

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} stopped; why is in {self._log}")
        return dict(json.loads(line))

    def close(self) -> None:
        """Ends it as a user would: there is nothing more to read."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def turns(peers: list[Peer], number: int) -> list[Peer]:
    """All peers, in another order in each round: nobody always follows the same one."""
    return random.Random(number).sample(peers, len(peers))


def numbers(number: int, count: int, of: int) -> list[int]:
    """``count`` photos' numbers; other ones in each round; all of them before the first."""
    return list(range(of)) if number == 0 else [(number * count + k) % of for k in range(count)]


class Race:
    """All the rounds of all the parts.

    Attributes:
        series: part → peer → one figure a round; seconds, or bytes in the parts of memory.
        verdicts: part → peer → how its answers to all the pictures differ.
    """

    def __init__(
        self,
        peers: list[Peer],
        materials: Materials,
        rounds: int,
        cpus: int,
        say: Callable[[str], None],
    ) -> None:
        self._peers, self._materials, self._rounds, self._cpus = peers, materials, rounds, cpus
        self._say = say
        self._tensors = str(materials.folder / "tensors.npy")
        self.series: Series = {}
        self.verdicts: dict[str, dict[str, dict[str, Any]]] = {}

    def run(self) -> None:
        """Measures everything."""
        folder = self._materials.folder
        with contextlib.ExitStack() as stack:

            def start(command: tuple[str, ...], ready: bool = True) -> Process:
                process = Process(command, folder / "errors.log", ready)
                stack.callback(process.close)
                return process

            script = Path(__file__).with_name("stopwatch.py")
            stopwatch = start((sys.executable, str(script)), ready=False)
            self.play(("start", "start, 12 MP"), lambda *turn: self._start(stopwatch, *turn))
            self._say("Starting the peers for what is measured warm")
            workers = {peer.name: start((*peer.command, "-")) for peer in self._peers}

            def warm(part: str, peer: Peer, number: int) -> Verdict | None:
                return self._warm(workers[peer.name], part, peer, number)

            self.play(("network",), warm)
            self.play(("photo",), warm)
            self.play(("decode", "network alone", "bulk"), warm)
        self._add_limits()
        self.series, self.verdicts = self._lined_up(self.series), self._lined_up(self.verdicts)

    def play(
        self, parts: tuple[str, ...], turn: Callable[[str, Peer, int], Verdict | None]
    ) -> None:
        """The rounds of some parts. ``turn`` records a figure and gives a verdict."""
        playing = [(part, peer) for part in parts for peer in self._peers if part in peer.parts]
        out: set[tuple[str, str]] = set()
        rounds = self._rounds * MORE.get(parts[0], 1)
        for number in range(rounds + 1):
            what = f"round {number} of {rounds}" if number else "are the answers right?"
            self._say(f"{', '.join(parts)}: {what}")
            for part in parts:
                for peer in turns([peer for p, peer in playing if p == part], number):
                    if (part, peer.name) in out:
                        continue
                    time.sleep(PAUSE)
                    given = turn(part, peer, number)
                    if given is None:
                        continue
                    if number == 0 or not given.same:
                        self.verdicts.setdefault(part, {})[peer.name] = given.to_dict()
                    if not given.same:
                        self._say(f"  {peer.name}: not timed: {given}")
                        out.add((part, peer.name))
                        for series in (part, part.replace("start", "memory")):
                            self.series.get(series, {}).pop(peer.name, None)

    def _warm(self, worker: Process, part: str, peer: Peer, number: int) -> Verdict | None:
        """A turn of a worker: some of the pictures, and its median for one."""
        photos = self._materials.photos
        chosen = numbers(number, COUNTS[part], len(photos))
        task, inputs = part, [photos[k] for k in chosen]
        if part == "bulk":
            inputs = [inputs]
        elif part.startswith("network"):
            task, inputs = "network", chosen
        reply = worker.ask(task=task, inputs=inputs, warm=WARM[part], tensors=self._tensors)
        if number:
            each = len(chosen) if part == "bulk" else 1
            self._record(part, peer, statistics.median(reply["seconds"]) / each)
        if task == "decode":
            return None
        if task == "network":
            given = np.concatenate([np.asarray(answer) for answer in reply["answers"]])
            return verdict.of_probabilities(given, self._materials.answers[chosen], peer.tolerance)
        best = reply["answers"][0] if task == "bulk" else reply["answers"]
        return verdict.of_best(best, [self._materials.right(k) for k in chosen])

    def _start(self, stopwatch: Process, part: str, peer: Peer, number: int) -> Verdict:
        """A turn in which a process is started anew, answers one photo and ends."""
        photo, right = self._materials.ordinary, self._materials.ordinary_answer
        if part != "start":
            photo, right = self._materials.photos[0], self._materials.right(0)
        reply = stopwatch.ask(command=[*peer.command, photo])
        if reply["code"] != 0:
            log = self._materials.folder / "errors.log"
            raise SystemExit(f"{peer.name} failed on {photo}; why is in {log}")
        if number:
            self._record(part, peer, reply["seconds"])
            self._record(part.replace("start", "memory"), peer, reply["bytes"])
        return verdict.of_best([json.loads(reply["line"])], [right])

    def _record(self, part: str, peer: Peer, figure: float) -> None:
        self.series.setdefault(part, {}).setdefault(peer.name, []).append(figure)

    def _lined_up(self, found: dict[str, dict[str, T]]) -> dict[str, dict[str, T]]:
        """With the peers in the order of the line-up, not in that of their first turn."""
        names = [peer.name for peer in self._peers]
        return {
            part: {name: figures[name] for name in names if name in figures}
            for part, figures in found.items()
        }

    def _add_limits(self) -> None:
        """What each of ours could be in bulk if all CPUs did nothing but decode and compute."""
        alone = self.series.get("network alone", {})
        for name, decode in self.series.get("decode", {}).items():
            network = alone.get(one_thread(name.rpartition(" ")[0]), [])
            if name in self.series["bulk"] and network:
                self.series.setdefault("limit", {})[name] = [
                    (d + n) / self._cpus for d, n in zip(decode, network, strict=True)
                ]
