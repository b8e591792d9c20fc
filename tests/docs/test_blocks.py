"""Every block of code in docs/: those that can run here are run, the others are checked.

What a block is says its fence. ``sh`` and ``python`` are run, page by page, in a folder that looks
like a clone with a model and photos; ``text`` right after ``sh`` is what that prints; ``bash``, and
``python`` with a title "needs …", cannot run here, and each is listed below with the reason. What
holds data (``json``, ``csv``, ``yaml``, ``ini``) is read, and compared with what it shows.
(README.md is followed by tests/whole.)
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import onnxruntime
import pytest
import yaml

from .conftest import DOCS, ROOT

NO_GPU = "needs an NVIDIA GPU, or 2.5 GB of packages; tests/gpu runs what goes without one"
NO_DOCKER = "needs Docker and its registry; tests/runtime/server checks the files of deploy/"
NO_RAY = "needs a Ray cluster and a bucket; tests/ray runs the same with its own"
# The blocks that are not run, by page and first line.
NOT_RUN = {
    ("deployment.md", "docker build -f deploy/Dockerfile -t fungi-onnx ."): NO_DOCKER,
    ("deployment.md", 'MODEL="$PWD/fungi.onnx" docker compose'): NO_DOCKER,
    ("deployment.md", "docker build -f deploy/Dockerfile -t fungi-onnx:cuda"): NO_DOCKER,
    ("deployment.md", "python3 -m venv /opt/fungi-onnx"): "changes the system, and needs systemd",
    ("deployment.md", "kubectl create secret"): "needs a Kubernetes cluster",
    ("export.md", "python3 -m venv export-env"): "is 2 GB of TensorFlow; `make demo` does the same",
    ("faq.md", "pip uninstall -y onnxruntime"): NO_GPU,
    ("faq.md", "pip install '.[cpu,heif]'"): "tests/whole installs the extra, and reads a HEIC",
    ("gpu.md", "python3 -m venv gpu"): NO_GPU,
    ("gpu.md", "gpu/bin/pip install onnx torch"): NO_GPU,
    ("half.md", "fungi-onnx-export half"): "takes four minutes; tests/whole runs it",
    ("quantization.md", "fungi-onnx-export quantize"): "wants 150 photos and a processor with VNNI,"
    " or it refuses; tests/export runs it",
    ("ray.md", "pip install 'fungi-onnx[cpu,ray]'"): "`make` installs it into .venv/ray",
    ("ray.md", "fungi-onnx batch s3://archive/photos"): NO_RAY,
    ("ray.md", "import ray"): NO_RAY,
    ("ray.md", "from ray import serve"): NO_RAY,
    ("ray.md", "serve build fungi_onnx.ray:app"): NO_RAY,
    ("triton.md", "tritonserver"): "needs a Triton server; tests/export checks the repository",
    (
        "triton.md",
        "import numpy as np",
    ): "needs a Triton server; tests/runtime has its client",
}
STANDIN = ROOT / "build" / "standin"
SAMPLES = STANDIN / "samples"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``after`` is the language of the one before it."""

    page: str
    language: str
    title: str
    text: str
    after: str

    @property
    def runs(self) -> bool:
        return self.language in ("sh", "python") and not self.title.startswith("needs ")

    @property
    def is_output(self) -> bool:
        return self.language == "text" and not self.title and self.after == "sh"


