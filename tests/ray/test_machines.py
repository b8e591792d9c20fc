"""Clusters in which something is amiss with the machines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import parquet as pq
from ray.cluster_utils import Cluster

from .conftest import Run, make_pictures


@pytest.fixture
def lonely() -> Iterator[Cluster]:
    """A head without CPUs, which no other test sees."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


def test_gpus_that_are_none(lonely: Cluster, run: Run, tmp_path: Path) -> None:
    """Ray believes what it is told of a machine; onnxruntime looks."""
    make_pictures(tmp_path / "photos", 20)
    lonely.add_node(num_cpus=2, num_gpus=1)
    lonely.wait_for_nodes()
    on = ("--engine", "ray", "--address", lonely.address)
    done = run("batch", "photos", "-o", "out", *on)
    assert done.returncode == 4, done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith("fungi-onnx: device 'cuda' was asked for"), done.stderr
    assert "onnxruntime" in told
    assert not list((tmp_path / "out").glob("part-*"))
    # Its CPUs are real.
    done = run("batch", "photos", "-o", "cpu", "--device", "cpu", *on)
    assert done.returncode == 1, done.stderr
    assert len(pq.read_table(tmp_path / "cpu")) == 20


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap hides a folder from a node")
def test_a_machine_that_does_not_see_the_pictures_ends_the_run(
    lonely: Cluster, run: Run, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "photos", 100)
    ray_command = str(Path(sys.executable).with_name("ray"))
    hidden = ["bwrap", "--dev-bind", "/", "/", "--tmpfs", str(tmp_path / "photos"), ray_command]
    node = subprocess.Popen(
        [*hidden, "start", "--address", lonely.address, "--num-cpus", "1", "--block"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        arguments = ("photos", "-o", "out", "--engine", "ray", "--address", lonely.address)
        done = run("batch", *arguments)
        assert done.returncode == 2, done.stderr
        told = done.stderr.splitlines()[-1]
        assert re.fullmatch(
            r"fungi-onnx: photos/000/\d+\.jpg: is not there on [\d.]+: all machines of the cluster"
            " must see the pictures in the same place",
            told,
        ), done.stderr
        assert not list((tmp_path / "out").glob("part-*"))
    finally:
        node.terminate()
        node.wait(timeout=60)
