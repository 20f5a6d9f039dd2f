"""Training: examples -> a LoRA adapter, packed, resumable, the same on one process or several. Start at `train`.

The loss of a step is the mean over all its completion tokens, however they are divided into rows and processes, and
everything random in a step follows from the seed and the step's number. So a run that was killed and resumed ends
with the same weights as one that was not, and two processes go down the same curve as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import attention, lora
from finetune.config import FinetuneConfig
from finetune.measuring import faster_precision
from finetune.outcomes import Cancelled, Progress, Trained, TrainingError, explained
from finetune.packing import Encoded, Encoder, Row, layout, plan
from finetune.running import Run, begin, training_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from finetune.dataset import Example

__all__ = ["Cancelled", "Progress", "Trained", "TrainingError", "train"]


def train(
    config: FinetuneConfig,
    examples: Sequence[Example],
    base: Path,
    base_name: str,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    wait_while_busy: Callable[[], object] = lambda: None,
    preferences: Sequence[Example] = (),
    start_from: Path | None = None,
) -> Trained:
    """Train an adapter on `base` and write it to `folder`/adapter; `base_name` is how it calls its base.

    Goes on from `folder`/checkpoint where there is a sound one of the same base, data and configuration.
    `on_progress` hears of every step; `should_stop` and `wait_while_busy` are called between rows. The methods dpo and
    kto learn from `preferences`, starting from the adapter folder `start_from` if given.
    Raises TrainingError (one line: no number, out of memory, disk full) or Cancelled; what was there before stays.
    """
    lora.quiet()
    with _explaining(config), _threads(config.threads):
        if config.method != "sft":
            from finetune.preference import train_preferences

            return train_preferences(
                config,
                preferences,
                base,
                base_name,
                folder,
                on_progress=on_progress,
                should_stop=should_stop,
                wait_while_busy=wait_while_busy,
                start_from=start_from,
            )
        training = _Training(config, examples, base, base_name, folder)
        return training.run(on_progress, should_stop, wait_while_busy)


class _Training:
    """One training on packed rows, in this process and those beside it."""

    def __init__(
        self, config: FinetuneConfig, examples: Sequence[Example], base: Path, base_name: str, folder: Path
    ) -> None:
        import torch
        from accelerate import Accelerator

        self.config = config
        self.base_name = base_name
        self.folder = folder
        self.notes: list[str] = []
        self.accelerator = Accelerator()
        self.device: torch.device = self.accelerator.device
        encoded = encode_fitting(config, examples, base, self.notes)
        self.rows = plan(
            encoded,
            row_tokens=config.row_tokens,
            rows_per_step=config.rows_per_step,
            epochs=config.epochs,
            seed=config.seed,
        )
        on_gpu = self.device.type != "cpu"
        asked = "bfloat16" if on_gpu and config.precision == "auto" else config.precision
        key = training_key(config, encoded, base, base_name)
        checkpoints, at, tensors = begin(folder, key, asked, self.notes.append)
        half = on_gpu and at.precision == "bfloat16"
        loaded = lora.load_base(base, torch.bfloat16 if half else torch.float32, attention.register())
        model = lora.attach(loaded.to(self.device), config)
        if at.precision == "auto":
            at = replace(at, precision=self._measured_precision(model))
        main = self.accelerator.is_main_process
        self.state = Run(config, model, len(self.rows), at, checkpoints, rate=config.learning_rate, main=main)
        if tensors is not None:
            self.state.restore(tensors)
        self._agree()

    def run(
        self,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        wait_while_busy: Callable[[], object],
    ) -> Trained:
        state = self.state
        while not state.finished:
            state.save_if_due()
            rows = self.rows[state.at.step]
            loss, tokens = self._step(rows, should_stop, wait_while_busy)
            progress = state.advance(loss, examples=sum(map(len, rows)), tokens=tokens)
            state.at = replace(state.at, seconds=self._same_everywhere(state.at.seconds))
            if self.accelerator.is_main_process:
                on_progress(progress)
        processes = self.accelerator.num_processes
        trained = state.finish(self.folder, self.base_name, self.notes, self.device, processes)
        self.accelerator.wait_for_everyone()
        return trained

    def _step(
        self, rows: Sequence[Row], should_stop: Callable[[], bool], wait_while_busy: Callable[[], object]
    ) -> tuple[float, int]:
        """One step of the optimizer over these rows, divided among the processes; the mean loss of a token, and how
        many were read."""
        import torch

        state, number, processes = self.state, self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed(_step_seed(self.config.seed, state.at.step, number))
        laid_out = [layout(row) for row in rows]
        total = sum(len(row.targets) for row in laid_out)
        loss_sum, stop = 0.0, False
        for row in laid_out[number::processes]:
            state.clock.wait(wait_while_busy)
            stop = stop or should_stop()
            if stop and processes == 1:
                state.cancel()
            loss = lora.row_loss(state.model, row, self.device, bfloat16=state.at.precision == "bfloat16")
            (loss / total).backward()
            loss_sum += loss.item() / total
        mean_loss = self._added_up(loss_sum, stop) if processes > 1 else loss_sum
        norm = torch.nn.utils.clip_grad_norm_(list(state.parameters.values()), self.config.clip).item()
        state.require_finite(mean_loss, norm)
        state.set_rate()
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        return mean_loss, sum(len(row.tokens) for row in laid_out)

    def _added_up(self, loss: float, stop: bool) -> float:
        """Add up gradients and loss over the processes. If one should stop, all do, after the same step."""
        import torch

        gradients = []
        for parameter in self.state.parameters.values():
            if parameter.grad is None:  # fewer rows than processes
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        mine = torch.tensor([loss, float(stop)], device=self.device)
        flat = self.accelerator.reduce(torch.cat([*(g.reshape(-1) for g in gradients), mine]), "sum")
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()
        if flat[-1].item() > 0:
            self.state.cancel()
        return float(flat[-2].item())

    def _measured_precision(self, model: Any) -> str:
        """What this processor is faster with, if the loss comes out the same."""
        row = layout(self.rows[0][0])
        chosen, why = faster_precision(
            lambda half: lora.row_loss(model, row, self.device, bfloat16=half) / len(row.targets)
        )
        model.zero_grad(set_to_none=True)
        self.notes.append(why)
        return str(self._same_everywhere(chosen))

    def _agree(self) -> None:
        """All processes begin at the same step with the main one's adapter."""
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast

            if self._same_everywhere(self.state.at.step) != self.state.at.step:
                raise TrainingError("The processes see different checkpoints; give them one folder.")
            for parameter in self.state.parameters.values():
                parameter.data.copy_(broadcast(parameter.data))

    def _same_everywhere(self, value: Any) -> Any:
        """The main process's value."""
        if self.accelerator.num_processes == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]


def encode_fitting(
    config: FinetuneConfig, examples: Sequence[Example], base: Path, notes: list[str]
) -> list[Encoded]:
    """The examples in tokens, without those too long for a row, which is noted. Raises TrainingError for none."""
    encoder = Encoder(lora.load_tokenizer(base))
    encoded = [encoder.encode(example) for example in examples]
    fitting = [e for e in encoded if e.tokens <= config.row_tokens]
    if not encoded:
        raise TrainingError("There is nothing to train on: the data set has no examples.")
    if not fitting:
        raise TrainingError(
            f"There is nothing to train on: each of the {len(encoded)} examples is longer than row_tokens, "
            f"{config.row_tokens}; set it higher."
        )
    if len(fitting) < len(encoded):
        notes.append(
            f"{len(encoded) - len(fitting)} of {len(encoded)} examples were left out: they are longer than "
            f"row_tokens, {config.row_tokens}."
        )
    return fitting


def _step_seed(seed: int, step: int, process: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{process}".encode()).digest()[:7])


@contextmanager
def _explaining(config: FinetuneConfig) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        known = explained(error, config)
        if known is None:
            raise
        raise known from error


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
