"""Quiz, grade, due, export, import, forget, eval and check from the inside: a grader of words, a small course."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retrieval.words import content_stems
from tutor import cli
from tutor.quiz import Grade, Point

QUESTIONS = [
    ("What does a tokenizer do?", "It cuts text into pieces and numbers the pieces.",
     ["A tokenizer cuts text into pieces.", "The pieces get numbers."]),
    ("Why are rare words cut?", "A vocabulary is limited. Rare words are assembled from shorter pieces.",
     ["The vocabulary is limited.", "Shorter pieces spell rare words."]),
]  # fmt: skip
PAGE = f"""---
title: Tokens
order: 10
prerequisites: []
updated: 2026-11-22
tags: [language]
concepts: [token, vocabulary]
understand: Models read numbered pieces.
beginner: A token is a piece.
confusion: Tokens are not words.
mental_model: A text cutter.
think_first:
{
    "".join(
        f'''  - question: {q}
    reference: {r}
    key_points: {json.dumps(k)}
'''
        for q, r, k in QUESTIONS
    )
}next: [gardens]
---

A tokenizer cuts text into pieces. Each of the pieces gets a number.

## Takeaways

- A **token** is a piece of text.
- The fixed list of pieces is the **vocabulary** of a model.
- Words that are rare consist of several **short pieces** in a text.
"""
GARDENS = "# Gardens\n\n## Water\n\nRoses need water every week.\n"


class WordGrader:
    """Finds a key point in an answer that holds all its content words: what these tests need, and no more."""

    name = "words@1"

    def __init__(self, embedder: Any, judge: Any = None) -> None:
        self.embedder = embedder

    def grade(self, question: str, reference: str, key_points: Sequence[str], answer: str) -> Grade:
        said = set(content_stems(answer))
        points = tuple(
            Point(text, hit, False, answer if hit else None)
            for text in key_points
            for hit in [{*content_stems(text)} <= said | {*content_stems("tokenizer")}]
        )
        made = sum(point.hit for point in points)
        verdict = "correct" if made == len(points) else "partial" if made else "incorrect"
        return Grade(verdict, made / len(points), points, f"{made} made.", self.name)


class Shell:
    """Runs command lines in this process."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        got = cli.main([*arguments, "--home", str(self.home)])
        self.out, self.err = self._capsys.readouterr()
        assert got == code, self.err
        return self.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))

    def lines(self, *arguments: str, code: int = 0) -> list[Any]:
        return [json.loads(line) for line in self(*arguments, code=code).splitlines()]


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "course"
    folder.mkdir()
    (folder / "tokens.md").write_text(PAGE, "utf-8")
    (folder / "gardens.md").write_text(GARDENS, "utf-8")
    monkeypatch.setenv("STUDY_TUTOR_COURSE", str(folder))
    return folder


