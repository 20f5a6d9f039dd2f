"""Settings: read once, from the environment (STUDY_TUTOR_*) and `settings.toml` in the home folder; frozen.

Order: command line, then environment, then file, then GRADIO_SERVER_NAME/PORT (host and port only), then
the defaults. A misspelt setting is an error, never silently ignored.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SHIPPED_GENERATOR = "smollm2-135m-instruct"
SHIPPED_EMBEDDER = "all-minilm-l6-v2"

SETTINGS_FILE = "settings.toml"
ENV_PREFIX = "STUDY_TUTOR_"
DEBUG_VARIABLE = "STUDY_TUTOR_DEBUG"
"""Not a setting: shows tracebacks, so it must work before the settings are read."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_GRADIO_VARIABLES = {"host": "GRADIO_SERVER_NAME", "port": "GRADIO_SERVER_PORT"}


class SettingsError(Exception):
    """A setting is unknown or has a value that can't be used. `str()` says which, why and what to do."""


class Settings(BaseSettings):
    """Everything a user may configure. Each field is also the environment variable STUDY_TUTOR_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("study-tutor", appauthor=False))
    )
    database_url: str | None = Field(None, description="PostgreSQL URL; SQLite under home when unset")
    course: Path | None = Field(None, description="folder of a course to serve instead of the built-in one")
    builtin_course: bool = Field(True, description="index the built-in course at start")
    watch: Path | None = Field(None, description="folder that `serve` keeps in the index as its files are")
    learner: str = Field("me", min_length=1, max_length=80)

    generator: str = Field(SHIPPED_GENERATOR, description="shipped name, a folder, or a hub id")
    generator_revision: str | None = None
    generator_precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    server_url: str | None = Field(None, description="an OpenAI-compatible server writes instead, if set")
    server_model: str | None = None
    server_api_key: SecretStr | None = None
    server_timeout_s: float = Field(60.0, gt=0)
    embedder: str = Field(SHIPPED_EMBEDDER, description="shipped name, a folder, or a hub id")
    reranker: str | None = Field(
        None, description="a cross-encoder that orders passages: a folder or a hub id"
    )
    threads: int | None = Field(None, ge=1, description="CPU threads for the models; all cores when unset")

    passages: int = Field(8, ge=1, le=50, description="passages retrieved for a question")
    max_question_chars: int = Field(2000, ge=50, le=20000)
    max_new_tokens: int = Field(96, ge=8, le=4096)

    host: str = "127.0.0.1"
    port: int = Field(7860, ge=0, le=65535)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only arguments and environment; never a `.env` from whatever folder one happens to be in."""
        return init_settings, env_settings

    @field_validator("home", "course", "watch")
    @classmethod
    def _full_path(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @property
    def sqlite_path(self) -> Path:
        return self.home / "study-tutor.sqlite3"

    @property
    def models_dir(self) -> Path:
        return self.home / "models"

    @property
    def uses_hub(self) -> bool:
        """Whether a setting names a model of the hub (owner/name): only then may anything be downloaded."""
        local_models = [self.embedder] if self.server_url else [self.embedder, self.generator]
        local_models += [self.reranker] if self.reranker else []
        return any(_HUB_ID.fullmatch(name) and not Path(name).exists() for name in local_models)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings once; `overrides` come from the command line and win (None = not given).

    Raises SettingsError with one line naming the setting, what is wrong with it and what to do.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    in_environment = _environment()
    home = _home(given, in_environment)
    from_file = _read_file(home / SETTINGS_FILE)
    for name in ("course", "watch"):
        if isinstance(from_file.get(name), str):
            # In the file, a relative path means "beside this file", whatever folder the program is started in.
            from_file[name] = home / Path(from_file[name]).expanduser()
    lowest = {field: os.environ[name] for field, name in _GRADIO_VARIABLES.items() if os.environ.get(name)}
    below = {name: value for name, value in {**lowest, **from_file}.items() if name not in in_environment}
    try:
        return Settings(**{**below, **given, "home": home})
    except ValidationError as error:
        raise SettingsError(_explain(error, given, in_environment, from_file, home)) from None


def _environment() -> dict[str, str]:
    """Field -> the variable that sets it. Case-insensitive, as pydantic-settings reads it; empty = unset."""
    found: dict[str, str] = {}
    for variable, value in os.environ.items():
        if not variable.upper().startswith(ENV_PREFIX) or variable.upper() == DEBUG_VARIABLE or not value:
            continue
        field = variable[len(ENV_PREFIX) :].lower()
        if field not in Settings.model_fields:
            raise SettingsError(
                f"There is no setting {variable} (set in the environment).{_suggest(field, ENV_PREFIX)}"
            )
        found[field] = variable
    return found


def _home(given: Mapping[str, Any], in_environment: Mapping[str, str]) -> Path:
    if "home" in given:
        home = Path(given["home"])
    elif "home" in in_environment:
        home = Path(os.environ[in_environment["home"]])
    else:
        home = Settings.model_fields["home"].get_default(call_default_factory=True)
    try:
        return home.expanduser().absolute()
    except RuntimeError:  # ~nobody
        raise SettingsError(f"The home folder {home} names a user that does not exist.") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise SettingsError(f"The settings file {path} can't be read: {reason}.") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The settings file {path} is not valid TOML: {error}.") from None
    for key in values:
        if key == "home":
            raise SettingsError(
                f"{path}: home can't be set in a file inside it; use --home or STUDY_TUTOR_HOME instead."
            )
        if key not in Settings.model_fields:
            raise SettingsError(f"{path}: there is no setting {key!r}.{_suggest(key)}")
    return values


def _suggest(field: str, prefix: str = "") -> str:
    close = get_close_matches(field.lower(), Settings.model_fields, n=1)
    name = f"{prefix}{close[0].upper() if prefix else close[0]}" if close else ""
    return f" Did you mean {name}?" if close else " Remove it, or see the list of settings in the README."


def _explain(
    error: ValidationError,
    given: Mapping[str, Any],
    in_environment: Mapping[str, str],
    from_file: Mapping[str, Any],
    home: Path,
) -> str:
    """One line for the first problem: where it is set, what is wrong, what would be right."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = str(first["loc"][0])
    if field in given:
        where = f"--{field.replace('_', '-')}"
    elif field in in_environment:
        where = in_environment[field]
    elif field in from_file:
        where = f"{field} in {home / SETTINGS_FILE}"
    else:
        where = _GRADIO_VARIABLES.get(field, field)
    problem = first["msg"][0].lower() + first["msg"][1:]
    return f"The setting {where} can't be used: {problem}."
