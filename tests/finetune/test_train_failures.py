"""What goes wrong in a training: it is told in one line, and what was there before stays."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import lora
from finetune.config import FinetuneConfig
from finetune.train import Cancelled, Progress, Trained, TrainingError, train

ROOT = Path(__file__).resolve().parents[2]
CONFIG = FinetuneConfig(
    precision="float32", epochs=8, learning_rate=1e-2, rank=4, alpha=8, row_tokens=150, threads=1
)
WEIGHTS = "adapter_model.safetensors"


def contents(folder: Path) -> dict[str, str]:
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


@pytest.fixture
def run(tiny_base: Path, data: Any, tmp_path: Path) -> Callable[..., Trained]:
    def train_it(config: FinetuneConfig = CONFIG, folder: Path = tmp_path, **others: Any) -> Trained:
        return train(config, data.examples(), tiny_base, "tiny", folder, **others)

    return train_it


def stop_after(
    run: Callable[..., Trained], steps: int, config: FinetuneConfig = CONFIG, **others: Any
) -> None:
    told: list[Progress] = []
    with pytest.raises(Cancelled):
        run(config, on_progress=told.append, should_stop=lambda: len(told) == steps, **others)


def test_killed_without_warning_it_ends_where_an_undisturbed_run_ends(
    tiny_base: Path, data: Any, tmp_path: Path
) -> None:
    """A real process, a real SIGKILL in the middle, a second process that goes on."""
    config = replace(CONFIG, epochs=10, checkpoint_seconds=0.5)

    def spec(name: str) -> Path:
        file = tmp_path / f"{name}.json"
        dataset = data.snapshot(tmp_path / "datasets")
        values = {"dataset": str(dataset), "base": str(tiny_base), "base_name": "tiny"}
        file.write_text(json.dumps(values | {"folder": str(tmp_path / name), "config": config.as_json()}))
        return file

    slow = (  # as it is, only that a step takes its time
        "import sys, time, finetune.launch as l, finetune.train as t; train = t.train\n"
        "t.train = lambda *a, **k: train(*a, **k, wait_while_busy=lambda: time.sleep(0.05))\n"
        "sys.exit(l.main(sys.argv[1:]))"
    )
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    process = subprocess.Popen(
        [sys.executable, "-c", slow, str(spec("killed"))], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    started = time.monotonic()
    last = {}
    for line in process.stdout:
        last = json.loads(line)
        if (time.monotonic() - started > 5 and last["step"] > 12) or last["step"] == 35:
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    assert last["step"] < last["steps"], "it was too quick to be killed"
    assert not (tmp_path / "killed" / "adapter").exists()

    resumed = subprocess.run(
        [sys.executable, "-m", "finetune.launch", str(spec("killed"))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *_, summary = (json.loads(line) for line in resumed.stdout.splitlines())
    made = summary["trained"]
    straight = train(config, data.examples(), tiny_base, "tiny", tmp_path / "straight")
    assert 0 < made["resumed_at"] <= last["step"]
    assert made["steps"] == straight.steps
    assert [tuple(pair) for pair in made["losses"]] == list(straight.losses)
    assert (tmp_path / "killed" / "adapter" / WEIGHTS).read_bytes() == (
        straight.folder / WEIGHTS
    ).read_bytes()


def test_checkpoints_come_often_enough() -> None:
    """However long a step takes, the time at risk stays below the limit."""
    from finetune.measuring import Clock

    now = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        clock = Clock(0.0, 0.0)
        saved_at, worst = 0.0, 0.0
        for seconds in [4.0] * 40:
            if clock.due(60):
                clock.saved()
                saved_at = now
            now += seconds
            worst = max(worst, now - saved_at)
            clock.tick()
    assert 40 < worst <= 60


@pytest.mark.parametrize("harm", ["cut", "flipped", "half-written"])
def test_a_damaged_checkpoint_is_not_used(run: Callable[..., Trained], tmp_path: Path, harm: str) -> None:
    stop_after(run, 3)
    (checkpoint,) = (tmp_path / "checkpoint").glob("step-*")
    state = checkpoint / "state.safetensors"
    if harm == "cut":
        state.write_bytes(state.read_bytes()[:-10])
    elif harm == "flipped":
        raw = bytearray(state.read_bytes())
        raw[len(raw) // 2] ^= 1
        state.write_bytes(raw)
    else:
        (checkpoint / "checkpoint.json").unlink()
    made = run(replace(CONFIG, epochs=8))
    assert made.resumed_at == 0
    assert made.notes[0].startswith("The checkpoint step-000003 is damaged and was not used (")


def test_a_foreign_checkpoint_is_not_used(
    run: Callable[..., Trained], tiny_base: Path, data: Any, tmp_path: Path
) -> None:
    stop_after(run, 3)
    other = run(replace(CONFIG, learning_rate=2e-2, epochs=1))
    assert other.resumed_at == 0
    assert "other data, another base or configuration" in other.notes[0]
    fresh = tmp_path / "fresh"
    stop_after(run, 3, folder=fresh)
    fewer = train(CONFIG, data.examples()[1:], tiny_base, "tiny", fresh)
    assert fewer.resumed_at == 0
    assert "other data" in fewer.notes[0]


def test_what_does_not_change_the_weights_may_change(run: Callable[..., Trained]) -> None:
    stop_after(run, 3)
    made = run(replace(CONFIG, checkpoint_seconds=10, held_out_share=0.5))
    assert made.resumed_at == 3


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_no_number_ends_it_and_nothing_is_written_over(
    run: Callable[..., Trained], tmp_path: Path, where: str
) -> None:
    stop_after(run, 3)
    before = contents(tmp_path)
    row_loss = lora.row_loss

    def poisoned(*arguments: Any, **named: Any) -> torch.Tensor:
        loss = row_loss(*arguments, **named)
        if where == "loss":
            return loss * float("nan")
        loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora, "row_loss", poisoned)
        with pytest.raises(
            TrainingError, match=r"At step 4 of \d+ .* was no finite number; set a lower"
        ) as told:
            run()
    assert ("the loss" if where == "loss" else "a gradient") in str(told.value)
    assert contents(tmp_path) == before
    assert run().resumed_at == 3


def test_a_learning_rate_out_of_all_bounds_ends_in_a_reason_or_in_numbers(
    run: Callable[..., Trained],
) -> None:
    """No mock: with a rate near one the weights explode, and whatever comes of it is finite or told."""
    try:
        made = run(replace(CONFIG, learning_rate=0.99, clip=1e9, epochs=4))
    except TrainingError as error:
        assert "no finite number" in str(error)  # noqa: PT017
    else:
        assert all(torch.isfinite(t).all() for t in lora_tensors(made.folder))


def lora_tensors(folder: Path) -> list[torch.Tensor]:
    from safetensors.torch import load_file

    return list(load_file(folder / WEIGHTS).values())


def test_too_little_memory_is_one_line(tiny_base: Path, data: Any, tmp_path: Path) -> None:
    """A process that really may not take more: the allocator's own error, not one we made up."""
    script = (
        "import resource, sys, torch, accelerate, peft, transformers.models.llama\n"
        "from pathlib import Path\n"
        "from finetune.config import FinetuneConfig\n"
        "from finetune.snapshot import read_snapshot\n"
        "from finetune.train import TrainingError, train\n"
        "config = FinetuneConfig.from_json({'rank': 4, 'row_tokens': 2000, 'precision': 'float32', 'threads': 1})\n"
        "data = read_snapshot(Path(sys.argv[1])).train\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + (150 << 20), -1))\n"
        "try:\n"
        "    train(config, data, Path(sys.argv[2]), 'tiny', Path(sys.argv[3]))\n"
        "except TrainingError as error:\n"
        "    print(error)\n"
    )
    dataset = data.snapshot(tmp_path / "datasets", per_note=40)
    done = subprocess.run(
        [sys.executable, "-c", script, str(dataset), str(tiny_base), str(tmp_path / "job")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith(
        "Not enough memory to train; set a smaller row_tokens (now 2000) or rank (now 4)"
    ), done.stdout + done.stderr
    assert not (tmp_path / "job" / "adapter").exists()


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte, where one may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can't be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(
    run: Callable[..., Trained], small_disk: Path
) -> None:
    stop_after(run, 3, folder=small_disk / "job")
    before = contents(small_disk)
    filler = small_disk / "filler"
    fill(filler)
    with pytest.raises(TrainingError, match="The disk is full; free some space and resume"):
        run(replace(CONFIG, checkpoint_seconds=0.001), folder=small_disk / "job")
    filler.unlink()
    assert contents(small_disk) == before
    assert run(folder=small_disk / "job").resumed_at == 3


def test_an_adapter_that_does_not_fit_on_the_disk_replaces_none(
    run: Callable[..., Trained], tmp_path: Path
) -> None:
    """The limit on a file's size is the system's own; the adapter that is there is of an earlier job."""
    import resource

    old = tmp_path / "adapter"
    old.mkdir()
    (old / "kept").write_text("yes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(TrainingError, match="The disk is full"):
            run(replace(CONFIG, epochs=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert contents(tmp_path) == {"adapter/kept": hashlib.sha256(b"yes").hexdigest()}
