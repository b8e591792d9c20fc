"""The README as a newcomer follows it: every command, one after the other, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "FUNGI_ONNX", "MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        env={**kept, **environment},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone after `make demo`, with a copy of a module and photos.

    The stand-in has the fungi module's exact form, so the README's file names are given to it.
    """
    folder = tmp_path_factory.mktemp("home")
    (ROOT / "build").mkdir(exist_ok=True)
    for entry in ROOT.iterdir():
        if entry.name not in (".git", "dist"):
            (folder / entry.name).symlink_to(entry)
    demo = run("make demo", folder)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    (folder / "demo.txt").write_text(demo.stdout)
    standin = ROOT / "build" / "standin"
    with tarfile.open(folder / "fungi_mobile_V1_2.tar.gz", "w:gz") as archive:
        for name in ("saved_model.pb", "tfhub_module.pb", "variables"):
            archive.add(standin / name, arcname=name)
    (folder / "fungi_mobile_V1_labelmap.csv").write_bytes((standin / "labels.csv").read_bytes())
    (folder / "truth.csv").write_bytes((standin / "truth.csv").read_bytes())
    (folder / "truth").symlink_to(standin / "truth")
    (folder / "photos").mkdir()
    photo = sorted((standin / "samples").glob("*.jpg"))[0]
    (folder / "photos" / "photo.jpg").write_bytes(photo.read_bytes())
    return folder


@pytest.fixture(scope="module")
def followed(home: Path) -> Iterator[dict[str, str]]:
    """What each command of the README printed; those with & run on, to the end of the tests."""
    printed, running = {}, []
    for block in blocks("sh"):
        for command in block.replace("\\\n", " ").strip().splitlines():
            # `make test` is what runs this, `make bench` takes ten minutes: they are planned only.
            real = {"make test": "make -n test", "make bench": "make -n bench"}.get(
                command, command
            )
            if command.endswith(" &"):
                log = (home / "server.log").open("w")
                running.append(subprocess.Popen(real[:-2].split(), cwd=home, stderr=log))
                continue
            result = run(real, home)
            assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
            assert "Traceback" not in result.stderr
            printed[" ".join(command.split())] = result.stdout + result.stderr
    yield printed
    for process in running:
        process.terminate()
        assert process.wait(timeout=60) == 0, (home / "server.log").read_text()


def test_the_demo_ends_with_species_from_where_tensorflow_is_not(home: Path) -> None:
    lines = (home / "demo.txt").read_text().strip().splitlines()
    assert re.match(r" +3  Stand-in species \d{4} \(.*\) +\d+\.\d%", lines[-1])
    assert "8 of 8 golden probes passed on cpu" in "\n".join(lines)
    missing = run(".venv/runtime/bin/python -c 'import tensorflow'", home)
    assert "No module named 'tensorflow'" in missing.stderr


def test_every_command_of_the_readme(followed: dict[str, str], home: Path) -> None:
    assert len(followed) >= 13
    first = (home / "photos" / "photo.jpg").name
    classified = followed["app/bin/fungi-onnx classify photos/photo.jpg"]
    assert f"photos/{first}" in classified
    assert "Stand-in species 0000" in classified
    assert "Not for telling edible from inedible mushrooms" in classified
    verified = next(text for line, text in followed.items() if " verify " in line)
    assert verified.startswith("passed")
    assert (home / "fungi.parity.html").is_file()
    assert (home / "fungi.parity.json").is_file()
    again = next(text for line, text in followed.items() if line.endswith("--resume"))
    assert "nothing new, 1 were there already, none failed: results.jsonl" in again
    for results in ("results.jsonl", "results.csv"):
        assert "Stand-in species 0000" in (home / results).read_text()
        assert (home / f"{results}.run.json").is_file()
    one = next(text for line, text in followed.items() if "classify?top_k=3" in line)
    assert [match["id"] for match in json.loads(one)["top"]][:1] == [0]
    two = next(text for line, text in followed.items() if "-F file=" in line)
    assert [result["image"] for result in json.loads(two)["results"]] == ["photo.jpg"] * 2
    assert json.loads(followed["curl -s http://127.0.0.1:8000/readyz"])["ok"] is True
    evaluated = next(text for line, text in followed.items() if " evaluate " in line)
    assert re.search(r"^Recall@1  +0\.\d{3}  \(", evaluated, re.M)
    assert "<svg role" in (home / "report.html").read_text(encoding="utf-8")
    assert (home / "fungi.calibration.json").is_file()
    measured = next(text for line, text in followed.items() if "fungi-onnx bench" in line)
    assert re.search(r"photo, fast +\d+\.\d", measured)


def test_the_python_of_the_readme(followed: dict[str, str], home: Path) -> None:
    assert followed
    (home / "example.py").write_text("\n".join(blocks("python")))
    result = run("app/bin/python example.py", home)
    assert result.returncode == 0, result.stderr
    assert "True photos/photo.jpg\nFalse photos/missing.jpg" in result.stdout