@pytest.fixture
def shell(
    tmp_path: Path,
    course: Path,
    make_embedder: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    one = make_embedder(dimension=512)
    monkeypatch.setattr("retrieval.embedder.load_embedder", lambda name, threads=None: one)
    monkeypatch.setattr("retrieval.reader.Reader", lambda threads=None: None)
    monkeypatch.setattr("tutor.quiz.Grader", WordGrader)

    def no_model(settings: Any, adapter: Any) -> None:
        raise AssertionError("no command here may load the writing model")

    monkeypatch.setattr("tutor.models.load_generator", no_model)
    return Shell(tmp_path / "home", capsys)


def jsonl(path: Path, *lines: Any) -> str:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(path)


def sit_at_a_terminal(monkeypatch: pytest.MonkeyPatch, *typed: str) -> None:
    """Somebody sits there, types these lines, and then ends the input."""
    lines = iter(typed)

    def read(prompt: str = "") -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("tutor.commands.quiz.at_a_terminal", lambda: True)


def test_quiz_prints_the_questions_and_no_answer_unless_asked(shell: Shell) -> None:
    for name in ("tokens", "tokens.md"):
        page = shell.json("quiz", name)
        assert (page["page"], page["title"]) == ("tokens.md", "Tokens")
        assert [item["question"] for item in page["questions"]] == [question for question, _, _ in QUESTIONS]
    assert list(page["questions"][0]) == [
        *("key", "page", "title", "number", "question", "hints", "hints_left", "request_id"),
    ]
    text = shell("quiz", "tokens")
    for printed in (json.dumps(page), text):
        for _, reference, points in QUESTIONS:
            assert not any(secret in printed for secret in (reference, *points))
    told = shell.json("quiz", "tokens", "--answers")["questions"]
    assert [(item["reference"], item["key_points"]) for item in told] == [(r, k) for _, r, k in QUESTIONS]
    assert QUESTIONS[0][1] in shell("quiz", "tokens", "--answers")
    assert shell.json("quiz", "gardens")["questions"] == []
    shell("quiz", "tokns", code=2)
    assert shell.err == "study-tutor: there is no course page 'tokns'; did you mean tokens?\n"


def test_quiz_at_a_terminal_grades_what_is_typed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    sit_at_a_terminal(
        monkeypatch, "A tokenizer cuts text into pieces. The pieces get numbers.", "?", "x" * 5000, ""
    )
    text = shell("quiz", "tokens")
    assert "Correct." in text
    assert "✓ A tokenizer cuts text into pieces." in text
    assert "Hint 1: " in text
    assert "4,000 characters" in shell.err
    assert "✗ The vocabulary is limited." in text
    later, first = shell.json("history")["attempts"]
    assert list(first) == [
        *("at", "attempt_id", "quiz_id", "page", "key", "question", "answer", "verdict", "counted", "score"),
        *("hints", "override_reason"),
    ]
    assert (first["page"], first["verdict"], first["hints"]) == ("tokens.md", "correct", 0)
    assert (later["answer"], later["verdict"], later["hints"]) == (None, "incorrect", 1)
    [day] = shell.json("history")["days"]
    assert (day["answers"], day["reviews"]) == (2, 0)  # the answers' own schedules are no reviews
    assert "[incorrect] tokens.md: Why are rare words cut?" in shell("history")


def test_due_keeps_the_back_until_it_is_asked_for(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell.json("due") | {"now": ""} == {"now": "", "total": 0, "next_due": None, "cards": []}
    sit_at_a_terminal(monkeypatch, "", "")
    shell("quiz", "tokens")
    waiting = shell.json("due")
    assert (waiting["total"], waiting["cards"]) == (0, [])
    assert datetime.fromisoformat(waiting["next_due"]) > datetime.now(UTC)
    shell("due")
    assert shell.err.startswith("Nothing is due. The next card is due at ")

    later = datetime(2040, 1, 1, tzinfo=UTC)
    from tutor.cards import Cards

    made = Cards.__init__
    monkeypatch.setattr(Cards, "__init__", lambda self, *a, **k: made(self, *a, clock=lambda: later, **k))
    found = shell.json("due", "--limit", "1")
    assert (found["total"], len(found["cards"]), found["now"]) == (2, 1, "2040-01-01T00:00:00+00:00")
    [card] = found["cards"]
    assert list(card) == [
        *(
            "id",
            "key",
            "origin",
            "page",
            "concepts",
            "front",
            "due",
            "last_review",
            "stability",
            "difficulty",
        ),
        *("lapses", "suspended"),
    ]
    assert datetime.fromisoformat(card["due"]).utcoffset() is not None
    assert card["front"] == QUESTIONS[0][0]
    assert QUESTIONS[0][1] not in shell("due")
    assert shell.json("due", "--answers")["cards"][0]["back"] == QUESTIONS[0][1]


def test_grade_answers_line_by_line_as_promised(shell: Shell, tmp_path: Path) -> None:
    question, reference, points = QUESTIONS[0]
    asked = {"question": question, "reference": reference, "key_points": points}
    path = jsonl(
        tmp_path / "answers.jsonl",
        {
            "id": "a",
            **asked,
            "answer": "A tokenizer cuts text into pieces. The pieces get numbers.",
            "label": "x",
        },
        "{oops",
        {"id": "b", **asked},
        {"id": "c", **asked, "answer": "Gardens need water."},
        {"id": "d", **asked, "answer": None},
        {"id": "e", **(asked | {"key_points": []}), "answer": "x"},
        {"id": "f", **(asked | {"key_points": ["ok", 3]}), "answer": "x"},
        {"id": "g", **asked, "answer": "x" * 4001},
        {"id": 8, **asked, "answer": "It cuts text into pieces."},
    )
    lines = shell.lines("grade", "--batch", path, code=2)
    assert [line["id"] for line in lines] == ["a", None, "b", "c", "d", "e", "f", "g", 8]
    good = [line for line in lines if "error" not in line]
    assert [list(line) for line in good] == [["id", "verdict", "score", "key_points", "feedback"]] * 4
    assert [(line["id"], line["verdict"]) for line in good] == [
        ("a", "correct"), ("c", "incorrect"), ("d", "incorrect"), (8, "partial"),
    ]  # fmt: skip
    assert [list(point) for point in good[0]["key_points"]] == [["text", "hit", "evidence"]] * 2
    assert [point["text"] for point in good[0]["key_points"]] == points
    assert good[0]["score"] == 1
    assert good[-1]["key_points"][0]["evidence"] == "It cuts text into pieces."
    errors = [line["error"] for line in lines if "error" in line]
    assert [error.split(": ")[1] for error in errors] == [
        "not valid JSON (Expecting property name enclosed in double quotes, column 2)",
        "answer is missing",
        "key_points must be a list of at least one text",
        "key_points must be text, not a number",
        "answer has 4,001 characters, and the limit is 4,000",
    ]
    assert not (shell.home / "study-tutor.sqlite3").exists()  # grading needs no data, and keeps none
    shell("grade", "--batch", str(tmp_path / "nowhere"), code=2)


def test_export_import_and_forget(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sit_at_a_terminal(monkeypatch, "A tokenizer cuts text into pieces.", "")
    shell("quiz", "tokens")
    file = tmp_path / "mine.json"
    report = shell.json("export", str(file), "--format", "json")
    assert (report["path"], report["format"], report["bytes"]) == (str(file), "json", file.stat().st_size)
    assert (report["rows"]["attempts"], report["rows"]["cards"]) == (2, 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = file.read_bytes()
    shell("export", str(file), code=2)
    assert "exists already" in shell.err
    assert file.read_bytes() == kept
    shell("export", str(file), "--force")
    shell("export", str(tmp_path / "no" / "folder.json"), code=2)
    assert json.loads(shell("export", "-"))["attempts"] == json.loads(kept)["attempts"]
    shell("export", str(tmp_path / "cards.apkg"))
    assert zipfile.is_zipfile(tmp_path / "cards.apkg")
    shell("export", str(tmp_path), "--format", "csv")
    with zipfile.ZipFile(tmp_path / "study-tutor-csv.zip") as archive:
        assert "attempts.csv" in archive.namelist()
    assert not list(tmp_path.glob(".*"))  # no half file stays
    shell("export", str(tmp_path / "x.pdf"), "--format", "pdf", code=2)

    assert set(shell.json("import", str(file))["added"].values()) == {0}
    before = shell.json("history")
    shell("forget", code=2)
    assert "--yes" in shell.err
    assert shell.json("history") == before
    assert shell.json("forget", "--yes")["deleted"]["attempts"] == 2
    assert shell.json("history")["attempts"] == []
    assert shell.json("due")["next_due"] is None

    added = shell.json("import", str(file))["added"]
    assert added == report["rows"]
    assert [item | {"attempt_id": 0} for item in shell.json("history")["attempts"]] == [
        item | {"attempt_id": 0} for item in before["attempts"]
    ]
    shell("export", str(file), "--force")
    assert json.loads(file.read_bytes()) == json.loads(kept)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"{oops", "not valid JSON (line 1"),
        (b"[" * 100_000, "no export holds"),
        (b'{"format": "study-tutor", "version": NaN}', "no export holds"),
        (b"[]", ""),
        (b'{"format": "other"}', "format"),
    ],
)
def test_what_is_no_export_is_refused_in_one_line(
    shell: Shell, tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "import.json"
    path.write_bytes(content)
    assert shell("import", str(path), code=2) == ""
    assert says in shell.err
    assert len(shell.err.splitlines()) == 1


def test_eval_grading_reports_each_split_beside_the_baselines(shell: Shell, tmp_path: Path) -> None:
    lines = []
    for number, (question, reference, points) in enumerate(QUESTIONS):
        asked = {"question_id": number, "question": question, "reference": reference, "key_points": points}
        for split in ("dev", "test"):
            lines += [
                {**asked, "split": split, "answer": " ".join(points), "labels": {"a": "correct", "b": "correct"}},
                {**asked, "split": split, "answer": points[0], "labels": {"a": "partial", "b": "correct"}},
                {**asked, "split": split, "answer": "Roses smell.", "labels": {"a": "incorrect", "b": "incorrect"}},
            ]  # fmt: skip
    path = jsonl(tmp_path / "labelled.jsonl", *lines)
    report = shell.json("eval", "grading", path)
    assert (report["n"], list(report["splits"]), report["thresholds_fitted_on"]) == (
        12,
        ["dev", "test"],
        "dev",
    )
    test = report["splits"]["test"]
    assert (test["n"], test["questions"]) == (6, 2)
    assert list(test["methods"]) == ["grader", "keywords", "cosine"]
    assert test["methods"]["grader"] == {
        "n": 6, "kappa": 1.0, "interval": [1.0, 1.0], "weighted_kappa": 1.0, "accuracy": 1.0,
        "confusion": {
            "incorrect": {"incorrect": 2, "partial": 0, "correct": 0},
            "partial": {"incorrect": 0, "partial": 2, "correct": 0},
            "correct": {"incorrect": 0, "partial": 0, "correct": 2},
        },
    }  # fmt: skip
    assert test["methods"]["keywords"]["kappa"] == 1.0
    # b says correct where a says partial: p_o = 4/6, p_e = (2*2 + 2*0 + 2*4) / 36 = 1/3.
    assert (test["labellers"]["names"], test["labellers"]["kappa"]) == (["a", "b"], 0.5)
    assert test["labellers"]["grader_kappa"] == {"a": 1.0, "b": 0.5}
    assert 0 <= report["timings_ms"]["median"] <= report["timings_ms"]["p95"]
    text = shell("eval", "grading", path)
    assert "test: 6 answers to 2 questions" in text
    assert "1.00 to 1.00" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["everything", "x"], "there is no `eval everything`; there is: eval retrieval, answers, grading"),
        (["grading"], "give the labelled file"),
        (["grading", "x", "--material", "."], "needs no --material"),
        (["retrieval", "x"], "can't read x"),
    ],
)
def test_what_eval_can_not_do_is_said(shell: Shell, arguments: list[str], says: str) -> None:
    assert shell("eval", *arguments, code=2) == ""
    assert says in shell.err


