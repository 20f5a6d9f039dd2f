"""Where the models come from: shipped in a package, a folder, or the hub; and what `models` and `doctor` tell.

The shipped generator is SmolLM2-135M-Instruct, dequantised from Q4_1: its weights were once rounded to 4 bits. It is
converted once, into the home folder (`shipped.py`). Nothing here imports torch until a model is loaded.

The fingerprint `weights_sha256` names the parameters that answer: the SHA-256 of the base's safetensors file (of
the files' hashes, where there are several), and with an adapter the SHA-256 over that and the adapter's two files.
It is about the weights as stored; in which precision they are computed with is told separately. Reading half a
gigabyte takes up to a second, so a hash is kept with the size and time of its file and reused while both stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retrieval.hub import HubError, hub_folder, is_hub_id
from tutor.generators.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, weight_files
from tutor.generators.protocol import Generator, GeneratorError, ModelIdentity
from tutor.settings import SHIPPED_GENERATOR, Settings
from tutor.shipped import combined, ensure_converted, file_sha256, is_sound, kept_sha256, shipped_gguf

if TYPE_CHECKING:
    from db.registry import ServedAdapter

SHIPPED_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


Source = Literal["shipped", "folder", "hub", "server"]


@dataclass(frozen=True, slots=True)
class LargerModel:
    """A model that answers better, and what it costs. Memory is what serving takes beyond the program itself."""

    hub_id: str
    parameters_b: float
    licence: str
    memory_gb: float
    download_gb: float
    note: str


def _larger(hub_id: str, parameters_b: float, table_b: float, licence: str, note: str) -> LargerModel:
    """Memory as `auto` serves it: a byte for each parameter (int8), the token table a second time in its two
    stored bytes because it is also looked up, and a fifth for keys, values and room to work."""
    memory = 1.2 * (parameters_b + 2 * table_b)
    return LargerModel(hub_id, parameters_b, licence, round(memory, 1), round(2 * parameters_b, 1), note)


LARGER_MODELS = (
    _larger("Qwen/Qwen2.5-0.5B-Instruct", 0.49, 0.14, "Apache-2.0", "fluent; the smallest step up"),
    _larger("Qwen/Qwen2.5-1.5B-Instruct", 1.54, 0.23, "Apache-2.0", "clearly better answers, slower"),
    _larger("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.71, 0.10, "Apache-2.0", "English only, slower"),
)


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model the settings name: is it there, and what is it? `detail` says what to do when it is not."""

    role: Literal["generator", "embedder"]
    name: str
    source: Source
    location: str
    present: bool
    detail: str
    weights_sha256: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the generator's weights are to be had; `location` is a file, a folder, a hub id or a URL."""

    source: Source
    name: str
    location: str
    revision: str | None = None


def resolve_generator(settings: Settings) -> ModelSource:
    """Which generator the settings mean. Loads and fetches nothing. Raises GeneratorError if it can't exist."""
    if settings.server_url:
        return ModelSource("server", settings.server_model or "", settings.server_url)
    wanted = settings.generator
    if wanted == SHIPPED_GENERATOR:
        return ModelSource("shipped", wanted, str(shipped_gguf()))
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        return ModelSource("folder", folder.resolve().name, str(folder.resolve()))
    if is_hub_id(wanted):
        return ModelSource("hub", wanted, wanted, settings.generator_revision)
    raise GeneratorError(
        f"There is no model {wanted}: it is no folder, no hub id (owner/name) and not {SHIPPED_GENERATOR}; "
        "check the setting `generator`."
    )


def model_folder(settings: Settings) -> Path:
    """A folder with the generator's config, tokenizer and safetensors weights, made or fetched where needed.

    This is what training starts from, too. Raises GeneratorError.
    """
    source = resolve_generator(settings)
    if source.source == "server":
        raise GeneratorError("A server writes; unset `server_url` to use a model of this machine.")
    if source.source == "shipped":
        return ensure_converted(settings.models_dir)
    folder = Path(source.location) if source.source == "folder" else _from_hub(source)
    if not (folder / "config.json").is_file():
        raise GeneratorError(
            f"The folder {folder} has no config.json; give a folder in transformers' layout."
        )
    weight_files(folder)
    return folder


def base_names(settings: Settings) -> tuple[str, ...]:
    """The names by which an adapter may call the base that the settings mean; the first is the one to write."""
    if settings.generator == SHIPPED_GENERATOR:
        return SHIPPED_GENERATOR, SHIPPED_HUB_ID, str(settings.models_dir / SHIPPED_GENERATOR)
    source = resolve_generator(settings)
    return source.name, source.location


