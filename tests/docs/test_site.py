"""The site: built without a warning, every link leads somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

import fungi_onnx

from .conftest import DOCS, ROOT, build

# What a browser asks for by itself. Ordinary links, which are followed by people, may lead away.
ASKED_FOR = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
}


@dataclass
class Parsed:
    """A page: the ids in it, where its links lead, what it asks for by itself, its text."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    text: str = ""


class Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Parsed()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.page.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.page.links.append(values["href"])
        for name in ASKED_FOR.get(tag, ()):
            if name in values:
                self.page.asked.append(values[name])

    def handle_data(self, data: str) -> None:
        self.page.text += data


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Parsed]:
    found = {}
    for path in site.rglob("*.html"):
        parser = Parser()
        parser.feed(path.read_text(encoding="utf-8"))
        found[path.relative_to(site).as_posix()] = parser.page
    assert len(found) >= 24
    return found


def inside(site: Path, page: str, address: str) -> tuple[str, str]:
    """The file of the site and the anchor that an address of a page means."""
    parts = urlsplit(address)
    folder = site if parts.path.startswith("/") else (site / page).parent
    path = (folder / unquote(parts.path).lstrip("/")).resolve() if parts.path else site / page
    path = path / "index.html" if path.is_dir() else path
    return path.relative_to(site.resolve()).as_posix(), unquote(parts.fragment)


def test_every_link_and_anchor_leads_somewhere(site: Path, pages: dict[str, Parsed]) -> None:
    wrong, followed = [], 0
    for name, page in pages.items():
        for address in page.links + page.asked:
            if urlsplit(address).scheme in ("http", "https", "data"):
                continue
            followed += 1
            there, anchor = inside(site, name, address)
            exists = (site / there).is_file()
            if not exists or (anchor and anchor not in pages[there].ids):
                wrong.append(f"{name}: {address}")
    assert wrong == []
    assert followed > 1000


def test_no_page_asks_another_host_for_anything(site: Path, pages: dict[str, Parsed]) -> None:
    def away(address: str) -> bool:
        return bool(urlsplit(address).netloc)

    assert [
        f"{name}: {address}"
        for name, page in pages.items()
        for address in page.asked
        if away(address) and not address.startswith("data:")
    ] == []
    styles = [*site.rglob("*.css")]
    assert styles
    for path in styles:
        text = path.read_text(encoding="utf-8")
        asked = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text)
        assert [one for pair in asked for one in pair if away(one)] == [], path.name


def test_every_page_is_reached_from_the_start(site: Path, pages: dict[str, Parsed]) -> None:
    links = [link for link in pages["index.html"].links if not urlsplit(link).netloc]
    navigation = {inside(site, "index.html", link)[0] for link in links}
    for path in DOCS.glob("*.md"):
        assert f"{path.stem}.html" in navigation, path.name


def test_every_command_and_option_is_on_the_commands_page(
    hooks: ModuleType, pages: dict[str, Parsed]
) -> None:
    page = pages["commands.html"]
    for parser in hooks.parsers():
        found = hooks.commands_of(parser)
        assert len(found) >= 8
        for name, command in found.items():
            assert f"{parser.prog}-{name}" in page.ids
            assert command.description in page.text
            for action in command._actions:
                for option in {*action.option_strings} - {"-h", "--help"}:
                    assert option in page.text, f"{name} {option}"
    serve = hooks.commands_of(hooks.parsers()[0])["serve"]
    variables = {f"FUNGI_ONNX_{action.dest.upper()}" for action in serve._actions}
    assert variables - {"FUNGI_ONNX_HELP"} <= set(re.findall(r"FUNGI_ONNX_\w+", page.text))
    assert "FOLDER|LIST|-" in page.text
    for code, meaning in (("3", "no model or a wrong one"), ("4", "device not available")):
        assert re.search(rf"\b{code}\s+{meaning}", page.text)


