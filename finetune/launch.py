"""Training alone, described by a file, so that `accelerate launch` can start it on several processes or GPUs:

    accelerate launch --multi_gpu --num_processes 2 -m finetune.launch spec.json

(Without GPUs, set ACCELERATE_USE_CPU=true: accelerate's own --cpu starts one process only. torchrun works as well.)
The file: {"dataset": folder of a snapshot, "base": folder, "base_name": "...", "folder": to write in, "config": {...}}.
The main process tells its progress in JSON lines on stdout. SIGTERM and Ctrl-C end it behind a checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from finetune.config import FinetuneConfig
from finetune.outcomes import Cancelled, Progress, TrainingError
from tutor import failures
from tutor.wire import InputError, to_line


def main(arguments: list[str]) -> int:
    """Train what the file says; the exit code."""
    if len(arguments) != 1:
        print("usage: python -m finetune.launch spec.json", file=sys.stderr)
        return failures.BAD_INPUT
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    first = os.environ.get("RANK", "0") == "0"

    def tell(progress: Progress) -> None:
        print(to_line(asdict(progress)), flush=True)

    try:
        spec = json.loads(Path(arguments[0]).read_text("utf-8"))
        from finetune.snapshot import SnapshotError, read_snapshot
        from finetune.train import train

        try:
            data = read_snapshot(Path(spec["dataset"]))
            trained = train(
                FinetuneConfig.from_json(spec.get("config", {})),
                data.train,
                Path(spec["base"]),
                spec["base_name"],
                Path(spec["folder"]),
                on_progress=tell,
                should_stop=stop.is_set,
                preferences=data.preferences,
            )
        except SnapshotError as error:
            raise InputError(str(error)) from None
    except Cancelled as error:
        print(error, file=sys.stderr)
        return failures.INTERRUPTED
    except TrainingError as error:
        print(error, file=sys.stderr)
        return failures.FAILED
    except (InputError, OSError, ValueError, KeyError) as error:
        print(f"{arguments[0]} can't be used: {error}", file=sys.stderr)
        return failures.BAD_INPUT
    if first:
        print(to_line({"trained": asdict(trained) | {"folder": str(trained.folder)}}), flush=True)
    return failures.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
