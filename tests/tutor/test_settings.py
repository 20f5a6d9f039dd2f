"""Settings: who wins, and what a mistake says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tutor.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("STUDY_TUTOR_", "GRADIO_SERVER_")):
            monkeypatch.delenv(name)


def write(home: Path, text: str) -> None:
    (home / "settings.toml").write_text(text, encoding="utf-8")


def test_command_line_wins_over_environment_over_file_over_gradio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(home=tmp_path).port == 7860
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7001")
    assert load_settings(home=tmp_path).port == 7001
    write(tmp_path, "port = 7002\nlearner = 'file'")
    assert load_settings(home=tmp_path).port == 7002
    monkeypatch.setenv("STUDY_TUTOR_PORT", "7003")
    assert load_settings(home=tmp_path).port == 7003
    assert load_settings(home=tmp_path, port=7004).port == 7004
    assert load_settings(home=tmp_path, port=None).learner == "file"


def test_home_comes_from_the_environment_and_its_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "course = 'mine'\npassages = 3")
    monkeypatch.setenv("STUDY_TUTOR_HOME", str(tmp_path))
    monkeypatch.setenv("STUDY_TUTOR_DATABASE_URL", "")  # empty means unset
    settings = load_settings()
    assert (settings.home, settings.passages, settings.database_url) == (tmp_path, 3, None)
    assert settings.course == tmp_path / "mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "there is no setting 'prot'. Did you mean port?"),
        ("home = '/x'", "home can't be set in a file inside it"),
        ("port = 'high'", "port in"),
        ("port = 70000", "less than or equal to 65535"),
        ("port = ", "not valid TOML"),
        ("[server]\nurl = 'x'", "there is no setting 'server'"),
        ("generator_precision = 'int4'", "'int8'"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path)
    message = str(caught.value)
    assert says in message
    assert "settings.toml" in message
    assert "\n" not in message


def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_TUTOR_PORTT", "1")
    with pytest.raises(SettingsError, match=r"STUDY_TUTOR_PORTT .*STUDY_TUTOR_PORT\?"):
        load_settings(home=tmp_path)
    monkeypatch.delenv("STUDY_TUTOR_PORTT")
    monkeypatch.setenv("STUDY_TUTOR_SERVER_TIMEOUT_S", "-1")
    with pytest.raises(SettingsError, match="STUDY_TUTOR_SERVER_TIMEOUT_S can't be used"):
        load_settings(home=tmp_path)
    monkeypatch.setenv("STUDY_TUTOR_SERVER_TIMEOUT_S", "5")
    monkeypatch.setenv("STUDY_TUTOR_DEBUG", "1")  # not a setting, and allowed
    assert load_settings(home=tmp_path).server_timeout_s == 5


def test_a_key_never_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "server_api_key = 12345")
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path)
    assert "12345" not in str(caught.value)
    monkeypatch.setenv("STUDY_TUTOR_SERVER_API_KEY", "sk-secret")
    assert "sk-secret" not in repr(load_settings(home=tmp_path))


def test_only_a_hub_id_may_go_online(tmp_path: Path) -> None:
    assert not load_settings(home=tmp_path).uses_hub
    assert not load_settings(home=tmp_path, generator=str(tmp_path)).uses_hub
    assert load_settings(home=tmp_path, generator="someone/some-model").uses_hub
    assert not load_settings(home=tmp_path, generator="a/b", server_url="http://127.0.0.1:1").uses_hub
