"""The benchmark's own arithmetic: who is timed, how ratios are taken, what the report says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from side_by_side import report, verdict
from side_by_side.peers import FP32, INT8, LITERT, OPENVINO, TENSORFLOW, Peer
from side_by_side.rounds import COUNTS, Materials, Process, Race, numbers, turns
from side_by_side.targets import LIMIT, TARGETS, Target

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RIGHT = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], np.float32)


@pytest.fixture
def race(tmp_path: Path) -> Race:
    """Two peers, three rounds, no processes."""
    materials = Materials(tmp_path, ["photo.jpg"], "photo.jpg", (0, 1.0), RIGHT, {})
    peers = [Peer(name, (), ("photo",)) for name in ("one", "other")]
    return Race(peers, materials, 3, 2, lambda _: None)


@pytest.fixture
def results() -> dict:
    """Three rounds of some peers, one of which gave another answer."""
    right = verdict.of_probabilities(RIGHT, RIGHT, 1e-4).to_dict()
    wrong = verdict.of_probabilities(RIGHT + 0.01, RIGHT, 1e-4).to_dict()
    network = {TENSORFLOW: [0.02, 0.03, 0.02], LITERT: [0.01, 0.02, 0.01], FP32: [0.01] * 3}
    return {
        "machine": {
            "processor": "a processor",
            "instructions": ["avx2"],
            "cpus": 2,
            "memory_gib": 8,
            "system": "Linux",
            "python": "3.11",
            "load_before": [0, 0, 0],
            "date": "2026-01-01T00:00+00:00",
            "versions": {"peers": {"tensorflow": "2"}, "ours": {"numpy": "2"}},
        },
        "settings": {
            "model": "a model",
            "rounds": 3,
            "photos": 2,
            "tolerance": 1e-4,
            "width": 40,
            "height": 30,
            "drawn": True,
            "candidates": 3,
            "least_lead": 0.5,
            "mean_bytes": 1e6,
            "turn": COUNTS,
            "more": 1,
        },
        "series": {"network": network},
        "verdicts": {"network": dict.fromkeys(network, right) | {OPENVINO: wrong}},
    }


@pytest.mark.parametrize(
    ("given", "tolerance", "same"),
    [
        (RIGHT, 1e-4, True),
        (RIGHT + 5e-5, 1e-4, True),
        (RIGHT + 2e-4, 1e-4, False),
        (RIGHT + 2e-4, None, True),
        (RIGHT[:, ::-1], None, False),
        (RIGHT * np.nan, None, False),
    ],
)
def test_a_network_is_judged_by_its_probabilities(given, tolerance, same):
    assert verdict.of_probabilities(given, RIGHT, tolerance).same is same


def test_a_photo_is_judged_by_its_first_answer():
    right = [(4, 0.8), (2, 0.6)]
    good = verdict.of_best([[[4, 0.7], [1, 0.1]], [[2, 0.6], [4, 0.2]]], right)
    assert good.same
    assert good.mean == pytest.approx(0.05)
    bad = verdict.of_best([[[1, 0.5], [4, 0.4]], []], right)
    assert (bad.same, bad.wrong, bad.largest) == (False, 2, pytest.approx(0.6))


@pytest.mark.parametrize("when", [0, 1, 3])
def test_who_gives_another_answer_is_not_timed(race, when):
    asked = []

    def turn(part, peer, number):
        asked.append((peer.name, number))
        race._record(part, peer, 1.0)
        wrong = peer.name == "one" and number == when
        return verdict.of_best([[[int(wrong), 1.0]]], [(0, 1.0)])

    race.play(("photo",), turn)
    assert race.series["photo"] == {"other": [1.0] * 4}
    assert race.verdicts["photo"]["one"]["same"] is False
    assert [number for name, number in asked if name == "one"] == list(range(when + 1))


def test_everybody_has_a_turn_and_nobody_always_follows_the_same():
    peers = [Peer(name, (), ()) for name in "abcd"]
    rounds = ["".join(peer.name for peer in turns(peers, number)) for number in range(40)]
    assert all(sorted(order) == list("abcd") for order in rounds)
    assert {order[0] for order in rounds} == set("abcd")
    followed = {(order[k], order[k + 1]) for order in rounds for k in range(3)}
    assert len(followed) == 12, "each of the others"
    again = ["".join(peer.name for peer in turns(peers, number)) for number in range(40)]
    assert again == rounds


def test_the_results_are_in_the_order_of_the_line_up(race):
    found = {"photo": {"other": [1.0], "one": [2.0]}, "bulk": {"other": [3.0]}}
    ordered = race._lined_up(found)
    assert ordered == found
    assert [list(figures) for figures in ordered.values()] == [["one", "other"], ["other"]]


def test_the_network_has_more_rounds(race):
    asked = []
    race._peers = [Peer("one", (), ("photo", "network"))]

    def turn(part, peer, number):
        asked.append((part, peer.name, number))
        return verdict.of_best([[[0, 1.0]]], [(0, 1.0)])

    race.play(("network",), turn)
    race.play(("photo",), turn)
    rounds = [("network", 13), ("photo", 4)]
    assert asked == [(part, "one", n) for part, count in rounds for n in range(count)]


def test_all_pictures_are_checked_first_and_others_timed_in_each_round():
    assert numbers(0, 2, 5) == [0, 1, 2, 3, 4]
    assert numbers(1, 2, 5) == [2, 3]
    assert numbers(2, 2, 5) == [4, 0]


def test_ratios_are_taken_within_rounds():
    series = {"network": {FP32: [1.0, 20.0, 3.0], LITERT: [2.0, 10.0, 3.0], INT8: [1.0, 5.0, 1.5]}}
    target = Target("network", "", FP32, LITERT, 1.0)
    ratio = target.ratio(series, FP32)
    assert (ratio.median, ratio.low, ratio.high) == (1.0, 0.5, 2.0)
    assert target.met(ratio)
    assert [(name, other.median) for name, other in target.others(series)] == [(INT8, 0.5)]


def test_faster_is_the_peers_time_over_ours():
    series = {"bulk": {"fungi-onnx a": [1.0], "slow": [4.0]}, "limit": {"fungi-onnx a": [0.9]}}
    target = Target("bulk", "", "fungi-onnx a", "slow", 5, faster=True)
    ratio = target.ratio(series, "fungi-onnx a")
    assert ratio.median == 4
    assert not target.met(ratio)
    limit = Target("bulk", "", "fungi-onnx a", LIMIT, 0.9, faster=True)
    assert limit.met(limit.ratio(series, "fungi-onnx a"))


def test_what_was_not_timed_has_no_ratio():
    assert all(target.ratio({}, target.mode) is None for target in TARGETS)


def test_the_report_names_what_was_met_and_who_was_not_timed(results):
    text = report.render(results)
    assert "| fp32 | LiteRT (XNNPACK) | ≤ 1 | **1.00** (0.500 to 1.00) | met |" in text
    assert "| fp32 | TensorFlow, hub module | ≤ 0.45 | **0.500** (0.333 to 0.500) | **not" in text
    assert "| int8 | LiteRT (XNNPACK) | ≤ 0.75 | not timed | – |" in text
    assert "| OpenVINO | not timed |  |  |  | **another answer**: top-1 all equal, max" in text
    assert "| **fungi-onnx fp32** | 10.0 | 10.0 – 10.0 | 0.500 | 1.00 | top-1 all equal" in text


def test_a_peer_may_print_and_is_timed_for_each_input(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text(
        "from protocol import run\n"
        "def photo(path):\n    print('a library says hello')\n    return [[len(path), 0.5]]\n"
        "run(photo=photo)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS / "peers")}
    command = [sys.executable, str(script)]
    worker = subprocess.run(
        [*command, "-"],
        input='{"task": "photo", "inputs": ["a", "bc"], "warm": 1}\n',
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    ready, reply = map(json.loads, worker.stdout.splitlines())
    assert ready == {}
    assert reply["answers"] == [[[1, 0.5]], [[2, 0.5]]]
    assert len(reply["seconds"]) == 2
    once = subprocess.run(
        [*command, "abc"], env=environment, check=True, capture_output=True, text=True
    )
    assert json.loads(once.stdout.splitlines()[-1]) == [[3, 0.5]]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells VmHWM")
def test_the_stopwatch_tells_the_childs_own_peak_memory(tmp_path):
    """This process is full of TensorFlow, which must not count."""
    script = BENCHMARKS / "side_by_side" / "stopwatch.py"
    stopwatch = Process((sys.executable, str(script)), tmp_path / "log", ready=False)
    child = (
        "held = bytearray(60_000_000); print('first', flush=True)\n"
        "text = open('/proc/self/status').read()\n"
        "open({!r}, 'w').write(text.split('VmHWM:')[1].split()[0])"
    ).format(str(tmp_path / "peak"))
    reply = stopwatch.ask(command=[sys.executable, "-c", child])
    stopwatch.close()
    own = int((tmp_path / "peak").read_text()) * 1024
    assert reply["line"] == "first"
    assert reply["code"] == 0
    assert own <= reply["bytes"] * 1.02
    assert reply["bytes"] <= own * 1.05
