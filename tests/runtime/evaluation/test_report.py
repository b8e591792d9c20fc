"""The report in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from fungi_onnx import FungiClassifier
from fungi_onnx.evaluation import evaluate, read_truth

from ..server.test_page import CHROMIUM, NAMES
from ..test_cli import run

IN_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is here")


@pytest.fixture(scope="module")
def reports(tiny: Path, shown, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of one model, with a photo and a label that are not as they should be; and of several."""
    folder = tmp_path_factory.mktemp("reports")
    table = shown.folder / "<b>odd & more.csv"
    lines = shown.table.read_text().splitlines()
    lines[1] = "photo 00.png,<script>alert(1)</script>"
    table.write_text("\n".join([*lines, "<i>gone.jpg,1"]))
    half = tiny.with_name("tiny.fp16.onnx")
    made = {"one": folder / "one.html", "several": folder / "several.html"}
    one = run("evaluate", table, "-m", tiny, "--html", made["one"])
    assert one.returncode == 1
    crops = ("--crop", "whole", "--crop", "centre")
    several = run(
        "evaluate", shown.table, "-m", tiny, "-m", half, *crops, "--html", made["several"]
    )
    assert several.returncode == 0, several.stderr
    return made


@IN_BROWSER
@pytest.mark.parametrize("name", ["one", "several"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_opens_without_errors_and_asks_for_nothing(
    reports: dict[str, Path], name: str, width: int
) -> None:
    complaints: list[str] = []
    asked: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.partition(":")[0]))
        page.goto(reports[name].as_uri())
        assert complaints == []
        assert asked <= {"file", "data"}  # the page, and the thumbnails inside it
        assert page.locator("h1").inner_text().startswith("How often is stand-in")
        charts = page.locator("figure svg[role=img]")
        assert charts.count() == 3
        for n in range(3):
            assert charts.nth(n).bounding_box()["height"] > 50
        loaded = page.locator(".mistakes img").evaluate_all("all => all.map(i => i.naturalWidth)")
        assert len(loaded) == 24
        assert min(loaded) > 0
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        pdf = page.pdf(format="A4")
        assert pdf.startswith(b"%PDF")
        browser.close()


def test_names_are_texts_and_no_markup(reports: dict[str, Path]) -> None:
    html = reports["one"].read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; (1)" in html
    assert "&lt;i&gt;gone.jpg: no such file" in html
    assert "&lt;b&gt;odd &amp; more.csv: 90 photos" in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)


def test_what_is_in_it(reports: dict[str, Path], shown, classifier: FungiClassifier) -> None:
    (result,) = evaluate(read_truth(shown.table), [classifier]).results
    html = reports["several"].read_text(encoding="utf-8")
    for share in result.recall.values():
        low, high = share.interval
        assert f"<td>{share.value:.3f}  ({low:.3f} to {high:.3f})</td>" in html
    for name in ("tiny.onnx whole", "tiny.onnx centre", "tiny.fp16.onnx whole"):
        assert name in html
    assert "Not for foraging." in html
    assert "Compared on the same photos" in html
    assert "Compared on the same photos" not in reports["one"].read_text(encoding="utf-8")
    surest = max((p, n) for n, p in enumerate(result.confidence) if not result.right[n])
    first = html.index('<ul class="mistakes">')
    assert f"photo {surest[1]:02d}.png" in html[first : first + html[first:].index("</li>")]


def test_without_the_extra_one_sentence_says_what_to_install(
    tiny: Path, shown, tmp_path: Path
) -> None:
    """In a Python that has no Jinja2."""
    site = tmp_path / "hidden"
    site.mkdir()
    (site / "jinja2.py").write_text("raise ModuleNotFoundError('no', name='jinja2')")
    out = tmp_path / "report.html"
    result = run("evaluate", shown.table, "-m", tiny, "--html", out, PYTHONPATH=str(site))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "fungi-onnx: a report needs jinja2: pip install 'fungi-onnx[report]', or leave out --html\n"
    )
    assert not out.exists()
    assert run("evaluate", shown.table, "-m", tiny, PYTHONPATH=str(site)).returncode == 0
