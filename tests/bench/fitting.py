"""How the small networks of `retrieval` are trained: one loop, one way to ship the result."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

RANK, ALPHA = 16, 32.0
BATCH, DECAY = 32, 0.01


def fit(
    model: Any,
    data: Sequence[Any],
    loss_of: Callable[[Any, list[Any]], Any],
    *,
    epochs: int,
    rate: float,
    chance: random.Random,
    length: Callable[[Any], int],
    batch: int = BATCH,
) -> list[float]:
    """AdamW, a short warm-up, then linear decay; the mean loss of each epoch. Raises RuntimeError for a loss that is
    no number."""
    import torch
    from torch import nn

    from retrieval.embedder import computes_in_half

    changed = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(changed, lr=rate, weight_decay=DECAY)
    steps = epochs * math.ceil(len(data) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.06 * steps)) * max(0.02, 1 - step / steps)
    )
    began, losses = time.monotonic(), []
    half = computes_in_half()  # 1.7 times as fast where the CPU has it
    print(f"{len(data)} examples, {'bfloat16' if half else 'float32'}", flush=True)
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for number, part in enumerate(_batches(data, chance, length, batch)):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                loss = loss_of(model, part)
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"the loss is {loss.item()} in epoch {epoch + 1}; nothing was written")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(changed, 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(part)
            if number % 50 == 0:
                print(f"epoch {epoch + 1}, step {number}, {time.monotonic() - began:.0f} s", flush=True)
        losses.append(round(total / len(data), 4))
        print(f"epoch {epoch + 1}: loss {losses[-1]}, {time.monotonic() - began:.0f} s", flush=True)
    return losses


def save(model: Any, weights: Path, data_files: Iterable[Path], about: dict[str, Any]) -> None:
    """Write the weights file and the card beside it."""
    from safetensors.torch import save_file

    from retrieval.embedder import shipped_folder, weights_sha256
    from retrieval.fitted import BACKBONE, card, sha256

    save_file({name: value.half().contiguous() for name, value in model.trained().items()}, weights)
    written = {
        "weights_sha256": sha256(weights),
        "backbone": BACKBONE,
        "backbone_sha256": weights_sha256(shipped_folder(BACKBONE)),
        "rank": model.rank,
        "alpha": model.alpha,
        "data_sha256": {file.name: sha256(file) for file in data_files},
        **about,
    }
    weights.with_suffix(".json").write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    card.cache_clear()


def read(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]


def _batches(
    data: Sequence[Any], chance: random.Random, length: Callable[[Any], int], size: int
) -> list[list[Any]]:
    """All examples once, in random order, batches of like length so that little is padded."""
    mixed = [*data]
    chance.shuffle(mixed)
    groups = [mixed[i : i + 8 * size] for i in range(0, len(mixed), 8 * size)]
    sorted_groups = [sorted(group, key=length) for group in groups]
    batches = [group[i : i + size] for group in sorted_groups for i in range(0, len(group), size)]
    chance.shuffle(batches)
    return batches
