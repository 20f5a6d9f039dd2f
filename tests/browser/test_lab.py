"""The Lab page in Chromium: four panes, an edited page, tokens, and a classifier from its reviews to its answers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

FITS = (
    "() => document.documentElement.scrollWidth > screen.width ? [...document.querySelectorAll('#main *, #top *')]"
    ".filter(e => e.getBoundingClientRect().right > screen.width + 1).map(e => e.tagName + '.' + e.className) : []"
)
IDLE = "() => !document.querySelector('[data-run=panes] [type=submit]').disabled"
STEPS = ("clean", "train", "evaluate", "deploy")


def _write(messages: Sequence[Any]) -> str:
    notes = re.findall(r"^- (.+)$", messages[-1]["content"], re.MULTILINE)
    return notes[0] if notes else "It is what I remember <img src=x onerror=alert(1)>."


@pytest.fixture(scope="module", autouse=True)
def generator_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model that the settings name: weights to fingerprint, and a tokenizer. What writes is the script."""
    import numpy as np
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    (folder / "config.json").write_text("{}")
    save_file({"w": np.arange(64, dtype=np.float32)}, folder / "model.safetensors")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<|im_end|>"])
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>").save_pretrained(folder)
    os.environ["STUDY_TUTOR_GENERATOR"] = str(folder)
    yield folder
    del os.environ["STUDY_TUTOR_GENERATOR"]


@pytest.fixture
def lab(open_page: Callable[..., Any], server: Any) -> Iterator[Callable[..., Any]]:
    """lab(**options) -> the page, which must not write an error to the console."""
    told: list[str] = []
    server.script.write = _write

    def opened(**options: Any) -> Any:
        page = open_page("/lab", **options)
        page.on("console", lambda m: m.type == "error" and told.append(m.text))
        return page

    yield opened
    server.script.delay = 0.0
    assert told == []


def _pane(page: Any, name: str) -> str:
    return str(page.inner_text(f"[data-place={name}]"))


def _run(page: Any, press: str) -> None:
    page.click(press)
    page.wait_for_function(IDLE)


def _bench(page: Any, step: str) -> None:
    button = page.locator(f"button[data-bench={step}]")
    button.evaluate("b => (b.dataset.old = '1')")
    button.click()
    page.wait_for_function(
        f"() => !document.querySelector('button[data-bench={step}]').dataset.old"
    )  # drawn anew


def test_four_panes_fill_with_real_runs_and_the_weights_stand_still(
    server: Any, lab: Callable[..., Any], ask: Callable[..., None], tmp_path: Path
) -> None:
    page = lab()
    assert page.title() == "Lab · Study Tutor"
    assert "Improve" in _pane(page, "adapter-open")  # nothing was trained yet
    page.fill("#lab-question", "What is a token?")
    _run(page, "text=Ask all four")
    assert "It is what I remember <img" in _pane(page, "base-closed")
    assert _pane(page, "base-closed").startswith("Not checked")
    assert "A vocabulary is the fixed list of all tokens" in _pane(page, "base-open")
    assert _pane(page, "base-open").startswith("Checked against the material")
    assert "abababab" in _pane(page, "base-open")
    assert page.get_attribute("[data-place=base-open] .sha", "title") == f"SHA-256 {'ab' * 32}"
    assert re.search(r"Tokens\s+\d+ in, \d+ out", _pane(page, "base-open"))
    assert "Identical: asking changed no weight." in _pane(page, "weights")
    with page.context.expect_page() as reader:
        page.click("[data-place=base-open] .cite")
    reader.value.wait_for_selector("#cite, mark")
    page.click("text=Read them now")
    page.wait_for_selector("[data-place=weights] >> text=Read just now.")

    page.goto(server.url + "/chat")
    page.wait_for_selector("body.is-ready")
    assert page.locator(".conversation").count() == 0

    path = tmp_path / "v1"
    path.mkdir()
    (path / "adapter_model.safetensors").write_bytes(b"weights of v1")
    (path / "adapter_config.json").write_text("{}")
    from db import registry

    with server.services.database.session() as session:
        registry.register_adapter(
            session,
            name="v1",
            path=str(path),
            base_model="base",
            sha256="",
            manifest={},
            report={"training": {"seconds": 0.02, "tokens": 50_000}},
        )
    page.goto(server.url + "/lab")
    page.wait_for_selector("body.is-ready")
    page.fill("#lab-question", "What is a token?")
    assert "registered, not served" in _pane(page, "adapter-open")
    _run(page, "text=Ask all four")
    assert _pane(page, "adapter-closed").startswith("Not checked")
    assert "Weights" in _pane(page, "adapter-open")
    assert "Base + v1" in _pane(page, "weights")

    page.locator("#cost").scroll_into_view_if_needed()
    page.wait_for_selector("#account >> text=Crossed with answer")
    assert "Not crossed" in page.inner_text("#account")
    assert "50,000" in page.inner_text("#account")
    assert "v1" in page.inner_text("#registry")


