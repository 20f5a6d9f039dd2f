"""`serve`: the web app. What may stop it is found out first: policy, another server, a busy port."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from tutor import failures
from tutor.commands.common import Run, command, opened_services
from tutor.failures import BusyError, RefusedError


def register(app: typer.Typer) -> None:
    """Add this file's command to `app`."""
    command(app, "serve")(serve)


def serve(
    run: Run,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.", show_default=False)
    ] = None,
) -> int:
    """Start the web app (http://127.0.0.1:7860 unless configured)."""
    settings = run.load(host=host, port=port)
    require_loopback(settings.host)
    from tutor.services import ensure_home

    ensure_home(settings)
    with home_lock(settings.home, settings.port):
        require_free_port(settings.host, settings.port)
        from tutor.app import serve as serve_app

        with opened_services(run) as services:
            serve_app(services, settings.host, settings.port)
    return failures.DONE


def require_loopback(host: str) -> None:
    """Raise RefusedError for an address that others can reach: nobody is asked for a password yet."""
    if is_loopback(host):
        return
    raise RefusedError(
        f"refused to listen on {host or 'all addresses'}: there is no login yet, so anyone who can reach this "
        "machine could read and change everything; keep 127.0.0.1 and use an SSH tunnel "
        "(ssh -L 7860:127.0.0.1:7860 HOST) or a reverse proxy with a login"
    )


def is_loopback(host: str) -> bool:
    """Whether every address that `host` stands for is this machine alone."""
    try:
        found = socket.getaddrinfo(host, None) if host else []
        return bool(found) and all(ipaddress.ip_address(info[4][0]).is_loopback for info in found)
    except (OSError, ValueError, UnicodeError):
        return False


def require_free_port(host: str, port: int) -> None:
    """Raise BusyError if something listens on `port`; 0 is always free."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        if os.name == "posix":  # as the server does it: a port in TIME_WAIT is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError:
            raise RefusedError(
                f"this system does not allow listening on port {port}; choose one above 1023 with --port"
            ) from None
        except OSError:
            raise BusyError(
                f"port {port} on {host} is in use; stop the program that uses it or choose another with --port"
            ) from None


@contextmanager
def home_lock(home: Path, port: int) -> Iterator[None]:
    """Hold the home folder for one server; the lock ends with the process, however it ends.

    Raises BusyError naming the process that holds it.
    """
    from filelock import FileLock, Timeout

    holder = home / "serve.json"
    lock = FileLock(home / "serve.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"the home folder {home} is already served by {_describe(holder)}; stop it, or use another --home"
        ) from None
    try:
        holder.write_text(json.dumps({"pid": os.getpid(), "port": port}), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _describe(holder: Path) -> str:
    try:
        known = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {known['pid']} on port {known['port']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
