"""Tokens in, the model's next tokens out, with everything computed so far kept for the next call.

Two engines with one face. `LlamaEngine` is the forward pass written out for the plain Llama and Qwen2 shape, which
covers the shipped model: at 135 million parameters the bookkeeping of a general forward pass costs more time than
the arithmetic. `TransformersEngine` runs any other architecture that transformers knows. Which tokens to feed, and
what to do with the answers, is `greedy.py`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812  its usual name

from tutor.generators.linear import Int8, int8_works, make_linear
from tutor.generators.protocol import GeneratorError
from tutor.generators.weights import Adapter, Weights

_PLAIN_SHAPES = {"llama", "qwen2"}
_CANDIDATES = 16  # tokens whose scores are computed exactly after the 8-bit pass over the vocabulary


class Engine(Protocol):
    """One sequence at a time; not safe for several threads at once."""

    context: int
    precision: str
    rewinds: bool  # whether `past` may be less than what was read so far (0 always may)

    def extend(self, ids: list[int], past: int, last: int) -> list[int]:
        """Forget all but the first `past` tokens, read `ids`, and return the likeliest next token after each of
        the `last` last ones."""
        ...


def load_engine(folder: Path, config: Any, adapter: Adapter | None, precision: str) -> Engine:
    """`config` is the model's transformers configuration. Raises GeneratorError."""
    plain = (
        config.model_type in _PLAIN_SHAPES
        and getattr(config, "hidden_act", "") == "silu"
        and (config.rope_parameters or {}).get("rope_type", "default") == "default"
        and not getattr(config, "use_sliding_window", False)
    )
    if precision == "auto":
        precision = "int8" if plain and int8_works() else "float32"
    elif precision == "int8" and not plain:
        raise GeneratorError(f"int8 is not available for {config.model_type} models; set precision to auto.")
    elif precision == "int8" and not int8_works():
        raise GeneratorError("int8 needs a processor with VNNI instructions; set the precision to auto.")
    weights = Weights(folder, adapter)
    if plain:
        return LlamaEngine(weights, config, precision)
    return TransformersEngine(folder, weights, config, precision)


