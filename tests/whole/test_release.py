"""What is released: the same bytes from every copy of the tree, one version, pins that fit, and the
files by which others build, test and publish it."""

from __future__ import annotations

import ast
import email
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from email.message import Message
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent  # of .venv/runtime
EXPORT = ROOT / ".venv" / "export" / "bin"
WORKFLOWS = ROOT / ".github" / "workflows"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
UNPINNED = ("setuptools==", "wheel==")  # `pip freeze` takes them for tools of its own
PACKAGES = {"fungi_onnx": ROOT, "fungi_onnx_export": ROOT / "export"}
# What the two packages are built from, and what a clone has beside them.
SOURCES = "pyproject.toml README.md LICENSE NOTICE Makefile .gitignore _fungi_onnx_command.py"
FOLDERS = ("fungi_onnx", "export")


def run(command: Iterable[str | Path], folder: Path, **options: Any) -> str:
    """What it printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "SOURCE_DATE_EPOCH", "MAKE", "MFLAGS"))
    }
    environment |= options.pop("env", {})
    result = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        **options,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def tree(source: Path, folder: Path) -> Path:
    """A copy of what the packages are built from."""
    folder.mkdir(parents=True)
    unwanted = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info", "dist")
    for name in SOURCES.split():
        shutil.copy(source / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(source / name, folder / name, ignore=unwanted)
    return folder


def built(folder: Path, **options: Any) -> dict[str, Path]:
    """The files that `make dist` makes there, by name. The environment is the one that is here."""
    run(["make", "-o", ".venv/runtime/.ready", f"RUNTIME={BIN}", "dist"], folder, **options)
    return {path.name: path for path in (folder / "dist").iterdir()}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def digests(files: dict[str, Path]) -> dict[str, str]:
    return {name: sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(ROOT, tmp_path_factory.mktemp("release") / "clone")


@pytest.fixture(scope="module")
def released(clone: Path) -> dict[str, Path]:
    return built(clone)


@pytest.fixture(scope="module")
def bumped(clone: Path) -> dict[str, Path]:
    """As released, after the first step of a release: the version is set where it is."""
    folder = tree(clone, clone.parent / "bumped")
    place = folder / "fungi_onnx" / "__init__.py"
    line = re.compile('^__version__ = ".*"$', re.MULTILINE)
    text, places = line.subn('__version__ = "9.8.7"', place.read_text())
    assert places == 1
    place.write_text(text)
    return built(folder)


def test_the_version_is_written_in_one_place(released: dict[str, Path]) -> None:
    written = re.compile(r"^\s*(__version__|version)\s*=\s*[\"']\d", re.MULTILINE)
    files = [ROOT / "pyproject.toml", ROOT / "export" / "pyproject.toml"]
    files += [file for name, at in PACKAGES.items() for file in (at / name).rglob("*.py")]
    places = [file for file in files if written.search(file.read_text())]
    assert places == [ROOT / "fungi_onnx" / "__init__.py"]
    assert len(released) == 4


def test_both_packages_have_the_version_and_belong_together(bumped: dict[str, Path]) -> None:
    assert set(bumped) == {
        f"{name}-9.8.7{end}" for name in PACKAGES for end in ("-py3-none-any.whl", ".tar.gz")
    }
    exporter = metadata(bumped["fungi_onnx_export-9.8.7-py3-none-any.whl"])
    assert exporter["Version"] == "9.8.7"
    required = exporter.get_all("Requires-Dist") or []
    assert "fungi-onnx[cpu]==9.8.7" in required
    assert any(name.startswith("tensorflow>=") for name in required)


def test_the_installed_exporter_knows_its_version(bumped: dict[str, Path], tmp_path: Path) -> None:
    """At once: before TensorFlow. And the model files that it writes have it."""
    wheels = [path for name, path in bumped.items() if name.endswith(".whl")]
    install = [BIN / "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site"]
    run([*install, *wheels], tmp_path)
    script = """
import sys
import fungi_onnx_export.cli
try:
    fungi_onnx_export.cli.main(["--version"])
except SystemExit:
    print("tensorflow" in sys.modules)
