"""Makes docs/page.png and docs/report.png: the page in light and dark, and a report.

    python docs/make_screenshots.py build/standin.onnx build/standin

Both show the stand-in's own drawings.

Needs the development tools, and Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Playwright, expect, sync_playwright

from fungi_onnx import FungiClassifier
from fungi_onnx.evaluation import evaluate, read_truth
from fungi_onnx.evaluation import report as evaluation_report

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "runtime" / "server"))

from servers import serving  # noqa: E402


def shot(playwright: Playwright, url: str, photos: list[Path], device: str, scheme: str) -> bytes:
    """A PNG of the page with these photos answered."""
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox"]
    )
    context = browser.new_context(
        **playwright.devices.get(device, {"viewport": {"width": 900, "height": 1400}}),
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#card dd").first).to_be_visible()
    page.set_input_files("#files", photos)
    expect(page.locator("#results > li")).to_have_count(len(photos))
    expect(page.locator(".working")).to_have_count(0)
    page.wait_for_timeout(300)
    png: bytes = page.screenshot()
    browser.close()
    return png


def main() -> None:
    """Writes both pictures."""
    model, standin = Path(sys.argv[1]), Path(sys.argv[2])
    page(model, sorted((standin / "samples").glob("*.jpg")))
    report(model, standin / "truth.csv")


def report(model: Path, truth: Path) -> None:
    """The upper part of a report, with what comes first of each chart."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        html = Path(folder) / "report.html"
        html.write_text(
            evaluation_report.page(evaluate(read_truth(truth), [FungiClassifier(model)]))
        )
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        sheet = browser.new_page(viewport={"width": 1100, "height": 1560})
        sheet.goto(html.as_uri())
        png = sheet.screenshot()
        browser.close()
    image = Image.open(BytesIO(png)).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(HERE / "report.png", optimize=True)


def page(model: Path, samples: list[Path]) -> None:
    """A desk in light, a phone in dark beside it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(model) as server,
        sync_playwright() as playwright,
    ):
        grey = Path(folder) / "fog.png"
        noise = np.random.default_rng(0).integers(90, 170, (300, 400, 3), np.uint8)
        Image.fromarray(noise).save(grey)
        cut = Path(folder) / "cut_short.jpg"
        cut.write_bytes(samples[1].read_bytes()[:16000])
        desk = shot(playwright, server.url, [samples[3], grey, cut], "", "light")
        phone = shot(playwright, server.url, [samples[3]], "Pixel 7", "dark")
    left, right = (Image.open(BytesIO(data)).convert("RGB") for data in (desk, phone))
    right = right.resize((round(right.width * left.height / right.height), left.height))
    sheet = Image.new("RGB", (left.width + right.width + 24, left.height), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + 24, 0))
    sheet.quantize(192, dither=Image.Dither.NONE).save(HERE / "page.png", optimize=True)


if __name__ == "__main__":
    main()
