# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serves: python -m kaas_mock. Settings: see settings.py."""

from __future__ import annotations

import logging
import signal
import socket
import sqlite3
import sys

import uvicorn

from kaas_mock.app import create_app
from kaas_mock.settings import FILE_VARIABLE, Settings, SettingsError, load


def listen(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise SettingsError(f"The service can not listen on {settings.host}, port {settings.port}: {error.strerror}. Change host or port.") from error
    return bound


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if len(sys.argv) > 1:
        print(f"usage: python -m kaas_mock (no arguments; the settings are in the file that {FILE_VARIABLE} names)", file=sys.stderr)
        return 2
    try:
        settings = load()
        bound = listen(settings)
        app = create_app(settings)
    except (SettingsError, RuntimeError) as error:
        print(f"kaas_mock: {error}", file=sys.stderr)
        return 1
    except (OSError, sqlite3.Error) as error:
        print(f"kaas_mock: the state in {settings.state_dir} can not be used: {error}. Look at the folder and its disk.", file=sys.stderr)
        return 1
    scheme = "https" if settings.tls_certificate else "http"
    host, port = bound.getsockname()[:2]
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    (settings.state_dir / "address").write_text(f"{url}\n")
    if settings.auth and scheme == "http" and not settings.loopback:
        logging.warning("tokens and kubeconfigs go over the network unencrypted; set tls_certificate and tls_key")
    logging.info("listening on %s, page %s/kaas", url, url)
    config = uvicorn.Config(
        app,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    # uvicorn stops in good order, then raises the signal anew, which would look like a crash
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    server.run(sockets=[bound])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