from fungi_onnx_export import describe
print(describe.__version__)
"""
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    printed = run([EXPORT / "python", "-c", script], tmp_path, env=environment)
    assert printed.splitlines() == ["fungi-onnx-export 9.8.7", "False", "9.8.7"]


def test_the_same_bytes_from_another_copy(clone: Path, released: dict[str, Path]) -> None:
    """Elsewhere, later, by somebody with other habits, in a folder that has been worked in."""
    other = tree(clone, clone.parent / "some where" / "else")
    for number, path in enumerate(sorted(other.rglob("*"), reverse=True)):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
        path.chmod(0o700 if path.is_dir() else 0o600)
    for package in (other / "fungi_onnx", other / "export" / "fungi_onnx_export"):
        (package / "__pycache__").mkdir()
        (package / "__pycache__" / "cli.cpython-311.pyc").write_bytes(b"compiled")
    (other / "notes.txt").write_text("mine")
    (other / "export" / "notes.txt").write_text("mine")
    habits = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "7", "HOME": str(other)}
    again = built(other, umask=0o077, env=habits)
    assert digests(again) == digests(released)


def test_a_wheel_from_the_sources_of_a_release_is_the_same(
    clone: Path, released: dict[str, Path], tmp_path: Path
) -> None:
    """`make dist` builds wheels from the sdists; here they are built from the tree."""
    for folder in (clone, clone / "export"):
        run([BIN / "python", "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], folder)
    wheels = {path.name: path for path in tmp_path.glob("*.whl")}
    assert len(wheels) == 2
    assert digests(wheels) == {
        name: digest for name, digest in digests(released).items() if name.endswith(".whl")
    }


def test_what_is_in_the_files(clone: Path, released: dict[str, Path]) -> None:
    for package, at in PACKAGES.items():
        (wheel,) = (path for name, path in released.items() if re.match(rf"{package}-.*whl", name))
        (sdist,) = (path for name, path in released.items() if re.match(rf"{package}-.*gz", name))
        code = {
            str(path.relative_to(clone / at.relative_to(ROOT)))
            for path in (clone / at.relative_to(ROOT) / package).rglob("*")
            if path.is_file()
        }
        beside = {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
            assert all(member.mode in (0o644, 0o755) for member in archive)
        assert code <= names
        assert names - code <= beside | {"_fungi_onnx_command.py", "hatch_build.py"}
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
            licences = {name for name in names if "/licenses/" in name}
            for name in licences:  # the exporter has copies: a package's files lie in its folder
                assert archive.read(name) == (ROOT / Path(name).name).read_bytes()
        assert {Path(name).name for name in licences} == {"LICENSE", "NOTICE"}
        assert code <= names
        assert {name for name in names - code if ".dist-info/" not in name} <= {
            "_fungi_onnx_command.py"
        }
        description = metadata(wheel)
        assert description["License-Expression"] == "Apache-2.0"
        assert "# fungi-onnx" in str(description.get_payload())


def test_the_same_model_makes_the_same_wheel(tmp_path: Path) -> None:
    wheels = []
    for name, umask in (("a", 0o022), ("b", 0o077)):
        folder = tmp_path / name
        folder.mkdir(mode=0o755)
        shutil.copy(ROOT / "tests" / "data" / "tiny.onnx", folder / f"{name}.onnx")
        environment = {"TMPDIR": str(folder), "PYTHONHASHSEED": str(umask)}
        command = [EXPORT / "fungi-onnx-export", "wheel", f"{name}.onnx", "-o", "out"]
        run(command, folder, umask=umask, env=environment)
        wheels.append({path.name: path for path in (folder / "out").iterdir()})
    assert digests(wheels[0]) == digests(wheels[1])
    assert len(wheels[0]) == 1


# The pins


def installs() -> dict[str, list[str]]:
    """For each environment, the options of its `pip install` as the Makefile has them."""
    return asked("yes")


@cache
def asked(pins: str, python: str = "python3") -> dict[str, list[str]]:
    plan = run(
        ["make", "-n", "-B", f"PINS={pins}" if pins else "PHOTOS=", f"PYTHON={python}"]
        + [f".venv/{name.stem}/.ready" for name in (ROOT / "constraints").iterdir()],
        ROOT,
    )
    found: dict[str, list[str]] = {}
    for words in map(shlex.split, plan.replace("\\\n", " ").splitlines()):
        if words and words[0].endswith("/bin/pip"):
            command = list(itertools.takewhile(lambda word: word not in ("&&", "||"), words))
            found[Path(words[0]).parts[1]] = command[command.index("install") + 1 :]
    return found


def test_every_environment_has_its_pins() -> None:
    text = (ROOT / "Makefile").read_text()
    environments = set(re.findall(r"^\.venv/(\w+)/\.ready:", text, flags=re.MULTILINE))
    assert {path.name for path in (ROOT / "constraints").iterdir()} == {
        f"{name}.txt" for name in environments
    }
    assert set(installs()) == environments
    for name, options in installs().items():
        at = options.index("--constraint")
        assert options[at + 1] == f"constraints/{name}.txt"
        (rule,) = re.findall(rf"^\.venv/{name}/\.ready: .*", text, flags=re.MULTILINE)
        assert f"constraints/{name}.txt" in rule


def test_no_pins_where_they_are_not_wanted_or_were_not_tested(tmp_path: Path) -> None:
    def pinned(pins: str, python: str) -> set[bool]:
        return {"--constraint" in options for options in asked(pins, python).values()}

    assert pinned("no", "python3") == {False}
    for python in PYTHONS:
        assert pinned("", pretender(tmp_path, f"({python.replace('.', ', ')}, 9)")) == {True}
    newer = f"(3, {int(PYTHONS[-1].split('.')[1]) + 1}, 0)"
    assert pinned("", pretender(tmp_path, newer)) == {False}


def pretender(folder: Path, version: str) -> str:
    """A Python that says that it is of another version."""
    script = folder / f"python{''.join(re.findall('[0-9]+', version))}"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.version_info = {version}\nexec(sys.argv[2])\n"
    )
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "constraints").iterdir()))
def test_the_pins_fit_every_supported_python(name: str, python: str, tmp_path: Path) -> None:
    """They can be installed together, as wheels, and nothing that is needed is without a pin."""
    options = installs()[name]
    wanted = [options[at + 1] for at, word in enumerate(options) if word == "--editable"]
    if name == "export":
        wanted[-1] = "./export[dev,benchmarks]"
    (tmp_path / "in.txt").write_text("".join(f"-e {one}\n" for one in wanted))
    pins = ROOT / "constraints" / f"{name}.txt"
    ours = [f"fungi-onnx{end}" for end in ("", "-export")]
    command: list[str | Path] = [BIN / "uv", "pip", "compile", "--quiet", tmp_path / "in.txt"]
    command += ["--no-header", "--no-annotate", "--constraint", pins]
    command += ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--only-binary", ":all:", *(f"--no-binary={one}" for one in ours)]
    command += [f"--no-emit-package={one}" for one in ours]
    alone = {"UV_PYTHON_DOWNLOADS": "never"}  # our own metadata need no Python of that version
    resolved = {plain(line) for line in run(command, ROOT, env=alone).splitlines()}
    pinned = {plain(line) for line in pins.read_text().splitlines()}
    assert len(resolved) > 10
    assert {one for one in resolved - pinned if not one.startswith(UNPINNED)} == set()


def plain(line: str) -> str:
    """Names as PyPI compares them."""
    name, _, version = line.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


# What others build, test and publish it by


def workflow(name: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load((WORKFLOWS / name).read_text())
    return content


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"].strip() for step in job["steps"] if "run" in step]


def test_the_workflows_are_what_github_takes() -> None:
    check: list[str | Path] = [BIN / "check-jsonschema", "--builtin-schema"]
    run([*check, "vendor.github-workflows", *WORKFLOWS.iterdir()], ROOT)
    run([*check, "vendor.dependabot", ROOT / ".github" / "dependabot.yml"], ROOT)


def test_the_workflows_give_nothing_away() -> None:
    """Among what zizmor looks for: actions by a name that can be moved, credentials left behind."""
    zizmor = [BIN / "zizmor", "--offline", "--no-progress", "--min-severity", "medium"]
    run([*zizmor, ROOT / ".github"], ROOT)
    for path in WORKFLOWS.iterdir():
        for action in re.findall(r"uses: (?!\./)(.*)", path.read_text()):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_ci_does_what_the_readme_says_on_every_supported_python() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "\nmake test\n" in readme
    assert (ROOT / ".ci" / "run").read_text().strip().endswith("\nexec make test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    job = workflow("ci.yml")["jobs"]["test"]
    assert commands(job)[-1] == "make test"
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    for at in PACKAGES.values():
        described = tomllib.loads((at / "pyproject.toml").read_text())["project"]
        assert described["requires-python"] == PROJECT["requires-python"]
    (setup,) = (step for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["with"]["python-version"] == "${{ matrix.python }}"
    triggers = workflow("ci.yml")[True]  # YAML reads the key "on" so
    assert {"push", "pull_request", "schedule", "workflow_call"} <= set(triggers)


def test_what_the_workflows_run_is_there() -> None:
    text = (ROOT / "Makefile").read_text()
    for path in WORKFLOWS.iterdir():
        for target in re.findall(r"run: make (\w+)", path.read_text()):
            assert re.search(rf"^{target}:", text, flags=re.MULTILINE), target
    site = workflow("ci.yml")["jobs"]["docs"]["steps"][-1]["with"]["path"]
    assert (ROOT / "mkdocs.yml").read_text().count(f"site_dir: {site}") == 1


def test_a_release_is_tested_and_is_what_its_tag_says(
    bumped: dict[str, Path], tmp_path: Path
) -> None:
    """The step that compares is run, with the right tag and changelog and with wrong ones."""
    jobs = workflow("release.yml")["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert set(jobs["publish"]["needs"]) == {"test", "build"}
    make, compare = commands(jobs["build"])
    assert make == "make dist"
    (tmp_path / "dist").mkdir()
    for path in bumped.values():
        shutil.copy(path, tmp_path / "dist")

    def passes(tag: str, changelog: str) -> bool:
        (tmp_path / "CHANGELOG.md").write_text(changelog)
        environment = {**os.environ, "GITHUB_REF_NAME": tag}
        shell = ["bash", "-e", "-c", compare]  # as GitHub runs it
        return not subprocess.run(
            shell, cwd=tmp_path, env=environment, capture_output=True, check=False
        ).returncode

    right = "## [Unreleased]\n\n## [9.8.7] - 2027-01-31\n"
    assert passes("v9.8.7", right)
    assert not passes("v9.8.8", right.replace("9.8.7", "9.8.8"))
    assert not passes("v9.8.7", "## [Unreleased]\n\n## [9.8.6] - 2027-01-31\n")


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)", text, flags=re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    form = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d")
    versions = [form.fullmatch(heading) for heading in headings[1:]]
    assert all(versions)
    numbers = [tuple(map(int, one.groups())) for one in versions if one]
    assert numbers == sorted(numbers, reverse=True)
    kinds = set(re.findall(r"^### (.*)", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_names_every_command() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    for command in (BIN / "fungi-onnx", EXPORT / "fungi-onnx-export"):
        names = re.findall(r"^    ([a-z]+)\b", run([command, "--help"], ROOT), flags=re.MULTILINE)
        assert len(names) >= 7
        for name in names:
            assert re.search(rf"\b{name}\b", changelog), name


# The house


def house(package: str) -> list[str]:
    """The rooms in the order of CONTRIBUTING.md's list."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (table,) = re.findall(
        rf"^In `(?:export/)?{package}/`.*?\n\n(\|.*?)\n\n", text, flags=re.MULTILINE | re.DOTALL
    )
    return [
        room for row in table.splitlines() for room in re.findall(r"`(\w+)`", row.split("|")[1])
    ]


