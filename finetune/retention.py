"""What training cost the model elsewhere: how surprised it is at general texts, with the adapter and without.

`general.jsonl` holds prompts of everyday life with the answers a person might give; they have nothing to do with the
course. The number is the mean negative log-likelihood of an answer's tokens (nats).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from finetune.measures import Json, number
from retrieval.evaluate import paired


@lru_cache(maxsize=1)
def general_texts() -> tuple[tuple[str, str], ...]:
    """(prompt, answer) of every text."""
    lines = files("finetune").joinpath("general.jsonl").read_text("utf-8").splitlines()
    return tuple((value["prompt"], value["answer"]) for value in map(json.loads, lines))


def retention(
    base: Path,
    adapter: Path,
    tick: Callable[[int, int], None] = lambda done, of: None,
    threads: int | None = None,
) -> Json:
    """The surprise of both, and by how much the adapter's is larger, text by text.

    `tick(done, of)` is told of each text and may raise. Raises OSError or ValueError for a model that can't be read.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if threads:
        torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    model: Any = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    model = PeftModel.from_pretrained(model, adapter, use_safetensors=True).eval()
    found: dict[bool, list[float]] = {False: [], True: []}
    texts = general_texts()
    for done, (prompt, answer) in enumerate(texts):
        tick(done, len(texts))
        for adapted in found:
            with torch.inference_mode(), nullcontext() if adapted else model.disable_adapter():
                found[adapted].append(_surprise(model, tokenizer, prompt, answer))
    before, after = (sum(values) / len(values) for values in (found[False], found[True]))
    increase = number(paired(found[True], found[False]))
    return {
        "base_nll": round(before, 4),
        "candidate_nll": round(after, 4),
        "increase": increase["value"],
        "interval": increase,
    }


def _surprise(model: Any, tokenizer: Any, prompt: str, answer: str) -> float:
    """Mean negative log-likelihood of the answer's tokens, the one that ends it included."""
    import torch

    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    before = tokenizer(asked, add_special_tokens=False)["input_ids"]
    after = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    logits = model(input_ids=torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits.float(), torch.tensor(after)))
