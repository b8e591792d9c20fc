"""The page in a real browser, as people use it: with a mouse, a keyboard, a phone."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from fungi_onnx import FungiClassifier

from .servers import Server, serving

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is here")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    # Without its sandbox, which needs namespaces that a container may not have.
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield browser
    browser.close()


class Watch:
    """What a page complained about, and where it went."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        self.addresses: set[str] = set()
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.addresses.add(request.url))

    def _note(self, kind: str, text: str) -> None:
        # The browser itself says this of an error's answer, or of none; the page shows them.
        if "Failed to load resource: " not in text:
            self.complaints.append(f"{kind}: {text}")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Any]:
    """Opens the page of a server; in the end, nothing may have been complained about."""
    opened = []

    def open_page(server: Server, path: str = "/", **options: Any) -> Page:
        page = browser.new_context(**options).new_page()
        watch = Watch(page)
        opened.append((page, watch, server.url))
        page.goto(server.url + path)
        return page

    yield open_page
    for page, watch, url in opened:
        assert watch.complaints == []
        assert {a for a in watch.addresses if not a.startswith((url, "blob:"))} == set()
        page.context.close()


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of nothing."""
    path = tmp_path_factory.mktemp("grey") / "grey.png"
    noise = np.random.default_rng(0).integers(100, 150, (200, 300, 3), np.uint8)
    path.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    return path


def drop(page: Page, *paths: Path) -> None:
    """Drops files on the page, as a file manager would."""
    files = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
    transfer = page.evaluate_handle(
        """files => {
          const transfer = new DataTransfer();
          for (const [name, data] of files) {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            transfer.items.add(new File([bytes], name));
          }
          return transfer;
        }""",
        files,
    )
    page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
    expect(page.locator("body.over")).to_have_count(1)
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    expect(page.locator("body.over")).to_have_count(0)


def entries(page: Page, count: int) -> Any:
    """The results, when they are there."""
    found = page.locator("#results > li")
    expect(found).to_have_count(count)
    expect(page.locator(".working")).to_have_count(0)
    return found


def test_a_photo_is_dropped_and_its_species_shown(
    visit: Any, server: Server, tiny: Path, tmp_path: Path
) -> None:
    classifier = FungiClassifier(tiny, device="cpu")
    probe = max(classifier.model.probes.pictures, key=lambda probe: probe.top[0][1])
    sample = tmp_path / "sample.png"
    sample.write_bytes(probe.png)
    page = visit(server)
    drop(page, sample)
    entry = entries(page, 1)
    expected = classifier.classify(sample)
    best = expected.top[0]
    assert best.probability > 0.5
    expect(entry.locator("h3")).to_have_text(best.name)
    expect(entry.locator(".file")).to_have_text("sample.png")
    rows = entry.locator(".matches li")
    expect(rows).to_have_count(5)
    for number, match in enumerate(expected.top):
        row = rows.nth(number)
        expect(row.locator(".name")).to_have_text(match.name)
        expect(row.locator(".share")).to_have_text(f"{match.probability:.1%}")
        link = row.get_by_role("link")
        query = httpx.URL(link.get_attribute("href") or "").params["q"]
        assert query == match.name
        assert link.get_attribute("rel") == "noopener noreferrer"
    image = entry.get_by_role("img", name="Your photo sample.png")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") > 40
    widths = [
        rows.nth(n).locator(".fill").evaluate("e => parseFloat(e.style.width)") for n in range(5)
    ]
    assert widths == pytest.approx([100 * match.probability for match in expected.top], abs=0.01)
    expect(page.get_by_role("status")).to_contain_text(f"sample.png: {best.name}, ")


def test_several_photos_keep_their_order(
    visit: Any, server: Server, sample: Path, grey: Path
) -> None:
    page = visit(server)
    page.set_input_files("#files", [str(sample), str(grey)] * 4)
    found = entries(page, 8)
    expect(found.locator(".file")).to_have_text(["sample.jpg", "grey.png"] * 4)
    page.set_input_files("#files", [str(sample)])  # and more of them later
    entries(page, 9)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#found")).to_be_hidden()
    entries(page, 0)


def test_a_flat_answer_says_that_it_is_not_sure(visit: Any, server: Server, grey: Path) -> None:
    answer = server.client.post("/v1/classify", content=grey.read_bytes()).json()
    best = answer["top"][0]["probability"]
    assert best < 0.5
    page = visit(server)
    page.set_input_files("#files", str(grey))
    entry = entries(page, 1)
    expect(entry.locator("h3")).to_have_text("Not sure")
    expect(entry.locator(".verdict")).to_have_text(
        f"Even the best match has only {best:.1%}:"
        " by the model’s own numbers it is more likely something else."
    )
    expect(page.get_by_role("status")).to_contain_text("grey.png: not sure, perhaps ")


def test_a_broken_file_says_what_to_do(
    visit: Any, server: Server, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.jpg").write_bytes(sample.read_bytes()[:4000])
    (tmp_path / "letter.txt").write_text("Dear Mycologist,")
    page = visit(server)
    drop(page, tmp_path / "cut.jpg", tmp_path / "letter.txt", sample)
    found = entries(page, 3)
    expect(found.nth(0).locator("h3")).to_have_text("This file could not be used")
    expect(found.nth(0).locator(".verdict")).to_contain_text("damaged or cut short")
    expect(found.nth(0).locator(".verdict")).to_contain_text("Try another photo, or a JPEG of it.")
    expect(found.nth(1).locator(".verdict")).to_contain_text("not a picture in a known format")
    expect(found.nth(2).locator(".matches li")).to_have_count(5)  # the others are not disturbed


def test_a_file_that_is_too_large_is_not_even_sent(visit: Any, tiny: Path, sample: Path) -> None:
    with serving(tiny, "--max-megabytes", 0.001) as server:
        page = visit(server)
        expect(page.locator("#card dd").first).to_be_visible()
        page.set_input_files("#files", str(sample))
        entry = entries(page, 1)
        expect(entry.locator("h3")).to_have_text("This file is too large")
        assert ("POST", "/v1/classify", "413") not in server.metrics()["fungi_onnx_requests_total"]


def test_a_server_that_has_gone(visit: Any, tiny: Path, sample: Path) -> None:
    with serving(tiny) as server:
        page = visit(server)
        expect(page.locator("#card dd").first).to_be_visible()
        server.stop()
        page.on("requestfailed", lambda _: None)
        page.set_input_files("#files", str(sample))
        entry = entries(page, 1)
        expect(entry.locator("h3")).to_have_text("The server could not be reached")
        page.goto("about:blank")


def test_with_the_keyboard_alone(visit: Any, server: Server, sample: Path) -> None:
    page = visit(server)
    page.on("filechooser", lambda _: None)  # or the first one may come before it is listened for
    expect(page.locator("#card dd").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose photos")).to_be_focused()
    outline = page.locator("label[for=files]").evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(str(sample))
    entries(page, 1)
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.innerText"))
    assert reached[:6] == ["Clear", *["GBIF"] * 5]
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_be_hidden()
    expect(page.get_by_label("Choose photos")).to_be_focused()


def test_a_photo_is_pasted(visit: Any, server: Server, sample: Path) -> None:
    page = visit(server)
    page.evaluate(
        """data => {
          const clipboardData = new DataTransfer();
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
        }""",
        base64.b64encode(sample.read_bytes()).decode(),
    )
    entry = entries(page, 1)
    expect(entry.locator(".matches li")).to_have_count(5)


def test_on_a_phone(visit: Any, playwright: Playwright, server: Server, sample: Path) -> None:
    page = visit(server, **playwright.devices["Pixel 7"])
    camera = page.get_by_label("Take a photo")
    expect(page.locator("label[for=camera]")).to_be_visible()
    assert camera.get_attribute("capture") == "environment"
    camera.set_input_files(str(sample))
    entries(page, 1)
    width, inner = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner, "it can be scrolled sideways"
    for button in ("label[for=files]", "label[for=camera]"):
        assert page.locator(button).bounding_box()["height"] >= 44  # WCAG 2.5.5, a thumb's size


def test_on_a_desk_there_is_no_camera_button(visit: Any, server: Server) -> None:
    page = visit(server)
    coarse = page.evaluate("() => matchMedia('(pointer: coarse)').matches")
    assert page.locator("label[for=camera]").is_visible() == coarse


def test_nobody_can_miss_the_warning(visit: Any, server: Server, sample: Path) -> None:
    page = visit(server, viewport={"width": 390, "height": 600})
    page.set_input_files("#files", [str(sample)] * 5)
    entries(page, 5)
    terms = server.client.get("/v1/model").json()["terms"]["unsuitable"]
    text = page.get_by_role("complementary", name="Warning").inner_text()
    for use in terms:
        assert f"not for {use}" in text.lower()
    for top in (0, 400, 100_000):
        page.evaluate("top => window.scrollTo(0, top)", top)
        expect(page.get_by_role("complementary", name="Warning")).to_be_in_viewport(ratio=1)


def test_the_model_s_card_is_shown(visit: Any, server: Server, tiny: Path) -> None:
    page = visit(server)
    model = FungiClassifier(tiny, device="cpu").model
    card = page.locator("#card")
    for text in (model.name, model.terms.licence, model.parity.reference, "12 classes", "cpu"):
        expect(card).to_contain_text(text)
    expect(page.locator("#model")).to_have_text(model.name)


def test_a_token_is_asked_for_and_kept_for_the_visit(visit: Any, tiny: Path, sample: Path) -> None:
    with serving(tiny, FUNGI_ONNX_TOKEN="correct-horse-battery") as server:
        page = visit(server)
        field = page.get_by_label(re.compile("This server asks for a token"))
        field.fill("wrong-horse")
        page.get_by_role("button", name="Use it").click()
        field = page.get_by_label(re.compile("That token is not the right one"))
        field.fill("correct-horse-battery")
        page.keyboard.press("Enter")
        expect(page.locator("#token")).to_be_hidden()
        expect(page.locator("#card dd").first).to_be_visible()
        page.set_input_files("#files", str(sample))
        expect(entries(page, 1).locator(".matches li")).to_have_count(5)
        page.reload()
        expect(page.locator("#card dd").first).to_be_visible()


def test_under_the_path_of_a_proxy(visit: Any, tiny: Path, sample: Path) -> None:
    with serving(tiny, "--root-path", "/species") as server:
        page = visit(server, "/species")
        assert page.url == f"{server.url}/species/"
        page.set_input_files("#files", str(sample))
        expect(entries(page, 1).locator(".matches li")).to_have_count(5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["Desktop Chrome", "Pixel 7"])
def test_accessibility(
    visit: Any,
    playwright: Playwright,
    server: Server,
    sample: Path,
    grey: Path,
    tmp_path: Path,
    scheme: str,
    device: str,
) -> None:
    """axe-core finds nothing, with every kind of result on the page."""
    (tmp_path / "cut.jpg").write_bytes(sample.read_bytes()[:4000])
    options = {**playwright.devices[device], "color_scheme": scheme, "reduced_motion": "reduce"}
    page = visit(server, bypass_csp=True, **options)  # or axe-core itself could not be loaded
    page.set_input_files("#files", [str(sample), str(grey), str(tmp_path / "cut.jpg")])
    entries(page, 3)
    found = Axe().run(page).response["violations"]
    assert [(one["impact"], one["id"], one["help"]) for one in found] == []


def test_the_page_is_light(server: Server) -> None:
    total = 0
    for path in ("/", "/page/app.js", "/page/style.css", "/page/icon.svg"):
        response = server.client.get(path)
        assert response.status_code == 200
        total += len(response.content)
        again = server.client.get(path, headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert server.client.head(path).headers["content-type"] == response.headers["content-type"]
    assert total < 30_000
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", server.client.get("/").text)