def test_a_bad_label_ends_an_evaluation(shell: Shell, tmp_path: Path) -> None:
    question, reference, points = QUESTIONS[0]
    line = {"question": question, "reference": reference, "key_points": points, "answer": "x"}
    for wrong, says in (
        (line, "line 2: label is missing"),
        (line | {"label": "good"}, "line 2: label must be partial"),
        (line | {"labels": {"a": None}}, "line 2: labels.a must be"),
    ):
        path = jsonl(tmp_path / "labelled.jsonl", line | {"label": "partial"}, wrong)
        shell("eval", "grading", path, code=2)
        assert says in shell.err or says.replace("partial", "correct") in shell.err


def test_check_names_file_and_line_of_a_broken_page(shell: Shell, course: Path) -> None:
    assert shell("check", str(course / "tokens.md")) == "sound\n"
    tokens = course / "tokens.md"
    tokens.write_text(
        PAGE.replace("updated: 2026-11-22", "updated: soon").replace("[gardens]", "[nowhere]"), "utf-8"
    )
    printed = shell("check", str(tokens), code=2).splitlines()
    assert printed[0] == f"{tokens}:5: updated must be a date such as 2026-11-22"
    assert any("nowhere" in line for line in printed)
    assert all(line.startswith(f"{tokens}:") for line in printed)
    folder = shell.json("check", str(course), code=2)
    assert folder["ok"] is False
    assert {Path(item["file"]).name for item in folder["problems"]} == {"tokens.md", "gardens.md"}
    alone = course.parent / "draft"
    alone.mkdir()
    (alone / "tokens.md").write_text(PAGE, "utf-8")
    assert shell("check", str(alone / "tokens.md")) == "sound\n"  # a draft without its course
    shell("check", str(course / "gone.md"), code=2)
    assert "no such file" in shell.err
    assert shell.json("check")["ok"] is True


