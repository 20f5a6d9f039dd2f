"""Two processes go down the curve of one: `accelerate launch` on the processor, with its own process group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from finetune.config import FinetuneConfig
from finetune.train import train

ROOT = Path(__file__).resolve().parents[2]
CONFIG = FinetuneConfig(
    precision="float32",
    epochs=6,
    learning_rate=1e-2,
    rank=4,
    alpha=8,
    row_tokens=100,
    rows_per_step=3,  # not a multiple of the processes: one has more to do
    threads=1,
)


def test_two_processes_go_down_the_same_curve(tiny_base: Path, data: Any, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(
        json.dumps(
            {
                "dataset": str(data.snapshot(tmp_path / "datasets")),
                "base": str(tiny_base),
                "base_name": "tiny",
                "folder": str(tmp_path / "two"),
                "config": CONFIG.as_json(),
            }
        )
    )
    launch = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
        *(
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            "--main_process_port",
            "0",
        ),
        *("-m", "finetune.launch", str(spec)),
    ]
    environment = dict(os.environ, OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="true")
    done = subprocess.run(
        launch, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    made = told[-1]["trained"]
    assert made["processes"] == 2
    assert [entry["step"] for entry in told[:-1]] == list(range(1, made["steps"] + 1))  # one of them speaks

    alone = train(CONFIG, data.examples(), tiny_base, "tiny", tmp_path / "one")
    assert alone.processes == 1
    assert [loss for _, loss in made["losses"]] == pytest.approx([loss for _, loss in alone.losses], abs=1e-4)
    assert alone.losses[-1][1] < alone.losses[0][1] - 1
    weights = "adapter_model.safetensors"
    theirs = load_file(tmp_path / "two" / "adapter" / weights)
    assert theirs.keys() == load_file(alone.folder / weights).keys()