def imported(file: Path, package: str, rooms: list[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] in rooms:
                found.add(parts[1])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_house_is_as_it_is_drawn(package: str) -> None:
    """Every room is in CONTRIBUTING.md's list, once, and imports only rooms below it."""
    folder = PACKAGES[package] / package
    rooms = house(package)
    there = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    assert sorted(rooms) == sorted(there - {"__init__"})
    upwards = []
    for room in rooms:
        files = [folder / f"{room}.py"] if (folder / f"{room}.py").is_file() else []
        for file in files or (folder / room).rglob("*.py"):
            upwards += [
                f"{file.relative_to(folder)} imports {other}"
                for other in imported(file, package, rooms) - {room}
                if rooms.index(other) < rooms.index(room)
            ]
    assert upwards == []


def test_the_runtime_imports_nothing_of_the_exporter() -> None:
    for file in (ROOT / "fungi_onnx").rglob("*.py"):
        assert "fungi_onnx_export" not in re.findall(r"(?:from|import) (\w+)", file.read_text())


def test_the_five_commands_of_contributing_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `make (\w+)` \|", text, flags=re.MULTILINE)
    assert len(rows) == 5
    listed = run(["make"], ROOT)
    for name in rows:
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert name == "lint" or re.search(rf"^{name} ", listed, flags=re.MULTILINE)


def test_links_of_the_pages_lead_somewhere() -> None:
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "README.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text()):
            assert (ROOT / link).exists(), f"{name}: {link}"
