"""Learning from preferences: DPO from pairs (better, worse), KTO from single thumbs. The losses are TRL's.

Around TRL's trainers stands what every training here has: one order of the examples decided by the seed, checkpoints
that a killed run goes on from, a stop between micro-steps, and a look at loss and gradients themselves for what is no
number (TRL's log would filter it out). It costs far more than `train.py`'s packed rows: each text is read whole,
twice in training and again by the start it is compared with.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import lora
from finetune.config import FinetuneConfig
from finetune.outcomes import Progress, Trained, TrainingError
from finetune.packing import Encoder
from finetune.running import Run, begin, training_key

if TYPE_CHECKING:
    import torch

    from finetune.dataset import Example

_MICRO = {
    "dpo": 1,
    "kto": 4,
}  # texts read at once; KTO compares each with its neighbours', so it needs several
_STEP = 4  # examples for a step of the optimizer


def train_preferences(
    config: FinetuneConfig,
    preferences: Sequence[Example],
    base: Path,
    base_name: str,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    wait_while_busy: Callable[[], object],
    start_from: Path | None,
) -> Trained:
    """As `train.train`, by TRL. Called by it."""
    import torch

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError(
            f"The method {config.method} runs on one process; start it without accelerate launch."
        )
    notes: list[str] = []
    encoder = Encoder(lora.load_tokenizer(base))
    usable, lengths = _usable(config, preferences, encoder, notes)
    order = _order(usable, config)
    on_gpu = torch.cuda.is_available()
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if on_gpu else "float32"
    encoded = [encoder.encode(e) for e in usable]
    encoded += [encoder.encode(replace(e, completion=e.rejected)) for e in usable if e.rejected is not None]
    key = training_key(config, encoded, base, base_name, start_from)
    checkpoints, at, tensors = begin(folder, key, precision, notes.append)
    half = at.precision == "bfloat16"
    model = lora.attach(lora.load_base(base, torch.bfloat16 if half and on_gpu else torch.float32), config)
    if start_from is not None:
        _start_from(model, start_from)
    steps = -(-len(order) // _STEP)
    rest = order[at.step * _STEP :]
    state = Run(config, model, steps, at, checkpoints, rate=config.preference_learning_rate)
    if rest and not state.finished:
        watch = _Watch(state, should_stop, wait_while_busy, on_progress, [lengths[e.id] for e in rest])
        unused = folder / "trl"  # TRL makes it, and is told to save nothing
        trainer = _trainer(config, model, base, rest, state, watch, unused, half=half)
        if tensors is not None:  # not before: what it starts from is TRL's reference
            state.restore(tensors)
        try:
            trainer.train()
        finally:
            shutil.rmtree(unused, ignore_errors=True)
    elif tensors is not None:
        state.restore(tensors)
    return state.finish(folder, base_name, notes, next(model.parameters()).device)


class _Watch:
    """What happens around TRL's steps."""

    def __init__(
        self,
        state: Run,
        should_stop: Callable[[], bool],
        wait_while_busy: Callable[[], object],
        on_progress: Callable[[Progress], None],
        lengths: list[int],
    ) -> None:
        self.state = state
        self._should_stop = should_stop
        self._wait_while_busy = wait_while_busy
        self._on_progress = on_progress
        self._lengths = lengths
        self._losses: list[float] = []

    def before_texts(self) -> None:
        if not self._losses:
            self.state.save_if_due()
            self.state.set_rate()
        self.state.clock.wait(self._wait_while_busy)
        if self._should_stop():
            self.state.cancel()

    def after_texts(self, loss: float) -> None:
        self.state.require_finite(loss, 0.0)
        self._losses.append(loss)

    def before_step(self) -> None:
        import torch

        grads = [p.grad for p in self.state.parameters.values() if p.grad is not None]
        self.state.require_finite(0.0, float(torch.nn.utils.get_total_norm(grads)))

    def after_step(self) -> bool:
        """Is training over?"""
        done, self._lengths = self._lengths[:_STEP], self._lengths[_STEP:]
        loss = sum(self._losses)  # TRL divides each by their number
        self._losses = []
        self._on_progress(self.state.advance(loss, examples=len(done), tokens=sum(done)))
        return self.state.finished


