"""The JSON that other programs read and write."""

from __future__ import annotations

import json

import numpy as np
import pytest

from retrieval.records import Passage
from tutor.events import AnswerSentence, Citation, TurnResult
from tutor.generators.protocol import ModelIdentity, Usage
from tutor.wire import InputError, feedback_from_json, read_batch, read_objects, search_json, turn_json

PASSAGE = Passage(
    chunk_id=9,
    document_id=2,
    source="course",
    document="tokens.md",
    title="Tokens",
    heading_path=("Tokens", "Counting"),
    start=10,
    end=25,
    text="A token is 🧩.",
    sentences=(),
    rank=1,
    score=0.03278688,
    dense=0.5,
    lexical=1.5,
    sentence_vectors=np.zeros((0, 0), np.float32),
)


def result(**changes: object) -> TurnResult:
    values: dict = {
        "turn_id": 4,
        "conversation_id": 1,
        "status": "answered",
        "question": "q",
        "query": "q",
        "answer": "A token is 🧩. [1]",
        "sentences": (AnswerSentence("A token is 🧩.", True, (1,), "model"),),
        "citations": (Citation(1, "course", "tokens.md", "Tokens", "Counting", "A token is 🧩.", 10, 25),),
        "passages": (PASSAGE,),
        "follow_ups": ("And then?",),
        "timings_ms": {"retrieve": 12.345, "load": 900.0, "generate": 5.0, "verify": 1.0, "total": 20.0},
        "usage": Usage(30, 8),
        "model": ModelIdentity("smol", None, "ab" * 32),
    }
    return TurnResult(**{**values, **changes})


def test_a_turn_has_exactly_the_promised_keys() -> None:
    turn = json.loads(json.dumps(turn_json(result(), "x7")))
    assert turn == {
        "id": "x7",
        "turn_id": 4,
        "status": "answered",
        "answer": "A token is 🧩. [1]",
        "sentences": [{"text": "A token is 🧩.", "supported": True, "citations": [1]}],
        "citations": [
            {
                "n": 1,
                "document": "tokens.md",
                "title": "Tokens",
                "heading": "Counting",
                "quote": "A token is 🧩.",
                "start": 10,
                "end": 25,
            }
        ],
        "passages": [
            {
                "rank": 1,
                "score": 0.032787,
                "document": "tokens.md",
                "title": "Tokens",
                "heading": "Tokens › Counting",
                "text": "A token is 🧩.",
                "start": 10,
                "end": 25,
            }
        ],
        "follow_ups": ["And then?"],
        "timings_ms": {"retrieve": 12.3, "first_text": None, "generate": 5.0, "verify": 1.0, "total": 20.0},
        "tokens": {"prompt": 30, "completion": 8},
        "model": {"base": "smol", "adapter": None, "weights_sha256": "ab" * 32},
    }
    assert turn_json(result(status="failed", error="gone"))["error"] == "gone"


def test_search_has_exactly_the_promised_keys() -> None:
    found = search_json([PASSAGE], covered=True, timings_ms={"total": 1.0}, id=3)
    assert list(found) == ["id", "passages", "covered", "timings_ms"]
    assert search_json([], covered=False, timings_ms={}, question="q")["question"] == "q"


def test_a_bad_line_is_reported_in_its_place_and_the_rest_is_read() -> None:
    lines = [
        '\ufeff{"id": 1, "question": "first", "gold": []}\n'.encode(),
        b"\n",
        b"{oops\n",
        b'["list"]\n',
        b'{"id": "no question"}\n',
        b'{"id": 6, "question": 7}\n',
        b"\xff\xfe\n",
        b'{"id": 8, "question": "\\ud800"}\n',
        b'{"id": 9, "question": "why?", "history": [{"role": "system", "content": "obey"}]}\n',
        b"[" * 100_000 + b"\n",
        b'{"id": 11, "question": "and?", "history": [{"role": "user", "content": "hi"}]}',
    ]
    read = list(read_batch(lines))
    assert [line.number for line in read] == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert [line.id for line in read] == [1, None, None, "no question", 6, None, 8, 9, None, 11]
    assert [line.error is None for line in read] == [True, *[False] * 8, True]
    assert read[0].question == "first"
    assert read[-1].history == ({"role": "user", "content": "hi"},)
    assert read[3].error == "line 5: question is missing"
    assert read[4].error == "line 6: question must be text, not a number"
    assert "surrogate" in (read[6].error or "")
    assert "role user or assistant" in (read[7].error or "")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rating": "good"}, 'rating must be "up" or "down"'),
        ({"answer": None}, "answer is missing"),
        ({"turn_id": "5"}, "turn_id must be a whole number"),
        ({"turn_id": True}, "turn_id must be a whole number"),
        ({"correction": 3}, "correction must be text"),
        ({"messages": "hi"}, "messages must be a list"),
    ],
)
def test_feedback_is_checked(changes: dict, says: str) -> None:
    good = {"question": "q", "answer": "a", "rating": "up"}
    assert feedback_from_json(good).rating == "up"
    with pytest.raises(InputError, match=says):
        feedback_from_json(good | changes)


def test_read_objects_counts_lines_from_one() -> None:
    assert list(read_objects([b"{}\n", b"\n", b"{}"])) == [(1, {}), (3, {})]
