"""A candidate against what is served and against quotes: on a few pages where every number can be counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from db.conversations import recent_turns
from db.registry import ServedAdapter
from finetune.evaluate import Cases, compare
from finetune.gate import judge
from finetune.measures import Case, abstains, difference, spread, unsupported_shown
from finetune.report import Origin, build_report, card, page, sparkline
from finetune.retention import general_texts
from retrieval.evaluate import Gold
from tutor.evaluation.answers import token_f1
from tutor.evaluation.questions import Question
from tutor.generators.protocol import Message, ModelIdentity
from tutor.generators.scripted import ScriptedGenerator
from tutor.prompt import ABSTAIN
from tutor.services import Services, build_services
from tutor.settings import Settings

PAGES = {
    "tokens.md": "# Tokens\n\nA token is a piece of text that a model reads as one unit. Prices count tokens.\n",
    "gardens.md": "# Gardens\n\nRoses need water every week. Moss grows in the shade.\n",
    "worms.md": "# Worms\n\nWorms dig long tunnels in the soil. Birds eat them in the morning.\n",
}
TOKEN = "A token is a piece of text that a model reads as one unit."
ROSES = "Roses need water every week."


def case(
    id: str, question: str, document: str = "", quote: str = "", must_say: str = "", reference: str = ""
) -> Case:
    gold = (Gold(document, quote),) if quote else ()
    wanted = (must_say,) if must_say else ()
    return Case(Question(id, question, bool(quote), gold, wanted, (), "", "held_out"), reference)


ASKED = (
    case("t", "What is a token?", "tokens.md", TOKEN, "piece of text", "A token is a piece of text."),
    case("r", "How often do roses need water?", "gardens.md", ROSES, "every week", "Every week."),
    case("x", "Who painted the ceiling in Rome?"),
)
TRAINED = (
    case("w", "What do worms dig?", "worms.md", "Worms dig long tunnels in the soil.", "long tunnels"),
)


@pytest.fixture
def services(tmp_path: Path, make_embedder: Callable[..., Any]) -> Iterator[Services]:
    course = tmp_path / "pages"
    course.mkdir()
    for name, text in PAGES.items():
        (course / name).write_text(text, "utf-8")
    settings = Settings(home=tmp_path / "home", course=course)
    with closing(
        build_services(settings, with_generator=False, embedder=make_embedder(dimension=512))
    ) as built:
        yield built


@pytest.fixture(scope="module")
def tiny_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter of the tiny model, not yet registered."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_base)
    model = get_peft_model(
        model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    )
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def writer(name: str | None, answers: dict[str, str], otherwise: str) -> ScriptedGenerator:
    def answer(messages: Sequence[Message]) -> str:
        question = messages[-1]["content"].rpartition("Question:")[2]
        return next((text for key, text in answers.items() if key in question), otherwise)

    return ScriptedGenerator(answer, identity=ModelIdentity("tiny", name, f"sha of {name}"))


def test_everything_is_measured_through_the_turn_on_the_same_questions(
    services: Services, tiny_base: Path, tiny_adapter: Path
) -> None:
    loaded: list[str | None] = []
    steps: list[tuple[int, int]] = []

    def load(adapter: ServedAdapter | None) -> ScriptedGenerator:
        loaded.append(adapter.name if adapter else None)
        if adapter is None:
            return writer(None, {}, "I can talk about bananas at any length. And about boats.")
        if adapter.name == "v1":
            return writer("v1", {"token": TOKEN}, "Purple elephants dance on Mondays.")
        known = {"token": TOKEN, "roses": ROSES, "worms": "Worms dig long tunnels in the soil."}
        return writer("v2", known, ABSTAIN)

    found = compare(
        services,
        Cases(ASKED, TRAINED, ASKED[:2]),
        candidate=ServedAdapter("v2", str(tiny_adapter), "tiny", ""),
        served=ServedAdapter("v1", str(tiny_adapter), "tiny", ""),
        base=tiny_base,
        load=load,  # type: ignore[arg-type]
        tick=lambda done, of: steps.append((done, of)),
    )
    assert loaded == ["v2", "v1", None]
    assert found["fingerprints"] == {"candidate": "sha of v2", "served": "sha of v1", "base": "sha of None"}
    candidate, served, quotes = (found["systems"][name] for name in ("candidate", "served", "quotes"))
    assert candidate["own_right"]["value"] == 1.0
    assert served["own_right"]["value"] == 0.5
    assert quotes["own_right"]["value"] == 0.0
    assert [s["right"]["value"] for s in (candidate, served, quotes)] == [1.0, 1.0, 1.0]  # quotes stand in
    assert [s["cites_gold"]["value"] for s in (candidate, served, quotes)] == [1.0, 1.0, 1.0]
    assert (candidate["supported"]["value"], served["supported"]["value"]) == (1.0, 0.5)
    assert quotes["supported"] is None
    assert candidate["declined_unanswerable"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 1}
    assert candidate["declined_answerable"]["value"] == 0.0
    target = next(p for p in found["paired"] if (p["measure"], p["against"]) == ("own_right", "served"))
    assert (target["difference"], target["n"]) == (0.5, 2)
    drafts = found["drafts"]
    assert drafts["candidate"]["abstained_unanswerable"]["value"] == 1.0  # asked although the turn declined
    assert drafts["served"]["abstained_unanswerable"]["value"] == 0.0
    assert drafts["candidate"]["token_f1"]["value"] > drafts["served"]["token_f1"]["value"]
    assert found["closed_book"]["candidate"] == 1.0
    assert found["closed_book"]["gain"]["value"] == 1.0
    assert found["closed_book"]["gain_held_out"]["value"] == 1.0
    assert found["unsupported_shown"] == 0
    assert found["retention"]["interval"]["n"] == len(general_texts()) >= 40
    assert found["retention"]["candidate_nll"] != found["retention"]["base_nll"]
    assert {a["question"] for a in found["answers"]} == {c.question.question for c in ASKED}
    assert found["answers"][0]["base"]["status"] == "quoted"
    assert (
        steps[-1][0] == steps[-1][1] == 3 + 2 * 3 + 3 - 3
    )  # 3 asked, 3 closed book, 3 of the base for the page
    assert all(done <= of for done, of in steps)
    with services.database.session() as session:
        assert (
            recent_turns(session, services.learner_id, 10) == []
        )  # nothing of it is in the learner's history

    verdict = judge(found)
    assert {"enough", "target", "closed_book"} <= {r.name for r in verdict.broken}
    report = build_report(origin(), "v1", found, verdict.as_json(), 12.3)
    assert json.loads(json.dumps(report)) == report
    text = page(report)
    assert all(f"`{rule.name}`" in text for rule in verdict.rules)
    assert "**Refused**" in text
    assert ABSTAIN not in text.split("## Answers")[0]
    assert card(report).startswith("---\nbase_model: tiny\nlibrary_name: peft\n")


def origin() -> Origin:
    return Origin(
        adapter="v2",
        base="tiny",
        dataset={"sha256": "d" * 64, "train": 20, "held_out": 3, "from_feedback": 1},
        training={"seconds": 3.0, "steps": 4, "examples": 20, "tokens": 400, "examples_per_s": 6.7,
                  "precision": "float32", "losses": [[1, 3.0], [2, 2.0], [3, 1.5], [4, 1.0]]},
        config={"seed": 0},
        versions={"torch": "2"},
        command="python -m finetune run --seed 0",
    )  # fmt: skip


def test_a_base_that_is_served_is_not_asked_twice(
    services: Services, tiny_base: Path, tiny_adapter: Path
) -> None:
    loaded: list[str | None] = []

    def load(adapter: ServedAdapter | None) -> ScriptedGenerator:
        loaded.append(adapter.name if adapter else None)
        return writer(None, {}, TOKEN)

    candidate = ServedAdapter("v1", str(tiny_adapter), "tiny", "")
    found = compare(
        services, Cases(ASKED, TRAINED), candidate=candidate, served=None, base=tiny_base, load=load
    )  # type: ignore[arg-type]
    assert loaded == ["v1", None]
    assert {p["difference"] for p in found["paired"] if p["against"] == "served"} >= {0.0}
    assert next(r for r in judge(found).rules if r.name == "target").passed is False
    assert [a["base"]["text"] for a in found["answers"]] == [a["served"]["text"] for a in found["answers"]]


def test_who_watches_can_stop_it(services: Services, tiny_base: Path, tiny_adapter: Path) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def tick(done: int, of: int) -> None:
        if done == 2:
            raise Stop

    candidate = ServedAdapter("v1", str(tiny_adapter), "tiny", "")
    with pytest.raises(Stop):
        compare(
            services, Cases(ASKED), candidate=candidate, served=None, base=tiny_base,
            load=lambda adapter: writer(None, {}, TOKEN), tick=tick,  # type: ignore[arg-type,return-value]
        )  # fmt: skip


def test_measures_by_hand() -> None:
    assert token_f1("A token is text.", "a TOKEN is a text") == pytest.approx(8 / 9)
    assert token_f1("", "text") == 0.0
    assert abstains(f" {ABSTAIN.lower()} And more.")
    assert not abstains("The notes answer this.")
    assert difference([1.0, None, 0.0], [0.0, 1.0, 0.0]) == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 2}
    assert difference([None], [1.0]) is None
    assert unsupported_shown([]) == 0
    assert spread("abcdefg", 3) == ("a", "c", "e")
    assert spread("ab", 3) == ("a", "b")
    assert sparkline([4.0, 2.0, 1.0, 1.0]) == "█▃▁▁"
    assert len(sparkline(list(range(500)))) == 40
    assert sparkline([1.0, 1.0]) == "▁▁"


def test_words_of_models_are_no_markup_on_the_page() -> None:
    from finetune.report import _inline

    assert _inline("![x](http://a/b) <b>|\n# no") == "\\!\\[x\\](http://a/b) \\<b\\>\\| \\# no"
