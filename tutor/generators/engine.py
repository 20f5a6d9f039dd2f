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

from tutor.generators.linear import Linear, LowRank, in_4_bits, make_linear, make_scores, packed_is_quick
from tutor.generators.protocol import GeneratorError
from tutor.generators.threads import Threads
from tutor.generators.weights import Adapter, Weights

_PLAIN_SHAPES = {"llama", "qwen2"}
_MATRICES = tuple(f"self_attn.{x}_proj" for x in "qkvo") + tuple(
    f"mlp.{x}_proj" for x in ("gate", "up", "down")
)
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


def load_engine(
    folder: Path,
    config: Any,
    adapter: Adapter | None = None,
    precision: str = "auto",
    threads: int | None = None,
) -> Engine:
    """`config` is the model's transformers configuration; `precision` as the setting. Raises GeneratorError."""
    plain = (
        config.model_type in _PLAIN_SHAPES
        and getattr(config, "hidden_act", "") == "silu"
        and (config.rope_parameters or {}).get("rope_type", "default") == "default"
        and not getattr(config, "use_sliding_window", False)
    )
    weights = Weights(folder, adapter)
    if plain:
        return LlamaEngine(
            weights, config, _fitting(weights, config) if precision == "auto" else precision, threads
        )
    if precision == "int8":
        raise GeneratorError(
            f"int8 is not available for {config.model_type} models; set the precision to auto."
        )
    return TransformersEngine(folder, weights, config, "float32" if precision == "auto" else precision)


def _fitting(weights: Weights, config: Any) -> str:
    """4 bits where they lose nothing, else 8, else what every processor can."""
    if not packed_is_quick():
        return "float32"
    layers = (0, int(config.num_hidden_layers) - 1)
    sample = [f"model.layers.{n}.{kind}.weight" for n in layers for kind in _MATRICES]
    return "int4" if all(in_4_bits(weights.get(name)) for name in sample) else "int8"


class _Layer:
    """One block: attention and feed-forward, with the projections that share an input in one product."""

    def __init__(self, weights: Weights, number: int, precision: str) -> None:
        at = f"model.layers.{number}."
        self.attention_norm = weights.get(f"{at}input_layernorm.weight").clone()
        self.qkv = _joined(weights, [f"{at}self_attn.{x}_proj" for x in "qkv"], precision)
        self.out = _joined(weights, [f"{at}self_attn.o_proj"], precision)
        self.feed_norm = weights.get(f"{at}post_attention_layernorm.weight").clone()
        self.gate_up = _joined(weights, [f"{at}mlp.gate_proj", f"{at}mlp.up_proj"], precision)
        self.down = _joined(weights, [f"{at}mlp.down_proj"], precision)


def _joined(weights: Weights, names: list[str], precision: str) -> Linear:
    """One product in place of several with the same input."""
    parts = [weights.get(f"{name}.weight") for name in names]
    biased = f"{names[0]}.bias" in weights
    bias = torch.cat([weights.get(f"{name}.bias") for name in names]) if biased else None
    added = [weights.low_rank(f"{name}.weight") for name in names]
    return make_linear(torch.cat(parts), bias, _stacked(added, [len(part) for part in parts]), precision)


def _stacked(added: list[LowRank | None], rows: list[int]) -> LowRank | None:
    """The low-rank parts of several weights as those of the weights joined: each acts on its own rows only."""
    found = [(pair, sum(rows[:i])) for i, pair in enumerate(added) if pair is not None]
    if not found:
        return None
    down = torch.cat([a for (a, _), _ in found])
    up = torch.zeros(sum(rows), len(down))
    column = 0
    for (a, b), row in found:
        up[row : row + len(b), column : column + len(a)] = b
        column += len(a)
    return down, up


class LlamaEngine:
    """The forward pass of Llama and Qwen2, batch of one, greedy scores only."""

    def __init__(self, weights: Weights, config: Any, precision: str, threads: int | None = None) -> None:
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
        self._layers = []
        for number in range(int(config.num_hidden_layers)):
            self._layers.append(_Layer(weights, number, precision))
            weights.let_go()
        self._norm = weights.get("model.norm.weight").clone()
        tied = bool(config.tie_word_embeddings) or "lm_head.weight" not in weights
        table = "model.embed_tokens.weight" if tied else "lm_head.weight"
        self._scores = make_scores(weights.get(table, as_stored=True), precision)
        self._approximate = precision in ("int4", "int8")
        weights.finished()
        # Both tables stay in the mapped file: only the rows of tokens that occur are ever read.
        self._embedding = weights.get("model.embed_tokens.weight", as_stored=True)
        self._head_rows = self._embedding if tied else weights.get(table, as_stored=True)
        self._threads = Threads(threads or torch.get_num_threads(), torch.set_num_threads)
        self._cache = torch.empty(0)
        self._grow(512)

    def extend(self, ids: list[int], past: int, last: int) -> list[int]:
        found: list[int] = self._threads.run(self._forward, ids, past, last, tokens=len(ids))
        return found

    @torch.inference_mode()
    def _forward(self, ids: list[int], past: int, last: int) -> list[int]:
        end = past + len(ids)
        if end > self._cache.shape[3]:
            self._grow(end)
        x = self._embedding[torch.tensor(ids)].float()
        angles = torch.outer(torch.arange(past, end, dtype=torch.float32), self._frequencies)
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        mask = self._mask(len(ids), past)
        for number, layer in enumerate(self._layers):
            normed = self._normed(x, layer.attention_norm)
            x = x + layer.out(self._attend(layer.qkv(normed), number, past, cos, sin, mask))
            normed = self._normed(x, layer.feed_norm)
            gate, up = layer.gate_up(normed).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate).mul_(up))
        return self._likeliest(self._normed(x[-last:], self._norm))

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], weight, self._eps)

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
        scores = self._scores(x)
        if not self._approximate:
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