def blocks_of(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found: list[Block] = []
    for info, body in re.findall(r"^```(.*?)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        language, _, title = info.partition(" ")
        title = title.removeprefix('title="').removesuffix('"')
        found.append(Block(page, language, title, body, found[-1].language if found else ""))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


class Clone:
    """A folder that looks like a clone, and an environment that is activated there."""

    def __init__(self, folder: Path, app: Path) -> None:
        self.folder = folder
        self._app = app
        self._groups: list[int] = []
        with socket.socket() as probe:  # other servers may run on this machine
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        for entry in ROOT.iterdir():
            if entry.name not in (".git", "dist"):
                (folder / entry.name).symlink_to(entry)
        # Of the exporter's environment its command alone: its Python is not the user's.
        (folder / ".tools").mkdir()
        exporter = ROOT / ".venv" / "export" / "bin" / "fungi-onnx-export"
        (folder / ".tools" / "fungi-onnx-export").symlink_to(exporter)

    def run(self, script: str) -> str:
        """Runs a script to its end, which is not that of what it left in the background.

        Returns:
            What it printed.
        """
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PYTHON", "FUNGI_ONNX", "MAKE", "MFLAGS", "VIRTUAL_ENV"))
        }
        path = f"{self._app}/bin:{self.folder}/.tools:{os.environ['PATH']}"
        out = self.folder / "out.txt"
        with out.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**kept, "PATH": path, "FUNGI_ONNX_PORT": str(self.port)},
                start_new_session=True,
            )
            self._groups.append(process.pid)
            code = process.wait(timeout=400)
        printed = out.read_text(encoding="utf-8")
        assert code == 0, f"{script}\n{printed}"
        assert "Traceback" not in printed
        return printed

    def stop(self) -> None:
        """Ends what scripts left in the background."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the start page sets up, with the extras that other pages name."""
    folder = tmp_path_factory.mktemp("clone")
    there = Clone(folder, folder / "app")
    (install,) = (block.text for block in blocks_of("index.md") if "venv" in block.text)
    # Not in the clone: what is out of date would be installed from there.
    there.run(f"make -C {ROOT} demo\n{install}\npip install --quiet '.[parquet,report,serve]'")
    return folder / "app"


@pytest.fixture
def home(app: Path, tmp_path: Path) -> Iterator[Clone]:
    """A clone after `make demo`, with a model and photos.

    The stand-in has the fungi module's exact form, so the pages' file names are given to it.
    """
    there = Clone(tmp_path, app)
    (tmp_path / "fungi.onnx").write_bytes((ROOT / "build" / "standin.onnx").read_bytes())
    (tmp_path / "photos").mkdir()
    for sample in SAMPLES.glob("*.jpg"):
        (tmp_path / "photos" / sample.name).write_bytes(sample.read_bytes())
    (tmp_path / "photos" / "photo.jpg").write_bytes((SAMPLES / "species_0172.jpg").read_bytes())
    yield there
    there.stop()


def prepare(page: str, there: Clone, app: Path) -> None:
    """What a page has otherwise than the rest."""
    folder = there.folder
    if page == "index.md":  # it shows how to come by these
        (folder / "app").symlink_to(app)
        (folder / "fungi.onnx").unlink()
        shutil.rmtree(folder / "photos")
    if page == "export.md":
        (folder / "fungi.onnx").unlink()
        with tarfile.open(folder / "fungi_mobile_V1_2.tar.gz", "w:gz") as archive:
            for name in ("saved_model.pb", "tfhub_module.pb", "variables"):
                archive.add(STANDIN / name, arcname=name)
        labels = (STANDIN / "labels.csv").read_bytes()
        (folder / "fungi_mobile_V1_labelmap.csv").write_bytes(labels)
    if page == "ray.md":  # what a cluster would have left
        (folder / "results").mkdir()
        there.run("fungi-onnx batch photos -m fungi.onnx -o results/part-00000.parquet")
        there.run("mv results/part-00000.parquet.run.json results/_run.json")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.runs for block in blocks_of(page))]
)
def test_every_block_that_can_run_here(page: str, home: Clone, app: Path) -> None:
    prepare(page, home, app)
    printed = ""
    for block in blocks_of(page):
        if block.language == "sh" and "python3 -m venv app" not in block.text:  # `app` has done it
            script = block.text.replace("make demo\n", f"make -C {ROOT} demo\n")
            printed = home.run(script.replace(":8000", f":{home.port}"))
        elif block.is_output:
            assert without_figures(printed) == without_figures(block.text)
        elif (block.page, block.language) in COMPARED:
            COMPARED[block.page, block.language](block.text, printed, home.folder)
    code = [block.text for block in blocks_of(page) if block.language == "python" and block.runs]
    if code:
        (home.folder / "example.py").write_text("\n".join(code), encoding="utf-8")
        home.run("python example.py")


