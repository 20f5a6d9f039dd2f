"""How fast an adapter is trained here, beside plain TRL, and beside somebody who chats.

    python -m tests.bench finetune                our packed rows and TRL's SFTTrainer in turn, in float32 and bfloat16
    python -m tests.bench finetune --beside-chat  steps and answers alone, together, and together with pacing

All train the shipped model on the same examples, the seed set's, with the same adapter, learning rate and answers-only
loss. TRL reads each example whole: as it comes, eight at a time, the forward pass done again on the way back to save
memory; and faster, four at a time and nothing done again. One works while the others stand still, step by step, so that
other programs disturb all alike. Processor seconds are shown beside wall seconds for the same reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.process import Measured
from tests.bench.prompts import QUESTIONS

OURS = "ours"
TRL: dict[str, dict[str, Any]] = {
    "TRL": {},
    "TRL, faster": {"per_device_train_batch_size": 4, "gradient_checkpointing": False},
}


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["worker"]:
        return _worker(json.loads(arguments[1]))
    parser = argparse.ArgumentParser(prog="python -m tests.bench finetune")
    parser.add_argument(
        "--home", type=Path, help="keep model and evidence there; a temporary folder otherwise"
    )
    parser.add_argument("--dataset", type=Path, help="a snapshot to train on instead (<home>/datasets/...)")
    parser.add_argument("--steps", type=int, default=6, metavar="N", help="measured steps of each kind")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], nargs="*")
    parser.add_argument("--beside-chat", action="store_true")
    parser.add_argument("--seconds", type=float, default=60, help="how long each part of --beside-chat lasts")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary)
        base, dataset = _prepared(home, options.dataset)
        given = {"base": str(base), "dataset": str(dataset), "home": str(home), "threads": options.threads}
        if options.beside_chat:
            return _beside_chat(given, options.seconds)
        for precision in options.precision or ["float32", "bfloat16"]:
            _compare(given | {"precision": precision}, options.steps)
    return 0


def _prepared(home: Path, dataset: Path | None) -> tuple[Path, Path]:
    """The base as a folder, the data as a snapshot; searching for each exemplar takes minutes the first time."""
    from tutor.models import model_folder
    from tutor.settings import Settings

    settings = Settings(home=home)
    base = model_folder(settings)
    if dataset is None:
        from finetune.contexts import contexts
        from finetune.dataset import Dataset, content_hash
        from finetune.exemplars import course_tutor, find_evidence, load_exemplars
        from finetune.snapshot import write_snapshot

        exemplars = [e for e in load_exemplars() if not e.held_out]
        with course_tutor(settings) as tutor:
            evidence = find_evidence(tutor, exemplars, cache=home / "cache")
        train = tuple(contexts(exemplars, evidence))
        dataset = write_snapshot(Dataset(train, (), (), (), content_hash(train, (), ())), home / "datasets")
    return base, dataset


def _compare(given: dict[str, Any], steps: int) -> None:
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in (OURS, *TRL)}
    with ExitStack() as running:
        workers = {kind: running.enter_context(Measured(_command(given | {"kind": kind}))) for kind in rows}
        for worker in workers.values():
            worker.ask({})  # the first step is not counted: buffers are made
        for _ in range(steps):
            for kind, worker in workers.items():
                rows[kind].append(worker.ask({}))
        for worker in workers.values():
            worker.finish()
        print(f"\n{given['precision']}, {given['threads']} threads, {steps} steps each, in turn")
        print(f"{'':<12}{'pairs/step':>11}{'pairs/s':>9}{'tokens/s':>10}{'pairs/cpu s':>12}{'peak MB':>9}")
        for kind, worker in workers.items():
            total = {name: sum(row[name] for row in rows[kind]) for name in rows[kind][0]}
            print(
                f"{kind:<12}{total['pairs'] / steps:>11.1f}{total['pairs'] / total['seconds']:>9.2f}"
                f"{total['tokens'] / total['seconds']:>10.0f}{total['pairs'] / total['cpu']:>12.2f}"
                f"{worker.peak_mb:>9.0f}"
            )
    for peer in TRL:
        for name, title in (("seconds", "wall"), ("cpu", "processor")):
            ratios = [
                (a["pairs"] / a[name]) / (b["pairs"] / b[name])
                for a, b in zip(rows[OURS], rows[peer], strict=True)
            ]
            print(
                f"ours / {peer} in pairs a second, {title} time, step by step: median {median(ratios):.1f} "
                f"({min(ratios):.1f} to {max(ratios):.1f})"
            )


def _command(given: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "tests.bench", "finetune", "worker", json.dumps(given)]


def _worker(given: dict[str, Any]) -> int:
    """A training that does one step for each line it is sent; or, kind "free", one that runs until it is ended."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from finetune.lora import quiet

    quiet()
    import torch

    from finetune.snapshot import read_snapshot
    from tests.bench.worker import peak_kb

    torch.set_num_threads(given["threads"])
    examples = list(read_snapshot(Path(given["dataset"])).train)
    stand = {"wall": time.monotonic(), "cpu": time.process_time(), "pairs": 0, "tokens": 0, "ready": False}

    def reply(content: dict[str, Any]) -> None:
        out.write(json.dumps(content) + "\n")
        out.flush()

    def after_step(pairs: int, tokens: int) -> None:
        """Tell of the step that is done, then stand still until the next is asked for."""
        if given["kind"] == "free":
            reply({"at": time.monotonic()})
            return
        reply(
            {
                "pairs": pairs - stand["pairs"],
                "tokens": tokens - stand["tokens"],
                "seconds": time.monotonic() - stand["wall"],
                "cpu": time.process_time() - stand["cpu"],
            }
        )
        stand.update(pairs=pairs, tokens=tokens)
        next_step()

    def next_step() -> None:
        line = sys.stdin.readline()
        if not line or json.loads(line).get("finish"):
            reply({"peak_kb": peak_kb()})
            os._exit(0)  # in the middle of a training
        stand.update(wall=time.monotonic(), cpu=time.process_time())

    reply({"ready": True})
    if given["kind"] != "free":
        next_step()
    (_train_trl if given["kind"] in TRL else _train_ours)(given, examples, after_step)
    return 0