def test_a_broken_course_page_keeps_its_last_good_version(
    shell: Shell, course: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell("search", "tokens")
    (course / "tokens.md").write_text(PAGE.replace("order: 10", "order: ten"), "utf-8")
    (course / "gardens.md").write_text(GARDENS.replace("Roses", "Tulips"), "utf-8")
    found = shell.json("search", "What needs water every week?", "-k", "1")["passages"][0]
    assert "Tulips need water" in found["text"]
    assert "tokens.md:3: order must be a number" in caplog.text + shell.err
    assert shell.json("quiz", "tokens")["questions"][0]["question"] == QUESTIONS[0][0]
    assert [row["document"] for row in shell.json("documents")] == ["gardens.md", "tokens.md"]


def test_a_backup_comes_back_and_what_was_there_before_is_kept(shell: Shell, tmp_path: Path) -> None:
    shell("search", "tokens")
    made = shell.json("backup")
    assert Path(made["path"]).parent == tmp_path / "home" / "backups"
    garden = tmp_path / "garden"
    garden.mkdir()
    (garden / "moss.md").write_text("# Moss\n\nMoss grows in the shade.\n", "utf-8")
    shell("ingest", str(garden))
    assert "moss.md" in shell("documents")
    restored = shell.json("restore", made["path"])
    assert "moss.md" not in shell("documents")
    shell("restore", restored["before"])
    assert "moss.md" in shell("documents")
    assert shell.json("check")["ok"] is True
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(Path(made["path"]).read_bytes()[:9000])
    shell("restore", str(broken), code=3)
    assert len(shell.err.splitlines()) == 1
    shell("restore", str(tmp_path / "gone"), code=1)
    assert "there is no such file" in shell.err
