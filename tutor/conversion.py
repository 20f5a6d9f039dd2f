"""The shipped GGUF file -> a model folder that transformers, peft and the tutor's own engine read. Done once.

A model loaded straight from GGUF can be neither trained nor saved, and takes twenty seconds to load each time.
The weights stay what they are, SmolLM2-135M-Instruct *rounded to 4 bits* (Q4_1, the token table Q8_0): they are
written out as float32 so that not a bit more is lost, and so that the 4-bit groups can be found again exactly.
When to convert, and whether a converted folder is still sound, is `models.py`'s.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# GGUF's name of a weight -> transformers' name. The two differ in nothing else, except `_unpaired`.
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_CONTROL_TOKEN = 3  # GGUF's token type of what marks turns and never is text


def convert_gguf(source: Path, folder: Path) -> None:
    """Write the model in `source` to the existing, empty `folder`. Takes about six seconds.

    Raises ValueError for a file that is no GGUF of a plain Llama, OSError when the folder can't be written.
    """
    from gguf import GGUFReader

    reader = GGUFReader(source)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields.get("general.architecture") != "llama":
        raise ValueError(f"{source.name} holds a {fields.get('general.architecture')} model, not llama")
    _save_weights(reader, fields, folder)
    _save_config(fields, folder)
    save_tokenizer(fields, folder)


def _save_weights(reader: Any, fields: dict[str, Any], folder: Path) -> None:
    import numpy as np
    from gguf.quants import dequantize
    from safetensors.numpy import save_file

    heads = {
        "attn_q": fields["llama.attention.head_count"],
        "attn_k": fields["llama.attention.head_count_kv"],
    }
    tensors = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        name = tensor.name.removesuffix(".weight")
        if match := re.fullmatch(r"blk\.(\d+)\.(\w+)", name):
            number, kind = match.groups()
            if kind in heads:
                values = _unpaired(values, heads[kind])
            name = f"model.layers.{number}.{_IN_LAYER[kind]}"
        else:
            name = _OUTSIDE[name]
        tensors[f"{name}.weight"] = np.ascontiguousarray(values)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _unpaired(weight: Any, heads: int) -> Any:
    """GGUF keeps the two numbers that are turned together side by side, transformers half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _save_config(fields: dict[str, Any], folder: Path) -> None:
    from transformers import GenerationConfig, LlamaConfig

    tokens = {
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }
    config = LlamaConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=fields["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        tie_word_embeddings=True,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        **tokens,
    )
    config.save_pretrained(folder)
    GenerationConfig(**tokens).save_pretrained(folder)


def save_tokenizer(fields: dict[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    texts: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(texts)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [
            AddedToken(text, special=True, normalized=False)
            for text, kind in zip(texts, types, strict=True)
            if kind == _CONTROL_TOKEN
        ]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=texts[fields["tokenizer.ggml.bos_token_id"]],
        eos_token=texts[fields["tokenizer.ggml.eos_token_id"]],
        unk_token=texts[fields["tokenizer.ggml.unknown_token_id"]],
        pad_token=texts[fields["tokenizer.ggml.padding_token_id"]],
        model_max_length=fields["llama.context_length"],
        chat_template=fields["tokenizer.chat_template"],
    ).save_pretrained(folder)