def without_figures(text: str) -> str:
    """A text without what rounding may change on another machine: percentages and their bars."""
    return re.sub(r"\d+\.\d%[ █▏▎▍▌▋▊▉]*", "#%", text).strip()


def an_answer(shown: str, printed: str, _: Path) -> None:
    """The server's answer to the photo, the first that was printed."""
    answers = [json.loads(line) for line in re.findall(r'\{"image".*?\]\}', printed)]
    assert similar(json.loads(shown), answers[0])


def rows_of_results(shown: str, _: str, folder: Path) -> None:
    """JSON Lines as the first command of the page wrote them."""
    good, bad = (json.loads(line) for line in shown.splitlines())
    row = json.loads((folder / "results.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert shape(good) == shape(row)
    assert shape(bad) == {"image": str, "error": {"type": str, "message": str}}


def table_of_results(shown: str, _: str, folder: Path) -> None:
    """CSV as the third command wrote it."""
    good, bad = csv.DictReader(io.StringIO(shown))
    with (folder / "results.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert [*good] == [*row]
    assert good.keys() == bad.keys()
    assert {key for key in good if good[key]} == {key for key in row if row[key]}


COMPARED = {
    ("server.md", "json"): an_answer,
    ("batch.md", "json"): rows_of_results,
    ("batch.md", "csv"): table_of_results,
}


def similar(shown: object, real: object) -> bool:
    """Whether two JSON values are alike but for the last digits of their numbers."""
    if isinstance(shown, dict) and isinstance(real, dict):
        return shown.keys() == real.keys() and all(similar(shown[key], real[key]) for key in shown)
    if isinstance(shown, list) and isinstance(real, list):
        return len(shown) == len(real) and all(map(similar, shown, real))
    if isinstance(shown, float):
        return isinstance(real, float) and abs(shown - real) < 1e-3
    return shown == real


def shape(value: object) -> object:
    """What a JSON value is made of. Of a list the first counts; a number is a number."""
    if isinstance(value, dict):
        if any(re.search(r"[^a-z0-9_]", key) for key in value):  # its keys are data
            return dict
        return {key: shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else list
    return float if type(value) is int else type(value)


@pytest.mark.usefixtures("app")  # which sees to it that there is a model
def test_the_metadata_of_the_model_file_page_is_that_of_a_model_file() -> None:
    model = onnxruntime.InferenceSession(ROOT / "build" / "standin.onnx")
    metadata = model.get_modelmeta().custom_metadata_map
    page = (DOCS / "model-file.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in metadata)
    shown = [json.loads(block.text) for block in blocks_of("model-file.md")
             if block.language == "json"]  # fmt: skip
    for name, example in zip(("model", "parity", "probes"), shown, strict=True):
        real = json.loads(metadata[f"fungi_onnx.{name}"])
        assert shape(example) == shape(real), name
    for key in [*json.loads(metadata["fungi_onnx.model"]), *shown[0]["source"], "uint8"]:
        assert re.search(rf"`(\w+\.)?{key}(\.\w+)?`", page), key


def test_the_reader_of_the_model_file_page_answers_as_the_package_does(home: Clone) -> None:
    """On a photo that lies on its side, and on one that is transparent."""
    (block,) = (block for block in blocks_of("model-file.md") if block.language == "python")
    (home.folder / "reader.py").write_text(
        block.text.replace('"photos/photo.jpg"', "__import__('sys').argv[1]"), encoding="utf-8"
    )
    (home.folder / "make.py").write_text("""
from PIL import Image
photo = Image.open("photos/photo.jpg")
exif = Image.Exif()
exif[0x0112] = 6
photo.resize((640, 411)).save("turned.jpg", exif=exif, quality=95, subsampling=0)
photo.putalpha(Image.linear_gradient("L").resize(photo.size))
photo.save("transparent.png")
""")
    home.run("python make.py")
    for picture in ("turned.jpg", "transparent.png", "photos/species_0344.jpg"):
        read = home.run(f"python reader.py {picture}")
        ours = home.run(f"fungi-onnx classify -m fungi.onnx --json {picture} 2>/dev/null")
        top = json.loads(ours)["top"]
        for match, line in zip(top, read.splitlines()[:5], strict=True):
            number, rest = line.split(" ", 1)
            name, probability = rest.rsplit(" ", 1)
            assert (int(number), name) == (match["id"], match["name"])
            assert abs(float(probability) - match["probability"]) < 1e-3


def test_no_block_is_left_out() -> None:
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        fences = len(re.findall(r"^```", text, re.MULTILINE))
        assert fences == 2 * len(blocks_of(page)), page
        # Neither within a list nor by indentation: those would not be found here.
        assert not re.search(r"^[ \t]+(```|~~~)|^~~~", text, re.MULTILINE), page
    known = {"sh", "bash", "python", "text", "json", "csv", "yaml", "ini"}
    assert {block.language for block in BLOCKS} <= known


def test_what_is_not_run_is_listed_with_the_reason() -> None:
    left = [block for block in BLOCKS if block.language == "bash" or
            (block.language == "python" and not block.runs)]  # fmt: skip
    listed = set()
    for block in left:
        keys = [key for key in NOT_RUN if key[0] == block.page and block.text.startswith(key[1])]
        assert len(keys) == 1, f"{block.page}: list this block with the reason, or run it: {block}"
        listed.add(keys[0])
    assert NOT_RUN.keys() == listed


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if not block.runs], ids=lambda block: block.page
)
def test_every_other_block_is_sound(block: Block, hooks: ModuleType) -> None:
    if block.language == "bash":
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
        check_our_commands(block.text, hooks)
        for path in re.findall(r"\b(?:deploy|benchmarks)/[\w./-]+", block.text):
            assert (ROOT / path).exists(), path
    elif block.language == "python":
        ast.parse(block.text)
    elif block.language == "json":
        for value in block.text.splitlines() if "}\n{" in block.text else [block.text]:
            json.loads(value)
    elif block.language == "csv":
        head, *rows = csv.reader(io.StringIO(block.text))
        assert {len(row) for row in rows} == {len(head)}
    elif block.language == "yaml":
        assert yaml.safe_load(block.text)
    elif block.language == "ini":
        variables = {f"FUNGI_ONNX_{name}" for name in names_of_serve(hooks)}
        lines = configparser.ConfigParser()
        lines.optionxform = str
        lines.read_string(f"[variables]\n{block.text}")
        assert {*lines["variables"]} <= variables
    else:
        assert block.is_output or block.title, "a text has a title, or is what a command prints"


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "sh"], ids=lambda block: block.page
)
def test_our_commands_are_understood(block: Block, hooks: ModuleType) -> None:
    check_our_commands(block.text, hooks)


def check_our_commands(script: str, hooks: ModuleType) -> None:
    """Each command of ours has options that there are."""
    parsers = {parser.prog: parser for parser in hooks.parsers()}
    for line in script.replace("\\\n", " ").splitlines():
        for part in re.split(r" [|&]+ ?|&$", line):
            words = shlex.split(part, comments=True)
            command = words[0].rpartition("/")[2] if words else ""
            if command in parsers:
                parsers[command].parse_args(words[1:])  # exits with 2 if it is wrong


def names_of_serve(hooks: ModuleType) -> set[str]:
    serve = hooks.commands_of(hooks.parsers()[0])["serve"]
    return {action.dest.upper() for action in serve._actions}


def test_the_repository_of_the_triton_page_is_what_the_command_writes(home: Clone) -> None:
    (tree,) = (block.text for block in blocks_of("triton.md") if block.title == "the repository")
    home.run("fungi-onnx-export triton fungi.onnx -o model_repository")
    (folder,) = (home.folder / "model_repository").iterdir()
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {line.split()[0] for line in tree.splitlines()[1:]} == written