def _train_ours(given: dict[str, Any], examples: list[Any], after_step: Any) -> None:
    from finetune.config import FinetuneConfig
    from finetune.pacing import give_way, wait_while_answering
    from finetune.train import train

    if given.get("nice"):
        give_way()
    wait = (lambda: wait_while_answering(Path(given["home"]))) if given.get("waits") else (lambda: None)
    with tempfile.TemporaryDirectory() as folder:
        train(
            FinetuneConfig(precision=given["precision"], threads=given["threads"], epochs=50),
            examples,
            Path(given["base"]),
            "base",
            Path(folder),
            on_progress=lambda p: after_step(p.examples, p.tokens),
            wait_while_busy=wait,
        )


def _train_trl(given: dict[str, Any], examples: list[Any], after_step: Any) -> None:
    """As plainly as TRL is used: its own data, batches, loss and optimizer, its settings but for TRL[kind]."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from finetune import lora
    from finetune.config import FinetuneConfig

    config = FinetuneConfig()
    seen = {"tokens": 0, "pairs": 0}

    class Counted(SFTTrainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *others: Any, **named: Any) -> Any:
            seen["tokens"] += int(inputs["attention_mask"].sum())
            seen["pairs"] += len(inputs["input_ids"])
            return super().training_step(model, inputs, *others, **named)

    class Step(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            after_step(seen["pairs"], seen["tokens"])

    with tempfile.TemporaryDirectory() as folder:
        trainer = Counted(
            model=lora.load_base(Path(given["base"]), torch.float32),
            args=SFTConfig(
                output_dir=folder,
                num_train_epochs=50,
                learning_rate=config.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=config.warmup_steps,
                max_length=config.row_tokens,
                completion_only_loss=True,
                bf16=given["precision"] == "bfloat16",
                use_cpu=not torch.cuda.is_available(),
                **TRL[given["kind"]],
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_list(
                [
                    {
                        "prompt": [dict(m) for m in e.prompt],
                        "completion": [{"role": "assistant", "content": e.completion}],
                    }
                    for e in examples
                ]
            ),
            processing_class=lora.load_tokenizer(Path(given["base"])),
            peft_config=lora.lora_config(config),
            callbacks=[Step()],
        )
        trainer.train()


def _beside_chat(given: dict[str, Any], seconds: float) -> int:
    """Answers every few seconds, a training beside them that cares less or more."""
    given = given | {"kind": "free", "precision": "bfloat16"}
    kinds: list[tuple[str, dict[str, Any] | None, bool]] = [
        ("training alone", {}, False),
        ("answers alone", None, True),
        ("both, no pacing", {}, True),
        ("both, low priority", {"nice": True}, True),
        ("both, low priority and waiting", {"nice": True, "waits": True}, True),
    ]
    print(f"{'':<32}{'steps/min':>10}{'answers':>9}{'median s':>10}{'longest s':>11}")
    chat_command = [sys.executable, "-m", "tests.bench.our_turn", given["home"], str(given["threads"])]
    with Measured(chat_command) as chat:
        chat.ask({"question": QUESTIONS[0]})
        for name, training, chatting in kinds:
            with _Free(given | training) if training is not None else _Nothing() as free:
                free.wait_until_it_runs()
                began = time.monotonic()
                answers: list[float] = []
                while time.monotonic() - began < seconds:
                    if chatting:
                        asked = time.monotonic()
                        chat.ask({"question": QUESTIONS[len(answers) % len(QUESTIONS)]})
                        answers.append(time.monotonic() - asked)
                    time.sleep(4)  # to read the answer
                steps = free.steps_between(began, time.monotonic())
            took = (
                f"{len(answers):>9}{median(answers):>10.1f}{max(answers):>11.1f}"
                if answers
                else f"{'-':>9}{'-':>10}{'-':>11}"
            )
            print(f"{name:<32}{60 * steps / (time.monotonic() - began):>10.1f}{took}", flush=True)
        chat.finish()
    return 0


class _Nothing:
    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_until_it_runs(self) -> None:
        pass

    def steps_between(self, begin: float, end: float) -> int:
        return 0


class _Free(_Nothing):
    """A training that runs on; the times of its steps are kept (the system's clock is the same in all processes)."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._times: list[float] = []
        self._process = subprocess.Popen(_command(given), stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def wait_until_it_runs(self) -> None:
        while len(self._times) < 2:
            if self._process.poll() is not None:
                raise SystemExit("the training ended early")
            time.sleep(0.1)

    def steps_between(self, begin: float, end: float) -> int:
        return sum(begin < at <= end for at in self._times)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "at" in (told := json.loads(line)):
                self._times.append(told["at"])
