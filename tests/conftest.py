"""What every test relies on: no network, no telemetry, a home folder of its own; a fast embedder, a database.

The environment is set when this file is read, before any test module imports a library that reads it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_HOME = tempfile.mkdtemp(prefix="study-tutor-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith("STUDY_TUTOR_")]:
    del os.environ[_name]  # the developer's own settings
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    GRADIO_ANALYTICS_ENABLED="False",
    TOKENIZERS_PARALLELISM="false",
    OMP_WAIT_POLICY="PASSIVE",  # torch's waiting threads sleep: tests share the machine
    STUDY_TUTOR_HOME=_HOME,
)

import pytest  # noqa: E402

from db.session import Database  # noqa: E402
from tests.fake_embedder import FakeEmbedder  # noqa: E402


@pytest.fixture(scope="session")
def make_embedder() -> Callable[..., FakeEmbedder]:
    """FakeEmbedder(name="fake@1", dimension=64), for tests that need more than one."""
    return FakeEmbedder


@pytest.fixture
def fake_embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty SQLite database of this test's own."""
    opened = Database.open(tmp_path / "test.sqlite3")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that trains in milliseconds: a folder with a tiny random Llama and the shipped tokenizer.

    Don't write into it.
    """
    import torch
    from gguf import GGUFReader
    from transformers import LlamaConfig, LlamaForCausalLM

    from tutor.conversion import save_tokenizer
    from tutor.shipped import shipped_gguf

    folder = tmp_path_factory.mktemp("tiny-base")
    reader = GGUFReader(shipped_gguf())
    save_tokenizer({name: field.contents() for name, field in reader.fields.items()}, folder)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.model.embed_tokens.weight.data *= 5  # else no answer could become likely
    model.save_pretrained(folder)
    return folder