class _Layer:
    """One block: attention and feed-forward, with the projections that share an input in one product."""

    def __init__(self, weights: Weights, number: int, precision: str) -> None:
        at = f"model.layers.{number}."

        def joined(*names: str) -> Any:
            weight = torch.cat([weights.get(f"{at}{name}.weight") for name in names])
            biased = f"{at}{names[0]}.bias" in weights
            bias = torch.cat([weights.get(f"{at}{name}.bias") for name in names]) if biased else None
            return make_linear(weight, bias, precision)

        self.attention_norm = weights.get(f"{at}input_layernorm.weight").clone()
        self.qkv = joined("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        self.out = joined("self_attn.o_proj")
        self.feed_norm = weights.get(f"{at}post_attention_layernorm.weight").clone()
        self.gate_up = joined("mlp.gate_proj", "mlp.up_proj")
        self.down = joined("mlp.down_proj")


class LlamaEngine:
    """The forward pass of Llama and Qwen2, batch of one, greedy scores only."""

    def __init__(self, weights: Weights, config: Any, precision: str) -> None:
        self.context = int(config.max_position_embeddings)
        self.precision = precision
        self.rewinds = True
        self._heads = int(config.num_attention_heads)
        self._kv_heads = int(config.num_key_value_heads)
        self._size = int(getattr(config, "head_dim", None) or config.hidden_size // self._heads)
        self._eps = float(config.rms_norm_eps)
        theta = float((config.rope_parameters or {}).get("rope_theta", 10000.0))
        exponents = torch.arange(0, self._size, 2, dtype=torch.float32) / self._size
        self._frequencies = 1.0 / theta**exponents
        # The table stays in the mapped file: only the rows of tokens that occur are ever read.
        self._embedding = weights.get("model.embed_tokens.weight", as_stored=True)
        tied = bool(config.tie_word_embeddings) or "lm_head.weight" not in weights
        self._head_rows = self._embedding if tied else weights.get("lm_head.weight", as_stored=True)
        self._head = make_linear(self._head_rows.float(), None, "int8" if precision == "int4" else precision)
        self._norm = weights.get("model.norm.weight").clone()
        self._layers = [_Layer(weights, n, precision) for n in range(int(config.num_hidden_layers))]
        weights.finished()
        self._cache = torch.empty(0)
        self._grow(512)

    @torch.inference_mode()
    def extend(self, ids: list[int], past: int, last: int) -> list[int]:
        end = past + len(ids)
        if end > self._cache.shape[3]:
            self._grow(end)
        x = self._embedding[torch.tensor(ids)].float()
        angles = torch.outer(torch.arange(past, end, dtype=torch.float32), self._frequencies)
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        mask = self._mask(len(ids), past)
        for number, layer in enumerate(self._layers):
            normed = F.rms_norm(x, x.shape[-1:], layer.attention_norm, self._eps)
            x = x + layer.out(self._attend(layer.qkv(normed), number, past, cos, sin, mask))
            normed = F.rms_norm(x, x.shape[-1:], layer.feed_norm, self._eps)
            gate, up = layer.gate_up(normed).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate).mul_(up))
        x = F.rms_norm(x[-last:], x.shape[-1:], self._norm, self._eps)
        return self._likeliest(x)

    def _attend(
        self,
        qkv: torch.Tensor,
        number: int,
        past: int,
        cos: torch.Tensor,
        sin: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attention of the new tokens over all tokens so far, whose keys and values are kept in the cache."""
        count, kv, group = qkv.shape[0], self._kv_heads, self._heads // self._kv_heads
        heads = qkv.view(count, self._heads + 2 * kv, self._size)
        first, second = heads[:, : self._heads + kv].chunk(2, dim=-1)
        turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        cache = self._cache[number]
        cache[0, :, past : past + count] = turned[:, self._heads :].transpose(0, 1)
        cache[1, :, past : past + count] = heads[:, self._heads + kv :].transpose(0, 1)
        # The heads that share keys stand below one another, as if they were further tokens of one head.
        q = turned[:, : self._heads].view(count, kv, group, self._size).permute(1, 2, 0, 3)
        q = q.reshape(1, kv, group * count, self._size)
        keys, values = cache[:, :, : past + count].unsqueeze(1)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        y = y.view(kv, group, count, self._size).permute(2, 0, 1, 3)
        return y.reshape(count, self._heads * self._size)

    def _mask(self, count: int, past: int) -> torch.Tensor | None:
        if count == 1:
            return None
        seen = torch.ones(count, past + count, dtype=torch.bool).tril_(past)
        return seen.repeat(self._heads // self._kv_heads, 1)

    def _likeliest(self, x: torch.Tensor) -> list[int]:
        scores = self._head(x)
        if not isinstance(self._head, Int8):
            return [int(i) for i in scores.argmax(-1)]
        best = scores.topk(min(_CANDIDATES, scores.shape[-1])).indices.sort().values
        exact = torch.einsum("th,tch->tc", x, self._head_rows[best].float())
        return [int(i) for i in best.gather(1, exact.argmax(-1, keepdim=True)).flatten()]

    def _grow(self, needed: int) -> None:
        room = min(max(needed, 2 * self._cache.shape[3] if self._cache.numel() else needed), self.context)
        bigger = torch.empty(len(self._layers), 2, self._kv_heads, max(room, needed), self._size)
        if self._cache.numel():
            bigger[..., : self._cache.shape[3], :] = self._cache
        self._cache = bigger


class TransformersEngine:
    """Any causal language model of transformers, in float32 or bfloat16."""

    def __init__(self, folder: Path, weights: Weights, config: Any, precision: str) -> None:
        from transformers import AutoModelForCausalLM, DynamicCache

        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        try:
            self._model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
            ).eval()
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise GeneratorError(f"The model in {folder} can't be loaded: {reason}") from error
        weights.add_adapter_to(self._model)
        self.context = int(config.max_position_embeddings)
        self.precision = precision
        self._new_cache = lambda: DynamicCache(config=config)
        self._cache = self._new_cache()
        # Layers with a sliding window or a running state have thrown away what going back would need.
        self.rewinds = all(type(layer).__name__ == "DynamicLayer" for layer in self._cache.layers)

    @torch.inference_mode()
    def extend(self, ids: list[int], past: int, last: int) -> list[int]:
        if past == 0:
            self._cache = self._new_cache()
        elif (surplus := self._cache.get_seq_length() - past) > 0:
            self._cache.crop(-surplus)
        out = self._model(
            torch.tensor([ids]), past_key_values=self._cache, use_cache=True, logits_to_keep=last
        )
        return [int(i) for i in out.logits[0].float().argmax(-1)]