def test_a_run_can_be_stopped_and_the_next_one_runs(server: Any, lab: Callable[..., Any]) -> None:
    page = lab()
    server.script.delay = 0.4
    page.click("text=Ask all four")
    page.wait_for_selector("[data-place=base-closed] >> text=Writing")
    assert page.is_disabled("text=Save and ask")
    page.click("[data-do=stop]")
    page.wait_for_function(IDLE)
    assert "Stopped." in _pane(page, "base-closed")
    assert "Stopped." in _pane(page, "base-open")
    server.script.delay = 0.0
    page.fill("#lab-question", "What is a token?")
    _run(page, "text=Ask all four")
    assert _pane(page, "base-open").startswith("Checked against the material")


def test_an_edited_page_changes_the_answer_while_the_fingerprint_stands(
    server: Any, lab: Callable[..., Any]
) -> None:
    page = lab()
    assert "not in the index" in _pane(page, "note-status")
    _run(page, "text=Save and ask")
    assert "closes at five" in _pane(page, "note-now")
    assert "In the index: 1 passage" in _pane(page, "note-status")
    before = page.locator("[data-place=note-now] .sha").all_inner_texts()
    page.fill("#lab-note", page.input_value("#lab-note").replace("five", "eight <script>alert(1)</script>"))
    _run(page, "text=Save and ask")
    assert "closes at five" in _pane(page, "note-before")
    assert "closes at eight" in _pane(page, "note-now")
    assert page.locator("[data-place=note-now] .sha").all_inner_texts() == before
    assert _pane(page, "note-verdict").startswith("The answer changed with the page. The weights did not")

    page.reload()
    page.wait_for_selector("body.is-ready")
    assert "eight" in page.input_value("#lab-note")  # still there
    _run(page, "text=Put the first version back")
    assert "closes at five" in _pane(page, "note-now")
    page.click("text=Take the page away")
    page.wait_for_selector("[data-place=note-status] >> text=not in the index")
    from db.documents import list_documents

    assert [document.source for document in server.rows(list_documents)] == ["course", "course"]


def test_tokens_of_what_is_typed(lab: Callable[..., Any]) -> None:
    page = lab()
    page.locator("#tokens").scroll_into_view_if_needed()
    page.wait_for_selector(".tokens")
    page.fill("#tokens-text", "<b>é</b>")
    page.wait_for_selector("#pieces >> text=9 tokens")
    shown = page.locator(".tokens li").all()
    assert [piece.locator("span").first.inner_text() for piece in shown] == [*"<b>", "C3", "A9", *"</b>"]
    assert shown[3].get_attribute("title") == "bytes of é"
    page.fill("#tokens-text", "")
    page.wait_for_selector("#pieces >> text=Type something.")


