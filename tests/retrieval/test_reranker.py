"""A cross-encoder of one's own: found, refused, and heard last."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db.session import Database
from retrieval.embedder import EmbedderError, shipped_folder
from retrieval.ingest import ingest_folder
from retrieval.records import Passage, Vectors
from retrieval.reranker import Reranker
from retrieval.retriever import Retriever, Stages


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    for name in ("moss", "roses", "worms"):
        (folder / f"{name}.md").write_text(f"# {name}\n\nWater matters much to {name}.\n", "utf-8")
    return folder


class Longest:
    """Prefers worms, whatever is asked."""

    def score(self, question: str, passages: Sequence[Passage]) -> Vectors:
        return np.array([float("worms" in p.text) for p in passages], np.float32)


def test_the_reranker_has_the_last_word(database: Database, fake_embedder: Any, pages: Path) -> None:
    ingest_folder(database, fake_embedder, pages, source="course")
    asked = "Does water matter to moss?"
    assert Retriever(database, fake_embedder).retrieve(asked)[0].document == "moss.md"
    ranked = Retriever(database, fake_embedder, reranker=Longest()).retrieve(asked)
    assert ranked[0].document == "worms.md"
    assert ranked[0].score == 1.0
    off = Retriever(database, fake_embedder, reranker=Longest(), stages=Stages(reranker=False))
    assert off.retrieve(asked)[0].document == "moss.md"


def test_what_is_no_reranker_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="no folder and no hub id"):
        Reranker("nowhere")
    with pytest.raises(EmbedderError, match="not in the local hub cache"):
        Reranker("owner/model")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(EmbedderError, match="pickled weights are never loaded"):
        Reranker(str(tmp_path))


@pytest.mark.models
def test_a_cross_encoder_folder_scores_passages(
    database: Database, fake_embedder: Any, pages: Path, tmp_path: Path
) -> None:
    """The shipped embedder with a head of chance: what it scores means nothing, but the library is the real one."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    source, folder = shipped_folder("all-minilm-l6-v2"), tmp_path / "cross"
    model = AutoModelForSequenceClassification.from_pretrained(str(source), num_labels=1)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    ingest_folder(database, fake_embedder, pages, source="course")
    found = Retriever(database, fake_embedder, reranker=Reranker(str(folder))).retrieve(
        "What does moss need?"
    )
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert len({round(p.score, 6) for p in found}) == 3
