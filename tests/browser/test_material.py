"""The Material page in Chromium: documents in by the button and by a drop, asked about, deleted, and back again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MOTHS = "# Moths\n\n## Life\n\nA luna moth has no mouth and lives for about one week.\n"
BEES = "A honey bee dances to tell the hive where nectar is.\n"
QUESTION = "How long does a luna moth live?"
FITS = (
    "() => document.documentElement.scrollWidth > screen.width ? [...document.querySelectorAll('#main *, #top *')]"
    ".filter(e => e.getBoundingClientRect().right > screen.width + 1).map(e => e.tagName + '.' + e.className) : []"
)
DROP = """([name, text]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([text], name));
  const zone = document.querySelector("#drop .drop-title");
  for (const kind of ["dragenter", "dragover", "drop"])
    zone.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: carried }));
}"""


@pytest.fixture
def material(open_page: Callable[..., Any], server: Any) -> Iterator[Callable[..., Any]]:
    """material(**options) -> the page; nothing but documents of the course is left afterwards, no console error."""
    told: list[str] = []

    def opened(**options: Any) -> Any:
        page = open_page("/material", **options)
        page.on("console", lambda m: m.type == "error" and told.append(m.text))
        page.wait_for_selector(".collection")
        return page

    yield opened
    _clear(server)
    assert told == []


def _clear(server: Any) -> None:
    import urllib.request

    for collection in json.loads(server.get("/material/list"))["collections"]:
        if collection["editable"]:
            sent = json.dumps({"source": collection["source"], "file": None}).encode()
            urllib.request.urlopen(server.url + "/material/delete", sent).close()


def _said(page: Any) -> dict[str, str]:
    rows = page.locator(".upload").all()
    return {
        row.locator(".upload-name").inner_text(): row.locator(".upload-said").inner_text() for row in rows
    }


def _status(page: Any) -> str:
    page.wait_for_function("() => document.querySelector('#live .turn .badge')")
    return str(page.locator("#live .badge").get_attribute("class"))


def test_documents_come_in_are_asked_about_deleted_and_brought_back(
    server: Any, material: Callable[..., Any], ask: Callable[..., None], tmp_path: Path
) -> None:
    for name, text in (("moths.md", MOTHS), ("bees.txt", BEES), ("run.exe", "MZ")):
        (tmp_path / name).write_text(text, "utf-8")
    page = material()
    assert page.title() == "Material · Study Tutor"
    page.fill("#collection", "Insects")
    page.set_input_files("#files", [tmp_path / "moths.md", tmp_path / "run.exe", tmp_path / "bees.txt"])
    page.evaluate(DROP, ["wasps.md", "# Wasps\n\nA wasp chews wood into paper.\n"])
    page.wait_for_selector("#uploads-title >> text=4 files done, 1 not taken")
    said = _said(page)
    assert said["moths.md"] == "Added · 1 passage"
    assert said["wasps.md"] == "Added · 1 passage"
    assert said["run.exe"].startswith("Not taken: .exe files are not supported")
    insects = page.locator(".collection", has_text="Insects")
    insects.locator("text=3 documents · 3 passages").wait_for()
    assert "Markdown · 1 passage" in insects.inner_text()

    page.set_input_files("#files", tmp_path / "bees.txt")
    page.wait_for_selector(".upload.is-unchanged >> text=Unchanged · 1 passage")
    insects.locator("a", has_text="Moths").click()
    page.wait_for_selector("#reader >> text=no mouth")

    page.goto(server.url + "/chat")
    page.wait_for_selector("body.is-ready")
    ask(page, QUESTION)
    assert "is-not_covered" not in _status(page)
    assert "Moths" in page.inner_text("#sources")
    assert "one week" in page.inner_text("#live .turn")

    page.goto(server.url + "/material")
    page.get_by_label("Delete Moths").click()
    line = page.locator(".undo-line")
    line.locator("text=“Moths” is deleted.").wait_for()
    assert page.evaluate("() => document.activeElement.textContent") == "Undo"
    other = page.context.new_page()
    other.goto(server.url + "/chat")
    other.wait_for_selector("body.is-ready")
    ask(other, QUESTION)
    assert "is-not_covered" in _status(other)
    assert "no mouth" not in other.inner_text("#chat")

    page.keyboard.press("Enter")
    page.wait_for_selector("#told >> text=“Moths” is back.")
    page.get_by_label("Delete Moths").wait_for()
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Delete Moths"
    other.goto(server.url + "/chat")
    other.wait_for_selector("body.is-ready")
    ask(other, QUESTION)
    assert "is-not_covered" not in _status(other)
    assert "one week" in other.inner_text("#live .turn")


def test_a_collection_goes_and_comes_back_after_a_reload(
    material: Callable[..., Any], tmp_path: Path
) -> None:
    page = material()
    (tmp_path / "bees.txt").write_text(BEES, "utf-8")
    page.set_input_files("#files", tmp_path / "bees.txt")
    page.wait_for_selector(".collection >> text=1 document · 1 passage")
    page.click("text=Delete the collection “My material”")
    page.wait_for_selector(".undo-line >> text=“My material” is deleted.")
    page.reload()
    page.wait_for_selector(".empty")
    page.click("#trash summary")
    page.click("#trash [data-do=undo] >> nth=0")
    page.wait_for_selector(".collection >> text=1 document · 1 passage")
    course = page.locator(".collection", has_text="Read only")
    course.locator("summary").click()
    assert course.locator("a", has_text="Tokens").count() == 1
    assert course.locator("button").count() == 0


def test_names_and_titles_are_text(server: Any, material: Callable[..., Any]) -> None:
    page = material()
    name = "<img src=x onerror=alert(1)>.md"
    page.fill("#collection", '"><svg onload=alert(2)>')
    page.evaluate(DROP, [name, "# <script>alert(3)</script> Bees\n\nBees hum.\n"])
    page.wait_for_selector(".upload.is-added")
    page.wait_for_selector(".collection >> text=1 document")
    assert list(_said(page)) == [name]
    assert "<script>alert(3)</script> Bees" in page.inner_text("#collections")
    dangerous = "#main script, #main img, #main svg[onload], #main iframe, [onerror], [onload]"
    assert page.locator(dangerous).count() == 0
    [held] = server.home.glob("material/*/files/*")
    for path in (f"/material/{held.name}", f"/gradio_api/file={held}", f"/material/files/{held.name}"):
        assert page.request.get(server.url + path).status == 404
    page.click("[data-do=delete] >> nth=0")
    page.wait_for_selector(".undo-line")
    assert page.locator(dangerous).count() == 0


def test_a_failed_upload_can_be_tried_again_and_a_large_one_is_told(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page("/material")  # a request that fails is noted in the console
    (tmp_path / "bees.txt").write_text(BEES, "utf-8")
    page.route("**/material/upload*", lambda route: route.abort())
    page.set_input_files("#files", tmp_path / "bees.txt")
    page.wait_for_selector(".upload.is-rejected >> text=did not reach the server")
    page.unroute("**/material/upload*")
    page.get_by_role("button", name="Try bees.txt again").click()
    page.wait_for_selector(".upload.is-added")
    with (tmp_path / "big.pdf").open("wb") as big:
        big.truncate(50 * 1024**2 + 1)
    page.set_input_files("#files", tmp_path / "big.pdf")
    page.wait_for_selector(".upload.is-rejected >> text=the limit is 50 MB")
    assert "big.pdf is not taken" in page.inner_text("#told")
    page.click("text=Clear list")
    assert page.locator(".upload:visible").count() == 0


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it_without_sideways_scrolling(
    material: Callable[..., Any], tmp_path: Path, dark: bool
) -> None:
    page = material(width=390, height=844, phone=True, dark=dark)
    files = []
    for number in range(22):
        name = f"a-very-long-name-of-a-file-that-somebody-gave-to-lecture-number-{number}-final-version.txt"
        (tmp_path / name).write_text(f"Lecture {number} is about bees.", "utf-8")
        files.append(tmp_path / name)
    page.set_input_files("#files", files)
    page.wait_for_selector("#uploads-title >> text=22 files done")
    page.wait_for_selector("#filter:visible")
    assert page.evaluate(FITS) == []
    page.fill("#filter", "number-21")
    assert page.locator(".file:visible").count() == 1
    assert page.inner_text("#told") == "1 file found"
    small = page.evaluate(
        "() => [...document.querySelectorAll('#main button, #main summary, .top a')]"
        ".filter(e => e.offsetParent && e.getBoundingClientRect().height < 32).map(e => e.textContent)"
    )
    assert small == []


def test_everything_works_by_keyboard(material: Callable[..., Any], tmp_path: Path) -> None:
    page = material()
    (tmp_path / "bees.txt").write_text(BEES, "utf-8")
    with page.expect_file_chooser() as chooser:  # Tab may go elsewhere while the page is still being laid out
        page.press("[data-do=files]", "Enter")
    chooser.value.set_files(tmp_path / "bees.txt")
    page.wait_for_selector(".collection >> text=1 document · 1 passage")
    page.press("[data-do=delete] >> nth=0", "Space")
    page.wait_for_selector(".undo-line")
    page.keyboard.press("Space")
    page.wait_for_selector("[data-do=delete]")
