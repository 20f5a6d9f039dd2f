"""What every way of training shares: where it stands, the optimizer and its rate, checkpoints, progress, the result."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import lora
from finetune.checkpoints import Checkpoints, Standing
from finetune.config import FinetuneConfig
from finetune.measuring import Clock, peak_memory_bytes
from finetune.outcomes import Cancelled, Progress, Trained, TrainingError
from finetune.packing import PLAN, Encoded
from tutor.generators.files import weight_files
from tutor.shipped import file_sha256

if TYPE_CHECKING:
    import torch

ADAPTER, CHECKPOINT = "adapter", "checkpoint"
_FIRST_STEPS, _FIRST_SHARE = 10, 0.1  # steps, and share of the time, before the speed of a training is known


class Run:
    """One training of the adapter on `model` for `steps` steps, from the checkpoint that was found, if any.

    `main`: does this process write the files? The learning rate rises for a few steps and falls to nothing at the
    end, along half a cosine; which step it is, or how much of the allowed time is used up, decides its value.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        model: Any,
        steps: int,
        at: Standing,
        checkpoints: Checkpoints,
        *,
        rate: float,
        main: bool = True,
    ) -> None:
        import torch

        self.config = config
        self.model = model
        self.steps = steps
        self.at = at
        self.resumed_at = at.step
        self.parameters = lora.trainable(model)
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()), lr=rate, weight_decay=config.weight_decay
        )
        self.clock = Clock(at.seconds, at.waited)
        self._checkpoints = checkpoints
        self._rate = rate
        self._main = main

    @property
    def finished(self) -> bool:
        return self.at.step >= self.steps or self._share_done() >= 1

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The adapter and the optimizer as they were at the checkpoint."""
        import torch

        for name, parameter in self.parameters.items():
            parameter.data.copy_(tensors[f"weight.{name}"])
        if self.at.step:
            state = {
                number: {
                    "step": torch.tensor(float(self.at.step)),
                    "exp_avg": tensors[f"exp_avg.{name}"],
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"],
                }
                for number, name in enumerate(self.parameters)
            }
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def save_if_due(self) -> None:
        """Before a step: a checkpoint, if more than the allowed seconds of work could be lost else."""
        if self.clock.due(self.config.checkpoint_seconds):
            self.save()

    def save(self) -> None:
        """Write a checkpoint. Raises OSError; the one before is then still there."""
        self.clock.saved()
        if not self._main:
            return
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"weight.{name}"] = parameter.detach().cpu().contiguous()
            for part in ("exp_avg", "exp_avg_sq"):
                if part in self.optimizer.state[parameter]:
                    tensors[f"{part}.{name}"] = self.optimizer.state[parameter][part].cpu().contiguous()
        self._checkpoints.write(self.at, tensors)

    def cancel(self) -> None:
        """Write a checkpoint of the last whole step and raise Cancelled."""
        self.save()
        raise Cancelled(f"It was stopped after step {self.at.step} of {self.steps}; resume it to go on.")

    def set_rate(self) -> float:
        """Give the optimizer the learning rate of the coming step."""
        warmup = min(self.config.warmup_steps, self.steps // 2)
        rise = min(1.0, (self.at.step + 1) / (warmup + 1))
        rate = self._rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, self._share_done())))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def require_finite(self, loss: float, gradient_norm: float) -> None:
        """Raises TrainingError before a value that is no number reaches the weights."""
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            return
        what = "a gradient" if math.isfinite(loss) else "the loss"
        half = ", or precision to float32" if self.at.precision != "float32" else ""
        raise TrainingError(
            f"At step {self.at.step + 1} of {self.steps} {what} was no finite number; set a lower learning rate (now "
            f"{self._rate:g}){half}. No weights were changed by it, and the last checkpoint is kept."
        )

    def advance(self, loss: float, *, examples: int, tokens: int, seconds: float | None = None) -> Progress:
        """A step is done. `seconds` where another process's clock decides."""
        self.clock.tick()
        at = self.at = replace(
            self.at,
            step=self.at.step + 1,
            seconds=self.clock.seconds if seconds is None else seconds,
            waited=self.clock.waited,
            tokens=self.at.tokens + tokens,
            examples=self.at.examples + examples,
            losses=(*self.at.losses, (self.at.step + 1, loss)),
        )
        left = self.clock.per_step * (self.steps - at.step)
        if self.config.max_minutes is not None:
            left = min(left, max(0.0, 60 * self.config.max_minutes - at.seconds))
        return Progress(at.step, self.steps, loss, at.tokens, at.examples, at.seconds, left, at.waited)

    def finish(
        self, folder: Path, base_name: str, notes: Sequence[str], device: torch.device, processes: int = 1
    ) -> Trained:
        """A last checkpoint, so that a job that is stopped later need not train again; and the adapter's folder."""
        at = self.at
        if self.resumed_at < at.step or not at.step:
            self.save()
        if self._main:
            about = {
                "steps": at.step,
                "examples": at.examples,
                "precision of training": at.precision,
                "configuration": f"`{json.dumps(self.config.training_json())}`",
            }
            lora.write_adapter(folder / ADAPTER, self.model, base_name, about)
        if at.step < self.steps:
            notes = [
                *notes,
                f"It ended after {self.config.max_minutes:g} minutes, at step {at.step} of {self.steps}.",
            ]
        return Trained(
            folder=folder / ADAPTER,
            losses=at.losses,
            seconds=at.seconds,
            steps=at.step,
            examples=at.examples,
            tokens=at.tokens,
            precision=at.precision,
            peak_memory_bytes=peak_memory_bytes(device),
            waited=at.waited,
            processes=processes,
            resumed_at=self.resumed_at,
            notes=tuple(notes),
        )

    def _share_done(self) -> float:
        """Of the way down: 0 until the rate has risen, 1 at the end of the steps or of the time.

        Time has a say only where it is too short for all steps, so a run that fits into it is the same every time.
        """
        warmup = min(self.config.warmup_steps, self.steps // 2)
        share = max(0, self.at.step - warmup) / max(1, self.steps - warmup)
        limit = self.config.max_minutes
        if limit is None or self.at.seconds == 0:
            return share
        used = self.at.seconds / (60 * limit)
        ends_in_time = self.at.step / used >= self.steps
        early = self.at.step < _FIRST_STEPS and used < _FIRST_SHARE  # too early to tell
        return share if ends_in_time or early else max(share, used)


def training_key(
    config: FinetuneConfig,
    encoded: Sequence[Encoded],
    base: Path,
    base_name: str,
    start_from: Path | None = None,
) -> str:
    """What a checkpoint must agree with to be continued: base, data, configuration, and where training started."""
    files = [*weight_files(base), *([start_from / lora.ADAPTER_WEIGHTS] if start_from else [])]
    known = [PLAN, base_name, config.training_json(), [file_sha256(file) for file in files]]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for example in sorted(encoded, key=lambda e: (e.prompt, e.completion, e.id)):
        digest.update(json.dumps([example.id, example.prompt, example.completion]).encode())
    return digest.hexdigest()


def begin(
    folder: Path, key: str, precision: str, say: Callable[[str], None]
) -> tuple[Checkpoints, Standing, dict[str, torch.Tensor] | None]:
    """The checkpoints of this training and where it goes on; the precision of one that is continued stays."""
    checkpoints = Checkpoints(folder / CHECKPOINT, say)
    found = checkpoints.newest(key)
    return (checkpoints, *found) if found else (checkpoints, Standing(key, precision), None)