def test_every_public_name_is_on_the_api_page(pages: dict[str, Parsed]) -> None:
    ids = {name.rpartition(".")[2] for name in pages["api.html"].ids if "." in name}
    assert {*fungi_onnx.__all__} - ids == set()
    assert {"classify", "classify_many", "prepare", "to_dict", "ok", "top"} <= ids
    assert {"read_truth", "evaluate", "calibrate", "Result", "Calibration"} <= ids
    assert "max_pixels" in pages["api.html"].text


def test_each_error_of_the_command_line_names_a_page_that_there_is() -> None:
    """What the help and the code call docs/x.md."""
    files = [*(ROOT / "fungi_onnx").rglob("*.py"), *(ROOT / "export").rglob("*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    named = {*re.findall(r"docs/[\w-]+\.md", text)}
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    ("page", "text", "complaint"),
    [
        ("index.md", "[gone](gone.md)", "the target is not found"),
        ("index.md", "[gone](../fungi_onnx/gone.py)", "fungi_onnx/gone.py, which is not there"),
        ("index.md", "[gone](export.md#no-such-part)", "does not contain an anchor"),
        ("api.md", "::: fungi_onnx.prediction.Gone", "could not be found"),
    ],
)
def test_a_wrong_link_or_name_stops_the_build(
    page: str, text: str, complaint: str, tmp_path: Path
) -> None:
    for entry in ROOT.iterdir():
        if entry.name not in ("docs", "mkdocs.yml"):
            (tmp_path / entry.name).symlink_to(entry)
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / page).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{text}\n")
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode != 0
    assert complaint in built.stderr + built.stdout


def test_a_link_to_a_file_that_the_site_does_not_have_becomes_its_name(hooks: ModuleType) -> None:
    led = hooks.led
    assert led("[`image.py`](../fungi_onnx/image.py)", "docs") == "`fungi_onnx/image.py`"
    assert led("[the code](../fungi_onnx/image.py)", "docs") == "the code (`fungi_onnx/image.py`)"
    assert (
        led("[all](../benchmarks/results/report.md#start)", "docs") == "[all](benchmarks.md#start)"
    )
    assert led("[it](../../docs/ray.md)", "benchmarks/results") == "[it](ray.md)"
    assert led("[speed.md](speed.md)", "docs") == "[Speed](speed.md)"
    assert led("[a](https://example.org/x.md)", "docs") == "[a](https://example.org/x.md)"
    code = "```python\nx[0](y)\n```"
    assert led(code, "docs") == code


def test_the_commands_page_needs_no_tensorflow(hooks: ModuleType) -> None:
    assert hooks.commands().startswith("## `fungi-onnx`")
    assert "tensorflow" not in sys.modules
    code = "import importlib.util as u; raise SystemExit(u.find_spec('tensorflow') is not None)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_figures_of_the_performance_page_are_the_reports() -> None:
    report = (ROOT / "benchmarks" / "results" / "report.md").read_text(encoding="utf-8")
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    known = {*re.findall(r"[\d.]*\d", report)}
    figures = {*figures_of(page)} - {"12"}  # megapixels
    assert len(figures) > 20
    assert figures - known == set()


def figures_of(page: str) -> Iterator[str]:
    for line in page.splitlines():
        if not line.startswith("!"):
            yield from re.findall(r"(?<![\w.#])\d[\d.]*(?= |\b(?!\w|-))", line)


def test_the_tables_of_the_scaling_page_are_the_scripts() -> None:
    def cells(row: str) -> tuple[str, ...]:
        return tuple(cell.strip().strip("*") for cell in row.strip("|").split("|"))[1:]

    printed = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "scaling.py"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = {cells(line) for line in printed.splitlines() if line.startswith("|")}
    page = (DOCS / "scaling.md").read_text(encoding="utf-8").partition("## What is measured")[0]
    shown = {cells(line) for line in page.splitlines() if line.startswith("|")}
    figures = {row for row in shown if any(re.search(r"\d", cell) for cell in row)}
    assert len(figures) > 20
    assert figures - rows == set()
