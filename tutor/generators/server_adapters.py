"""How a server of the OpenAI protocol is brought to write with an adapter, where it can.

vLLM loads one from a folder that it can read, when it is asked to, and is then addressed by the adapter's name.
llama.cpp knows those it was started with, and each request says how much of each it wants. Other servers can't.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from db.registry import ServedAdapter

CANT = (
    "it neither loads adapters (vLLM: --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True) nor was started with "
    "one of this name (llama.cpp: --lora {name}.gguf)"
)


async def take(client: Any, base_url: str, adapter: ServedAdapter) -> dict[str, Any] | str:
    """What a request must say to get this adapter, once the server has it; or why it can't have it."""
    import openai

    # With a part of its hash: a server that outlived a home must not answer with another one's v1.
    known_as = f"{adapter.name}-{adapter.sha256[:8]}" if adapter.sha256 else adapter.name
    body = {"lora_name": known_as, "lora_path": str(Path(adapter.path).absolute())}
    try:
        await client.post("/load_lora_adapter", body=body, cast_to=str)
    except openai.APIStatusError as error:
        if error.status_code in (404, 405, 501):
            return await _of_llama(client, base_url, adapter.name)
        if known_as not in [str(model.id) for model in (await client.models.list()).data]:
            return f"it refused to load it (status {error.status_code}); can it read {adapter.path}?"
    return {"model": known_as}


async def without(client: Any, base_url: str, names: Collection[str]) -> dict[str, Any]:
    """What a request must say so that none of these is used."""
    listed = await _listed(client, base_url)
    if not any(_name(one) in names for one in listed):
        return {}
    scales = [{"id": one["id"], "scale": 0.0 if _name(one) in names else one["scale"]} for one in listed]
    return {"extra_body": {"lora": scales}}


async def _of_llama(client: Any, base_url: str, name: str) -> dict[str, Any] | str:
    ids = [one["id"] for one in await _listed(client, base_url) if _name(one) == name]
    if not ids:
        return CANT.format(name=name)
    return {"extra_body": {"lora": [{"id": ids[0], "scale": 1.0}]}}  # those not named are off


async def _listed(client: Any, base_url: str) -> list[dict[str, Any]]:
    """The adapters that a llama.cpp server was started with; nothing from another server."""
    import openai

    try:
        found = await client.get(f"{base_url.rstrip('/').removesuffix('/v1')}/lora-adapters", cast_to=object)
    except openai.APIStatusError:
        return []
    listed = found if isinstance(found, list) else []
    return [one for one in listed if isinstance(one, dict) and {"id", "path", "scale"} <= set(one)]


def _name(one: dict[str, Any]) -> str:
    return PurePath(str(one["path"]).replace("\\", "/")).stem