def test_a_classifier_is_trained_step_by_step_and_then_only_read(
    server: Any, lab: Callable[..., Any]
) -> None:
    page = lab()
    assert page.is_disabled("button[data-bench=train]")
    page.fill("#bench-new", "Lovely <img src=x onerror=alert(2)> radio")
    page.select_option("[data-bench=add] select", "positive")
    page.click("[data-bench=add] button")
    page.wait_for_selector(".reviews li:first-child >> text=Lovely <img")
    assert page.input_value("#bench-new") == ""
    unlabelled = page.locator(".reviews li", has_text="Great headphones")
    unlabelled.locator("text=Positive").click()
    page.wait_for_selector(".bench-said >> text=16 reviews, 13 labelled")
    for step in STEPS:
        _bench(page, step)
    assert page.locator(".bench-step.is-done").count() == 5
    assert page.locator(".bench-step .chart polyline").count() == 1
    facts = page.inner_text(".bench-facts")
    assert re.search(r"Loss\s+1\.099 → 0\.\d+", facts)
    assert re.search(r"Moved\s+\d+\.\d+ from zeros", facts)
    first, trained = page.locator(".bench-facts .sha").all_inner_texts()
    assert first != trained
    assert "of 9 right on reviews it has never seen" in page.inner_text("#bench-body")

    page.fill("#bench-infer", "Broke after two days. A waste of money.")
    page.press("#bench-infer", "Enter")
    page.wait_for_selector(".chances .is-best >> text=Negative")
    assert page.locator("#inferred .sha").all_inner_texts() == [trained, trained]
    assert "the same" in page.inner_text("#inferred")

    page.reload()
    page.wait_for_selector("body.is-ready")
    assert "Version 1 is in use" in page.inner_text("#bench-body")
    page.click("[data-bench=reset]")
    page.click("text=Start over? Reviews and weights are lost")
    page.wait_for_selector(".bench-said >> text=15 reviews, 11 labelled")


def test_everything_works_from_the_keyboard(lab: Callable[..., Any]) -> None:
    page = lab()
    page.focus("#lab-question")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-place=base-open] .pane-facts")
    page.wait_for_function(IDLE)
    page.focus(".reviews input[value=neutral] >> nth=0")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "() => document.querySelector('.reviews input[value=negative]').checked "
        "&& document.activeElement.value === 'negative'"
    )
    for step in STEPS:
        page.wait_for_function(f"() => !document.querySelector('button[data-bench={step}]').disabled")
        page.focus(f"button[data-bench={step}]")
        page.keyboard.press("Enter")
    page.wait_for_selector(
        ".bench-said >> text=Version 1 is in use"
    )  # "Nothing is in use yet." is said before
    assert page.evaluate("() => document.activeElement.id") == "bench-infer"  # handed on by the last step
    page.click("[data-bench=reset]")
    page.click("[data-bench=reset]")
    page.wait_for_selector(".bench-said >> text=15 reviews, 11 labelled")


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_a_phone_and_panes_do_not_jump(lab: Callable[..., Any], dark: bool) -> None:
    page = lab(width=360, height=740, phone=True, dark=dark)
    assert page.evaluate(FITS) == []
    place = "() => document.querySelector('#still').getBoundingClientRect().top + scrollY"
    before = page.evaluate(place)
    _run(page, "text=Ask all four")
    assert page.evaluate(place) - before < 120  # panes have their room before they fill
    for step in STEPS:
        _bench(page, step)
    page.fill("#bench-infer", "x" * 120)
    page.click("[data-bench=infer] button")
    page.wait_for_selector(".chances")
    for section in ("job", "cost", "tokens"):
        page.locator(f"#{section}").scroll_into_view_if_needed()
    page.wait_for_selector("#account .account")
    page.wait_for_selector(".tokens")
    assert page.evaluate("() => document.documentElement.scrollWidth <= screen.width")
    page.click("[data-bench=reset]")
    page.click("[data-bench=reset]")
    page.wait_for_selector(".bench-said >> text=15 reviews, 11 labelled")
