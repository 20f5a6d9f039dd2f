"""The base model with a LoRA adapter on it, and the adapter's folder in peft's layout.

The base is frozen and never written to. Only safetensors is read and written, nothing is looked up on any hub.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.config import FinetuneConfig
from tutor.generators.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tutor.whole_files import flush

if TYPE_CHECKING:
    import torch

    from finetune.packing import Layout

CARD = "README.md"


def quiet() -> None:
    """No telemetry and no look-ups of any hub: what is trained on is in a folder. Call it before the imports."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def load_tokenizer(base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)


def load_base(base: Path, dtype: torch.dtype, attention: str = "sdpa") -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(
        base,
        dtype=dtype,
        attn_implementation=attention,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )


def lora_config(config: FinetuneConfig) -> Any:
    from peft import LoraConfig

    targets: str | list[str] = config.targets
    if config.targets != "all-linear":
        targets = [name.strip() for name in config.targets.split(",")]
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def attach(base: Any, config: FinetuneConfig) -> Any:
    """`base` with a fresh adapter, whose weights are decided by the seed; float32 on whatever the base is in."""
    import torch
    from peft import get_peft_model

    from finetune.fused import FusedLinear

    described = lora_config(config)
    described._register_custom_module({torch.nn.Linear: FusedLinear})
    torch.manual_seed(config.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks for a name that transformers will drop
        model = get_peft_model(base, described)
    model.config.use_cache = False
    if config.gradient_checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    model.train()
    return model


def trainable(model: Any) -> dict[str, torch.Tensor]:
    """The parameters of the adapter that is trained, by name and in a fixed order."""
    named = sorted(model.named_parameters(), key=lambda pair: pair[0])
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def row_loss(model: Any, row: Layout, device: torch.device, *, bfloat16: bool) -> torch.Tensor:
    """The summed loss over the row's completion tokens. Only their positions go through the head, which costs a
    quarter of the whole otherwise."""
    import torch

    def on_device(array: Any) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        logits = model(
            input_ids=on_device(row.tokens)[None],
            position_ids=on_device(row.positions)[None],
            attention_mask=on_device(row.sees)[None, None],
            logits_to_keep=on_device(row.read),
            use_cache=False,
            **({"segments": row.segments} if device.type == "cpu" else {}),
        ).logits[0]
    return torch.nn.functional.cross_entropy(logits.float(), on_device(row.targets), reduction="sum")


def adapter_tensors(model: Any) -> dict[str, torch.Tensor]:
    """The adapter as it is saved: float32, on the processor, by peft's names."""
    import torch
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: t.detach().to("cpu", torch.float32).contiguous() for name, t in state.items()}


def write_adapter(folder: Path, model: Any, base_name: str, about: Mapping[str, Any]) -> None:
    """Write the adapter's folder, as a whole or not at all: weights, config, and a card that says what it is.

    `base_name` is how the adapter calls its base. No pickle is written. Raises OSError (disk full).
    """
    from safetensors.torch import save

    described = model.peft_config[model.active_adapter].to_dict()
    described |= {"base_model_name_or_path": base_name, "inference_mode": True, "revision": None}
    described["target_modules"] = sorted(described["target_modules"])
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write_bytes(temporary / ADAPTER_WEIGHTS, save(adapter_tensors(model), {"format": "pt"}))
        text = json.dumps(described, indent=2, sort_keys=True, default=_plain)
        write_bytes(temporary / ADAPTER_CONFIG, text.encode())
        write_bytes(temporary / CARD, card(base_name, about).encode())
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
        flush(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def card(base_name: str, about: Mapping[str, Any]) -> str:
    """The model card of a fresh adapter; once it is judged, the report's takes its place."""
    lines = [f"- {name}: {value}" for name, value in about.items()]
    return "\n".join(
        [
            "---",
            f"base_model: {json.dumps(base_name)}",
            "library_name: peft",
            "pipeline_tag: text-generation",
            "language: en",
            "tags: [lora, study-tutor]",
            "---",
            "",
            "# A LoRA adapter of study-tutor",
            "",
            "It makes the base answer a learner's question in a sentence or two, in the words of the notes that come "
            "with it, and say so where the notes are silent. It knows nothing of the subject; facts come from notes.",
            "",
            *lines,
            "",
        ]
    )


def write_bytes(file: Path, content: bytes) -> None:
    """Write through to the disk; plain file calls, so that a full disk is an OSError that says so."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