def test_nothing_of_tensorflow_is_in_the_users_environment(
    followed: dict[str, str], home: Path
) -> None:
    assert followed
    for environment in ("app", ".venv/runtime"):
        for module in ("tensorflow", "tf2onnx", "onnx", "keras", "tf_keras", "ai_edge_litert"):
            result = run(f"{environment}/bin/python -c 'import {module}'", home)
            assert f"No module named '{module}'" in result.stderr


def test_heic_needs_the_extra(followed: dict[str, str], home: Path) -> None:
    """First without pillow-heif, then with it."""
    assert followed
    installed = run("app/bin/pip install -q --target extra 'pillow-heif>=1.1'", home)
    assert installed.returncode == 0, installed.stderr
    (home / "make_heic.py").write_text("""
import pillow_heif
from PIL import Image
pillow_heif.from_pillow(Image.open("photos/photo.jpg")).save("photo.heic", quality=90)
""")
    assert run("app/bin/python make_heic.py", home, PYTHONPATH="extra").returncode == 0
    classify = "app/bin/fungi-onnx classify -m fungi.onnx -k 1 photo.heic"
    without = run(classify, home)
    assert (without.returncode, without.stdout) == (1, "")
    assert without.stderr.splitlines()[0] == (
        "fungi-onnx: photo.heic: is a HEIF picture (HEIC), which cannot be read here;"
        " for these: pip install 'fungi-onnx[heif]'"
    )
    with_it = run(classify, home, PYTHONPATH="extra")
    assert with_it.returncode == 0, with_it.stderr
    assert "Stand-in species 0000" in with_it.stdout
    (home / "compare.py").write_text("""
from fungi_onnx import ImageTooLargeError, Limits, read_rgb
jpeg, heic = (read_rgb(name).astype(int) for name in ("photos/photo.jpg", "photo.heic"))
assert abs(jpeg - heic).mean() < 3, abs(jpeg - heic).mean()
try:
    read_rgb("photo.heic", limits=Limits(max_pixels=1000))
except ImageTooLargeError as error:
    assert "the limit is 1,000" in str(error)
""")
    compared = run("app/bin/python compare.py", home, PYTHONPATH="extra")
    assert compared.returncode == 0, compared.stderr


def test_the_wheel_is_small_and_clean(home: Path) -> None:
    result = run(".venv/runtime/bin/pip wheel -q --no-deps -w wheels .", home)
    assert result.returncode == 0, result.stderr
    (wheel,) = (home / "wheels").glob("fungi_onnx-*.whl")
    # Classifying alone took 52 KB of its first limit of 60; batch, bench and the cache are 32 more,
    # the server with its page 40, what Ray needs 22, evaluation with its report 32.
    assert wheel.stat().st_size <= 200_000
    listing = run(f".venv/runtime/bin/python -m zipfile -l {wheel}", home).stdout
    names = {line.split()[0] for line in listing.splitlines()[1:]}
    assert {"fungi_onnx/py.typed", "fungi_onnx/cli.py", "_fungi_onnx_command.py"} <= names
    assert {"fungi_onnx/server/page/index.html", "fungi_onnx/server/page/app.js"} <= names
    assert not any(name.startswith(("tests", "export")) for name in names)


def test_without_onnxruntime_one_sentence_says_what_to_install(home: Path) -> None:
    result = run("python3 -m venv plain && plain/bin/pip install -q .", home)
    assert result.returncode == 0, result.stderr
    sentence = (
        "fungi-onnx needs onnxruntime: pip install 'fungi-onnx[cpu]', or 'fungi-onnx[gpu]' for CUDA"
    )
    command = run("plain/bin/fungi-onnx classify photos/photo.jpg", home)
    assert (command.returncode, command.stdout) == (4, "")
    assert command.stderr == f"fungi-onnx: {sentence}\n"
    imported = run("plain/bin/python -c 'import fungi_onnx'", home)
    assert imported.returncode == 1
    assert imported.stderr.splitlines()[-1] == f"ModuleNotFoundError: {sentence}"


def test_several_model_wheels_must_be_named(followed: dict[str, str], home: Path) -> None:
    """A second model of another name beside the README's: which one is no guess of ours."""
    assert followed
    other = (ROOT / "tests" / "data" / "tiny.onnx").read_bytes()
    (home / "other.onnx").write_bytes(other.replace(b'"name":"stand-in', b'"name":"stand-up', 1))
    made = run(
        ".venv/export/bin/fungi-onnx-export wheel other.onnx -o second"
        " && app/bin/pip install -q --no-deps second/*.whl",
        home,
    )
    assert made.returncode == 0, made.stderr
    listed = run("app/bin/fungi-onnx info", home)
    assert listed.returncode == 3
    names = re.search(r"several models are installed: name one of (\S+), (\S+)\n", listed.stderr)
    assert names is not None
    assert "[N, 299, 299, 3]" in run(f"app/bin/fungi-onnx info -m {names[1]}", home).stdout
    assert "[N, 48, 48, 3]" in run(f"app/bin/fungi-onnx info -m {names[2]}", home).stdout