def load_generator(
    settings: Settings, adapter: ServedAdapter | None = None, *, registered: Sequence[str] = ()
) -> Generator:
    """The generator the settings name, ready to write. Raises GeneratorError: one line, with what to do.

    `registered` are the names by which a server may know adapters of ours.
    """
    if settings.server_url:
        from tutor.generators.server import ServerGenerator

        key = settings.server_api_key.get_secret_value() if settings.server_api_key else None
        server = ServerGenerator(
            settings.server_url,
            settings.server_model,
            api_key=key,
            timeout_s=settings.server_timeout_s,
            adapter=adapter,
            registered=registered,
        )
        if adapter is not None:
            server.load_adapter()
        return server
    from tutor.generators.local import LocalGenerator

    folder = model_folder(settings)
    names = base_names(settings)
    if adapter is not None and adapter.base_model not in names:
        raise GeneratorError(
            f"The adapter {adapter.name} was trained on {adapter.base_model}, not on {names[0]}; "
            "serve that base or another adapter."
        )
    return LocalGenerator(
        folder,
        identity=ModelIdentity(
            base=names[0],
            adapter=adapter.name if adapter else None,
            weights_sha256=weights_sha256(folder, settings.models_dir, adapter),
        ),
        adapter=Path(adapter.path) if adapter else None,
        base_names=names,
        precision=settings.generator_precision,
        threads=settings.threads,
    )


def weights_sha256(
    folder: Path, models_dir: Path, adapter: ServedAdapter | None = None, *, fresh: bool = False
) -> str:
    """The fingerprint of these parameters (see the top of this file); `fresh` reads every byte now.

    Raises GeneratorError.
    """
    hashes = [file_sha256(file) if fresh else kept_sha256(file, models_dir) for file in weight_files(folder)]
    base = hashes[0] if len(hashes) == 1 else combined(hashes)
    return base if adapter is None else with_adapter(base, adapter)


def with_adapter(base_sha256: str, adapter: ServedAdapter) -> str:
    """The fingerprint of a base and an adapter, whose files are read now. Raises GeneratorError."""
    files = [Path(adapter.path) / name for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG)]
    try:
        hashes = [file_sha256(file) for file in files]
    except OSError as error:
        raise GeneratorError(
            f"The adapter {adapter.name} can't be read ({error.strerror}: {error.filename}); "
            "roll back to another one."
        ) from error
    if adapter.sha256 and hashes[0] != adapter.sha256:
        raise GeneratorError(f"The adapter {adapter.name} is damaged; roll back to another one.")
    return combined([base_sha256, *hashes])


def _from_hub(source: ModelSource, *, only_local: bool = False) -> Path:
    try:
        return hub_folder(source.location, revision=source.revision, only_local=only_local)
    except HubError as error:
        raise GeneratorError(
            f"The model {source.location} is not in the local hub cache and can't be fetched ({error}); "
            f"give a folder, or use {SHIPPED_GENERATOR}."
        ) from error


def describe_models(settings: Settings) -> list[ModelReport]:
    """What the settings name, without loading or fetching anything."""
    return [_describe_generator(settings), _describe_embedder(settings)]


def _describe_generator(settings: Settings) -> ModelReport:
    name = settings.generator

    def absent(source: Source, location: str, detail: str) -> ModelReport:
        return ModelReport("generator", name, source, location, False, detail, None, 0)

    try:
        found = resolve_generator(settings)
    except GeneratorError as error:
        source: Source = "shipped" if name == SHIPPED_GENERATOR else "folder"
        return absent(source, name, str(error))
    if found.source == "server":
        detail = "asked with the first question; unset `server_url` to use a model of this machine"
        return ModelReport(
            "generator", found.name or "the server's own", "server", found.location, True, detail, None, 0
        )
    if found.source == "shipped":
        folder = settings.models_dir / SHIPPED_GENERATOR
        if not is_sound(folder, Path(found.location)):
            size = Path(found.location).stat().st_size
            detail = "installed; converted with the first question (about 10 s, once)"
            return ModelReport("generator", name, "shipped", found.location, True, detail, None, size)
        return _present("generator", name, "shipped", folder, settings, "dequantised Q4_1, converted, sound")
    try:
        folder = Path(found.location) if found.source == "folder" else _from_hub(found, only_local=True)
        if not (folder / "config.json").is_file():
            return absent(
                found.source, str(folder), "no config.json there; give a folder in transformers' layout"
            )
        return _present("generator", name, found.source, folder, settings, "ready")
    except GeneratorError as error:
        detail = (
            str(error)
            if found.source == "folder"
            else "not in the local hub cache; fetched with the first use"
        )
        return absent(found.source, found.location, detail)


def _describe_embedder(settings: Settings) -> ModelReport:
    from retrieval.embedder import SHIPPED, EmbedderError, load_embedder

    name = settings.embedder
    source: Source = "shipped" if name in SHIPPED else "folder" if Path(name).expanduser().is_dir() else "hub"
    try:
        if source == "hub":
            folder = _from_hub(ModelSource("hub", name, name), only_local=True)
        else:
            folder = load_embedder(name).folder
        return _present("embedder", name, source, folder, settings, "ready")
    except EmbedderError as error:
        detail = str(error)
    except GeneratorError:
        detail = "not in the local hub cache; fetched with the first use"
    return ModelReport("embedder", name, source, name, False, detail, None, 0)


def _present(
    role: Literal["generator", "embedder"],
    name: str,
    source: Source,
    folder: Path,
    settings: Settings,
    detail: str,
) -> ModelReport:
    sha256 = weights_sha256(folder, settings.models_dir)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return ModelReport(role, name, source, str(folder), True, detail, sha256, size)
