"""The Lab's experiments with a real database, real search and real files; the classifier against mathematics."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from db import conversations, documents, registry, study, usage
from db.jobs import Job
from db.registry import Adapter
from db.usage import TurnUsage
from tutor import review_classifier as classifier
from tutor.events import TurnLogged
from tutor.generators.protocol import Message, ModelIdentity
from tutor.generators.scripted import ScriptedGenerator
from tutor.lab import NOTE, NOTE_QUESTION, SOURCE, Lab
from tutor.lab_account import make_account, thinned
from tutor.lab_bench import ReviewBench
from tutor.lab_tokens import MAX_CHARS, Tokens, pieces
from tutor.models import weights_sha256
from tutor.services import Services, build_services
from tutor.settings import Settings
from tutor.turn import QuestionError
from tutor.ui.calls import UNREADABLE
from tutor.ui.lab import LabPage
from tutor.ui.lab_runs import LabRuns
from tutor.ui.library import Library
from tutor.ui.live import LiveTurns
from tutor.ui.metrics import Metrics
from tutor.wire import InputError

COURSE = "# Training\n\nTraining is the process that changes the weights of a model. Inference reads every weight.\n"
QUESTION = "What is training?"
REMEMBERED = "It is what I remember."
AT = datetime(2026, 3, 1, tzinfo=UTC)


def write(messages: Sequence[Message]) -> str:
    """The first note that was given, else what the weights hold."""
    notes = [line[2:] for line in messages[-1]["content"].splitlines() if line.startswith("- ")]
    return notes[0] if notes else REMEMBERED


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, as the shipped model's: the 256 bytes, "th", a space before a letter, and two control tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)} | {"th": 256, "Ġa": 257}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h"), ("Ġ", "a")]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<|im_end|>", "<|im_start|>"])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with weights to read; nothing here runs them."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": np.arange(64, dtype=np.float32)}, folder / "model.safetensors")
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def services(tmp_path: Path, model: Path, make_embedder: Callable[..., Any]) -> Iterator[Services]:
    folder = tmp_path / "course"
    folder.mkdir()
    (folder / "training.md").write_text(COURSE, "utf-8")
    settings = Settings(home=tmp_path / "home", course=folder, generator=str(model))

    def generator_for(name: str | None) -> ScriptedGenerator:
        adapter = None if name in (None, "base") else name
        return ScriptedGenerator(write, identity=ModelIdentity("base", adapter, f"weights of {name}"))

    built = build_services(settings, embedder=make_embedder(dimension=512), generator_for=generator_for)
    yield built
    built.close()


def add_adapter(services: Services, folder: Path, name: str, **more: Any) -> Path:
    path = folder / name
    path.mkdir()
    save_file({"a": np.full(8, len(name), np.float32)}, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text("{}")
    with services.database.session() as session:
        registry.register_adapter(
            session, name=name, path=str(path), base_model="base", sha256="", manifest={}, report={}, **more
        )
    return path


def runs(services: Services) -> Callable[..., dict[str, str]]:
    """run(**sent) -> the parts that stood at the end, with the error and the id."""
    page = LabRuns(Lab(services), services.database, Library(), LiveTurns(Metrics()))

    def run(**sent: Any) -> dict[str, Any]:
        import lxml.html

        *_, last = page.run(json.dumps({"id": "r1", **sent}), SimpleNamespace(session_hash="s"))  # type: ignore[arg-type]
        root = lxml.html.fromstring(last)
        parts = {part.get("data-place"): part for part in root.xpath("//*[@data-place]")}
        found = {name: " ".join(" ".join(part.itertext()).split()) for name, part in parts.items()}
        turns = {name: part.xpath(".//@data-turn") for name, part in parts.items()}
        assert root.get("data-done") is not None
        return found | {"error": root.get("data-error"), "turns": turns}

    return run


# ---- one question, four ways ----


def test_four_ways_are_real_turns_that_hear_nothing_of_each_other(services: Services, tmp_path: Path) -> None:
    add_adapter(services, tmp_path, "v1")
    found = runs(services)(run="panes", question=QUESTION)
    assert found["error"] == ""
    assert found["base-closed"].startswith(f"Not checked: it read no material {REMEMBERED}")
    assert found["adapter-closed"].startswith("Not checked")
    for pane in ("base-open", "adapter-open"):
        assert "Training is the process that changes the weights of a model." in found[pane]
        assert found[pane].startswith("Checked against the material")
    assert "Weights weights of" in found["adapter-open"]
    assert "Identical: asking changed no weight." in found["weights"]
    assert "Base + v1" in found["weights"]
    with services.database.session(readonly=True) as session:
        costs = usage.turn_usage(session)
        asked = [conversations.get_turn(session, number) for number in range(1, 5)]
    assert len(costs) == 4
    assert [turn.model["adapter"] for turn in asked if turn] == [None, None, "v1", "v1"]
    assert {turn.query for turn in asked if turn} == {QUESTION}
    assert [bool(turn.passages) for turn in asked if turn] == [False, True, False, True]


def test_an_experiment_stands_in_no_list_and_counts_as_one_question(
    services: Services, tmp_path: Path
) -> None:
    add_adapter(services, tmp_path, "v1")
    runs(services)(run="panes", question=QUESTION)
    with services.database.session(readonly=True) as session:
        learner = services.learner_id
        assert conversations.list_conversations(session, learner, include_empty=True) == []
        assert conversations.recent_turns(session, learner, 10) == []
        (day,) = study.daily_totals(session, learner, tz=UTC)
    assert day.questions == 1


def test_without_an_adapter_two_panes_run(services: Services) -> None:
    found = runs(services)(run="panes", question=QUESTION)
    assert "base-open" in found
    assert "adapter-open" not in found
    assert "Base +" not in found["weights"]


def test_a_question_that_cannot_be_asked_leaves_nothing_behind(services: Services) -> None:
    found = runs(services)(run="panes", question="   ")
    assert found["error"] == "The question is empty. Type what you want to know about the material."
    with pytest.raises(QuestionError), Lab(services).experiment("x" * 5000):
        pass
    with services.database.session(readonly=True) as session:
        listed = conversations.list_conversations(session, services.learner_id, include_empty=True)
    assert listed == []
    assert runs(services)(run="nothing")["error"].startswith("This could not be read")


def test_what_a_killed_run_left_is_put_away_and_what_runs_is_not(services: Services) -> None:
    with services.database.session() as session:
        conversations.create_conversation(session, services.learner_id, title="Lab: x", page=SOURCE)
        kept = conversations.create_conversation(
            session, services.learner_id, title="mine", page="training.md"
        )
    lab = Lab(services)

    def listed() -> set[int]:
        with services.database.session(readonly=True) as session:
            rows = conversations.list_conversations(session, services.learner_id, include_empty=True)
        return {row.id for row in rows}

    with lab.experiment(QUESTION) as running:
        lab.tidy()
        assert listed() == {kept.id, running}
    assert listed() == {kept.id}


def test_the_adapter_is_the_served_one_else_the_newest_registered_else_a_refused_one(
    services: Services, tmp_path: Path
) -> None:
    lab = Lab(services)
    assert lab.chosen() is None
    add_adapter(services, tmp_path, "bad", state="refused")
    assert (lab.chosen().name, lab.chosen().standing) == ("bad", "refused")  # type: ignore[union-attr]
    add_adapter(services, tmp_path, "v1")
    add_adapter(services, tmp_path, "v2")
    assert (lab.chosen().name, lab.chosen().standing) == ("v2", "registered")  # type: ignore[union-attr]
    with services.database.session() as session:
        registry.promote(session, "v1", "better")
    assert (lab.chosen().name, lab.chosen().standing) == ("v1", "served")  # type: ignore[union-attr]


# ---- weights ----


def test_weights_are_read_and_not_remembered(services: Services, model: Path, tmp_path: Path) -> None:
    lab, models_dir = Lab(services), services.settings.models_dir
    add_adapter(services, tmp_path, "v1")
    remembered = weights_sha256(model, models_dir)
    base, both = lab.read_weights("v1")
    assert both is not None
    assert base.sha256 == remembered != both.sha256
    assert base.bytes == (model / "model.safetensors").stat().st_size
    assert base.seconds > 0

    file = model / "model.safetensors"
    at = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # one bit
    file.write_bytes(data)
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert weights_sha256(model, models_dir) == remembered  # size and time are as they were
    assert lab.read_weights()[0].sha256 != remembered


def test_a_damaged_adapter_is_told_and_the_base_still_answers(services: Services, tmp_path: Path) -> None:
    path = add_adapter(services, tmp_path, "v1")
    (path / "adapter_model.safetensors").unlink()
    found = runs(services)(run="panes", question=QUESTION)
    assert "can't be read" in found["weights"]
    assert found["base-open"].startswith("Checked against the material")


def test_where_a_server_answers_the_page_says_what_cannot_be_seen(services: Services) -> None:
    settings = Settings(home=services.settings.home, server_url="http://127.0.0.1:1/v1", server_model="big")
    served = replace(services, settings=settings)
    page = LabPage(served, Library(), LiveTurns(Metrics()))
    assert "big" in page.open()
    assert "can’t be read here" in page.read_weights({})["error"]
    assert "No job has made an adapter yet." in page.registry({})["html"]
    assert "server" in page.pieces({"text": "a"})["error"]
    assert page.pieces({}) == page.bench_step({"step": "x"}) == {"error": UNREADABLE}
    assert "No training job has run yet" in page.account({})["html"]
    found = runs(served)(run="panes", question=QUESTION)
    assert "can’t be read here" in found["weights"]
    assert found["base-open"].startswith("Checked against the material")


# ---- the note ----


def test_the_note_is_found_while_it_exists_and_the_course_is_never_touched(services: Services) -> None:
    lab, run = Lab(services), runs(services)

    def course() -> list[tuple[str, str]]:
        with services.database.session(readonly=True) as session:
            listed = documents.list_documents(session, "course", with_text=True)
        return [(document.content_hash, document.text) for document in listed]

    before = course()
    first = run(run="note", note=NOTE, question=NOTE_QUESTION)
    assert "closes at five in the afternoon" in first["note-now"]
    assert first["note-verdict"].startswith("Now change a word")
    turn = int(first["turns"]["note-now"][0])
    second = run(run="note", note=NOTE.replace("five", "eight"), question=NOTE_QUESTION, before=turn)
    assert "closes at eight" in second["note-now"]
    assert "five" not in second["note-now"]
    assert (
        second["note-verdict"]
        == "The answer changed with the page. The weights did not: the same fingerprint."
    )
    assert lab.note().text == NOTE.replace("five", "eight")  # type: ignore[union-attr]

    assert lab.remove_note()
    assert not lab.remove_note()
    assert lab.note() is None
    with lab.experiment(NOTE_QUESTION) as conversation:
        *_, last = lab.ask(NOTE_QUESTION, conversation)
    assert isinstance(last, TurnLogged)
    assert "eight" not in last.result.answer
    assert course() == before
    assert not list(services.settings.home.glob("**/note.md"))


@pytest.mark.parametrize("text", ["", " \n", "x" * 3000])
def test_a_note_that_says_nothing_or_too_much_is_refused(services: Services, text: str) -> None:
    lab = Lab(services)
    with pytest.raises(InputError, match="note"):
        lab.save_note(text)
    assert lab.note() is None


# ---- the account ----


def job(number: int, metrics: list[dict], state: str = "done") -> Job:
    fixed = {
        "kind": "adapter",
        "config": {},
        "dataset_id": None,
        "folder": None,
        "stage": "",
        "progress": 1.0,
    }
    never = {"cancel_requested": False, "pid": None, "exit_code": 0, "error": None, "heartbeat_at": None}
    return Job(
        id=number,
        state=state,
        metrics=metrics,
        created_at=AT,
        started_at=AT,
        finished_at=AT,
        **fixed,
        **never,
    )


def adapter(name: str, job_id: int | None, report: dict) -> Adapter:
    return Adapter(number := 1, name, "", "base", "", "registered", {}, report, job_id, number, AT)


def turn(total: float, load: float, prompt: int, completion: int) -> TurnUsage:
    return TurnUsage(AT, {"total": total, "load": load}, {"prompt": prompt, "completion": completion})


def test_the_account_is_the_sum_of_what_was_measured() -> None:
    metrics = [
        {"step": 1, "seconds": 2.0, "tokens": 100},
        {"step": 2, "seconds": 5.0, "tokens": 250},
        {"stage": "evaluating", "done": 1, "of": 2, "seconds": 99.0},
    ]
    found = make_account(
        [job(1, metrics), job(2, []), job(3, [{"step": 1, "seconds": 1.0, "tokens": 50}], "failed")],
        [
            adapter("v1", 1, {"training": {"seconds": 7.0, "tokens": 1}}),  # the job's own rows count
            adapter("first", None, {"training": {"seconds": 4.0, "tokens": 700}}),
            adapter("odd", None, {"training": {"seconds": float("nan"), "tokens": True}}),
        ],
        [
            turn(2000.0, 500.0, 100, 20),
            turn(500.0, 0.0, 0, 0),
            turn(9000.0, 0.0, 300, 80),
            TurnUsage(AT, {}, {}),
        ],
    )
    assert [(t.name, t.seconds, t.tokens, t.here) for t in found.trainings] == [
        ("v1", 5.0, 250, True),
        ("job 3 (failed)", 1.0, 50, True),
        ("first", 4.0, 700, False),
    ]
    assert (found.once("seconds"), found.once("tokens")) == (10.0, 1000.0)
    assert found.running("seconds") == [1.5, 2.0, 11.0]
    assert found.running("tokens") == [120.0, 120.0, 500.0]
    assert found.crossing("seconds") == 3
    assert found.crossing("tokens") is None
    assert found.still_to_go("seconds") is None
    assert found.still_to_go("tokens") == 3  # 500 more at 166.7 an answer


def test_where_nothing_was_trained_nothing_is_crossed() -> None:
    found = make_account([], [], [turn(2000.0, 0.0, 1, 1)])
    assert found.crossing("seconds") is None
    assert found.still_to_go("seconds") is None
    assert make_account([], [], []).running("tokens") == []


def test_a_long_line_is_thinned_to_its_ends_and_evenly_between() -> None:
    assert thinned([5.0, 6.0], 10) == [(1, 5.0), (2, 6.0)]
    few = thinned([float(n) for n in range(1, 1001)], 5)
    assert few == [(1, 1.0), (251, 251.0), (500, 500.0), (750, 750.0), (1000, 1000.0)]


# ---- tokens ----


def test_pieces_put_together_are_the_text_and_split_characters_are_bytes() -> None:
    text = "the a 🙂é<|im_end|>"
    found = pieces(tokenizer(), text)
    whole = b"".join(bytes.fromhex(p.text) if p.kind == "bytes" else p.text.encode() for p in found)
    assert whole == text.encode()
    assert [(p.text, p.id) for p in found[:3]] == [("th", 256), ("e", found[1].id), (" a", 257)]
    split = [p for p in found if p.kind == "bytes"]
    assert [p.text for p in split if p.of == "🙂"] == ["F0", "9F", "99", "82"]
    assert [p.text for p in split if p.of == "é"] == ["C3", "A9"]
    assert [p.text for p in found if p.kind == "special"] == ["<|im_end|>"]
    assert pieces(tokenizer(), "") == []


def test_the_tokenizer_is_the_models_own_and_a_servers_is_not_here(services: Services) -> None:
    tokens = Tokens(services.settings)
    assert [piece.text for piece in tokens.pieces("that")] == ["th", "a", "t"]
    with pytest.raises(InputError, match=f"at most {MAX_CHARS:}"):
        tokens.pieces("a" * (MAX_CHARS + 1))
    with pytest.raises(InputError, match="server"):
        Tokens(Settings(home=services.settings.home, server_url="http://127.0.0.1:1/v1")).pieces("a")


# ---- the classifier ----


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    vectors, targets = rng.normal(size=(7, 5)), rng.integers(0, 3, 7)
    matrix, offset = rng.normal(size=(3, 5)), rng.normal(size=3)
    _, by_matrix, by_offset = classifier.loss_and_gradient(matrix, offset, vectors, targets, decay=0.3)
    step = 1e-6
    for (row, column), slope in np.ndenumerate(by_matrix):
        moved = [matrix.copy(), matrix.copy()]
        moved[0][row, column] += step
        moved[1][row, column] -= step
        up, down = (classifier.loss_and_gradient(m, offset, vectors, targets, decay=0.3)[0] for m in moved)
        assert (up - down) / (2 * step) == pytest.approx(slope, abs=1e-7)
    for row, slope in enumerate(by_offset):
        shift = step * np.eye(3)[row]
        up, down = (
            classifier.loss_and_gradient(matrix, o, vectors, targets, decay=0.3)[0]
            for o in (offset + shift, offset - shift)
        )
        assert (up - down) / (2 * step) == pytest.approx(slope, abs=1e-7)


def test_training_moves_the_weights_downhill_and_inference_moves_none() -> None:
    vectors, start = np.eye(3, 4, dtype=np.float32), classifier.zeros(4)
    before = start.to_bytes()
    run = classifier.train(start, vectors, [0, 1, 2])
    assert start.to_bytes() == before
    assert run.losses[0] == pytest.approx(np.log(3))
    assert all(later < earlier for earlier, later in zip(run.losses, run.losses[1:], strict=False))
    assert run.change == pytest.approx(
        float(np.linalg.norm(np.r_[run.weights.matrix.ravel(), run.weights.offset]))
    )
    assert run.weights.fingerprint != start.fingerprint
    assert classifier.train(start, vectors, [0, 1, 2]).weights.fingerprint == run.weights.fingerprint

    bits = run.weights.to_bytes()
    chances = classifier.probabilities(run.weights, vectors)
    assert chances.argmax(axis=1).tolist() == [0, 1, 2]
    assert chances.sum(axis=1) == pytest.approx([1.0] * 3)
    assert classifier.confusion(run.weights, vectors, [0, 1, 1]) == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert run.weights.to_bytes() == bits
    assert classifier.Weights.from_bytes(bits, 4).fingerprint == run.weights.fingerprint
    with pytest.raises(ValueError, match="no weights"):
        classifier.Weights.from_bytes(bits, 5)


# ---- the bench ----


@pytest.fixture
def bench(tmp_path: Path, make_embedder: Callable[..., Any]) -> ReviewBench:
    return ReviewBench(make_embedder(dimension=128), tmp_path / "lab" / "reviews-1.json", lambda: AT)


def test_the_whole_pipeline_from_collecting_to_inference(bench: ReviewBench, tmp_path: Path) -> None:
    state = bench.state()
    assert state["fresh"] == []
    held_out = [review["text"] for review in state["reviews"] if review["held_out"]]
    assert len(held_out) == 9
    for step, needs in ((bench.train, "clean"), (bench.evaluate, "train"), (bench.deploy, "evaluate")):
        with pytest.raises(InputError, match=needs):
            step()
    with pytest.raises(InputError, match="deploy"):
        bench.infer("good")

    cleaned = bench.clean()["cleaned"]
    assert {why for _, why in cleaned["dropped"]} == {"has no label yet", "is there twice", "says nothing"}
    assert len(cleaned["kept"]) == 9
    bench._embedder.calls.clear()  # type: ignore[attr-defined]
    trained = bench.train()["candidate"]
    seen = {text for call in bench._embedder.calls for text in call}  # type: ignore[attr-defined]
    assert len(seen) == 9
    assert not seen & set(held_out)
    assert trained["losses"][-1] < trained["losses"][0]
    assert trained["before"] != trained["fingerprint"]

    exam = bench.evaluate()["evaluation"]
    assert exam["asked"] == 9 == sum(sum(row) for row in exam["table"])
    assert exam["right"] == sum(exam["table"][i][i] for i in range(3))
    assert exam["trained_right"] == exam["trained_asked"] == 9
    assert exam["after"] == trained["fingerprint"]

    assert bench.deploy()["versions"][0]["version"] == 1
    with pytest.raises(InputError, match="already"):
        bench.deploy()
    file = tmp_path / "lab" / "reviews-1.json"
    bits = file.read_bytes()
    said = bench.infer("Broke after two days. A waste of money.")
    assert np.argmax(said.probabilities) == 2
    assert said.before == said.after == trained["fingerprint"]
    assert file.read_bytes() == bits


def test_what_was_done_is_stale_once_the_reviews_change_but_stays_in_use(bench: ReviewBench) -> None:
    for step in (bench.clean, bench.train, bench.evaluate):
        step()
    assert bench.deploy()["fresh"] == ["clean", "train", "evaluate", "deploy"]
    first = bench.infer("Lovely")
    added = bench.add("  Perfect  little   radio ", "positive")
    assert added["reviews"][-1]["text"] == "Perfect little radio"
    assert added["fresh"] == []
    with pytest.raises(InputError, match="clean"):
        bench.train()
    assert bench.infer("Lovely") == first

    bench.clean()
    again = bench.train()["candidate"]
    assert again["before"] == first.before  # goes on from where it was
    assert not again["from_zeros"]
    bench.evaluate()
    assert [version["version"] for version in bench.deploy()["versions"]] == [2, 1]
    assert bench.infer("Lovely").before == again["fingerprint"]


def test_everything_is_there_after_a_restart_and_gone_after_starting_over(
    bench: ReviewBench, tmp_path: Path, make_embedder: Callable[..., Any]
) -> None:
    number = bench.add("Mine", "neutral")["next"] - 1
    bench.clean()
    state = bench.train()
    file = tmp_path / "lab" / "reviews-1.json"
    assert ReviewBench(bench._embedder, file).state() == state
    other = ReviewBench(make_embedder(name="other@1", dimension=64), file)
    assert other.train()["candidate"]["from_zeros"]  # vectors of another embedder: nothing to go on from
    bench.label(number, None)
    assert bench.remove(number)["reviews"][-1]["id"] != number
    with pytest.raises(InputError, match="not on the bench"):
        bench.remove(number)
    assert bench.reset()["candidate"] is None
    assert not file.exists()
    file.write_text("{ not json")
    assert len(bench.state()["reviews"]) == 24


def test_what_the_bench_does_not_take(bench: ReviewBench) -> None:
    with pytest.raises(InputError, match="write a review"):
        bench.add(" ", None)
    with pytest.raises(InputError, match="400 characters"):
        bench.add("x" * 401, None)
    with pytest.raises(InputError, match="a label is one of"):
        bench.add("fine", "splendid")
    held_out = next(review for review in bench.state()["reviews"] if review["held_out"])
    with pytest.raises(InputError, match="not on the bench"):
        bench.label(held_out["id"], "negative")
    number = bench.add(held_out["text"].upper(), "positive")["next"] - 1
    assert [number, "is held out for the exam"] in bench.clean()["cleaned"]["dropped"]
    for review in bench.state()["reviews"]:
        if review["label"] == "neutral" and not review["held_out"]:
            bench.label(review["id"], None)
    bench.clean()
    with pytest.raises(InputError, match="label at least one review as neutral"):
        bench.train()