def _trainer(
    config: FinetuneConfig,
    model: Any,
    base: Path,
    examples: Sequence[Example],
    state: Run,
    watch: _Watch,
    unused: Path,
    *,
    half: bool,
) -> Any:
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    parent, arguments = (DPOTrainer, DPOConfig) if config.method == "dpo" else (KTOTrainer, KTOConfig)

    class Watched(parent):  # type: ignore[misc, valid-type]
        def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
            watch.before_texts()
            loss: torch.Tensor = super().training_step(*given, **named)
            watch.after_texts(loss.item())
            return loss

    class Callback(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            watch.before_step()

        def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            if watch.after_step():
                control.should_training_stop = True

    micro = _MICRO[config.method]
    args = arguments(
        output_dir=str(unused),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=_STEP // micro,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        max_grad_norm=config.clip,
        max_length=None,
        beta=config.beta,
        bf16=half,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=config.gradient_checkpointing,
        disable_dropout=config.dropout == 0,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=config.seed,
    )
    made = Watched(
        model=model,
        args=args,
        train_dataset=Dataset.from_list([_row(e, config.method) for e in examples]),
        processing_class=lora.load_tokenizer(base),
        callbacks=[Callback()],
        optimizers=(state.optimizer, torch.optim.lr_scheduler.LambdaLR(state.optimizer, lambda _: 1.0)),
    )
    return made


def _row(example: Example, method: str) -> dict[str, Any]:
    """The example in TRL's conversational form."""

    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    prompt = [dict(message) for message in example.prompt]
    if method == "dpo":
        return {
            "prompt": prompt,
            "chosen": said(example.completion),
            "rejected": said(example.rejected or ""),
        }
    return {"prompt": prompt, "completion": said(example.completion), "label": bool(example.label)}


def _usable(
    config: FinetuneConfig, preferences: Sequence[Example], encoder: Encoder, notes: list[str]
) -> tuple[list[Example], Mapping[str, int]]:
    """The preferences that this method can learn from, and how many tokens each makes the model read."""
    pairs = config.method == "dpo"
    fit = [e for e in preferences if (e.rejected if pairs else e.label) is not None]
    if not fit:
        needed = "pairs of a better and a worse answer" if pairs else "answers with a thumb up or down"
        raise TrainingError(
            f"There is nothing to learn from: {config.method} needs {needed}; use the method sft."
        )
    lengths: dict[str, int] = {}
    for example in fit:
        texts = [example.completion, *([example.rejected] if pairs and example.rejected else [])]
        each = [encoder.encode(replace(example, completion=text)).tokens for text in texts]
        if max(each) <= config.row_tokens:
            lengths[example.id] = sum(each)
    usable = [e for e in fit if e.id in lengths]
    if not usable:
        raise TrainingError(
            f"There is nothing to learn from: every preference is longer than row_tokens, {config.row_tokens}."
        )
    if len(usable) < len(fit):
        notes.append(
            f"{len(fit) - len(usable)} of {len(fit)} preferences were left out: longer than row_tokens."
        )
    return usable, lengths


def _order(examples: Sequence[Example], config: FinetuneConfig) -> list[Example]:
    """Every epoch's examples in turn, shuffled by the seed. KTO, which needs neighbours, gets whole steps."""
    ordered: list[Example] = []
    epoch = 0
    while (left := config.epochs - epoch) > 0:
        shuffled = sorted(examples, key=lambda e: e.id)
        random.Random(f"{config.seed}:{epoch}").shuffle(shuffled)
        ordered += shuffled if left >= 1 else shuffled[: max(1, round(left * len(shuffled)))]
        epoch += 1
    while config.method == "kto" and len(ordered) % _STEP:
        ordered.append(ordered[len(ordered) % len(examples)])
    return ordered


def _start_from(model: Any, adapter: Path) -> None:
    """Give the fresh adapter the weights of one that is there. Raises TrainingError where its shape is another."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    tensors = load_file(adapter / lora.ADAPTER_WEIGHTS)
    own = lora.adapter_tensors(model)
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in own.items()}:
        raise TrainingError(
            f"The adapter {adapter.name} has another rank or other layers than configured; use its rank and targets."
        )
    set_peft_model_state_dict(model, tensors)
