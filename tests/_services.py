# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers on loopback that answer well and badly, for what probes services: HTTP, TLS, TCP, a proxy. Each answers by its path."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import ipaddress
import pathlib
import socket
import socketserver
import ssl
import threading
import time
import typing as t
import warnings

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
BODY = b"<h1>All is well</h1>\n"
SLOW = 1.5
USER, PASSWORD, TOKEN = "prober", "a-password-0461", "a-token-0462"


class Page(http.server.BaseHTTPRequestHandler):
    """Answers by its path: C(/down) leads to plain HTTP, C(/away) to a closed port, C(/drip) never ends."""

    protocol_version = "HTTP/1.1"
    plain = ""
    closed = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/slow":
            time.sleep(SLOW)
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        wanted = {"/login": basic, "/token": f"Bearer {TOKEN}"}.get(path)
        if wanted and self.headers["Authorization"] != wanted:
            self.reply(401, b"who are you\n")
        elif path in ("/moved", "/down", "/away"):
            self.reply(302, b"", Location={"/moved": "/", "/down": self.plain, "/away": self.closed}[path])
        elif path == "/error":
            self.reply(500, b"sorry\n")
        elif path == "/wrong":
            self.reply(200, b"This domain is for sale\n")
        elif path == "/drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _byte in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.1)
            self.close_connection = True
        else:
            self.reply(200, BODY)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.reply(201 if body == b'{"a": 1}' and self.headers["X-Probe"] == "yes" else 400, b"made\n")

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


class Quiet(socketserver.BaseServer):
    """With TLS, when it has a context."""

    context: ssl.SSLContext | None = None

    def finish_request(self, request: t.Any, client_address: t.Any) -> None:
        # the handshake in the connection's own thread, so that one that fails holds up no other
        if self.context:
            request.settimeout(5)
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class HttpServer(Quiet, http.server.ThreadingHTTPServer):
    daemon_threads = True


class HttpServer6(HttpServer):
    address_family = socket.AF_INET6


class LineServer(Quiet, socketserver.ThreadingTCPServer):
    daemon_threads = True


class Proxy(http.server.BaseHTTPRequestHandler):
    """Knows one name that no DNS server knows."""

    def do_GET(self) -> None:
        known = self.path.startswith("http://only-the-proxy-knows.invalid/")
        self.send_response(200 if known else 502)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


class Lines(socketserver.BaseRequestHandler):
    """Greets, and answers PING."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.settimeout(5)
            self.request.sendall(b"220 mail.example ready\r\n")
            if b"PING" in self.request.recv(100):
                self.request.sendall(b"+PONG\r\n")


class Silent(socketserver.BaseRequestHandler):
    """Takes connections, and says nothing."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.settimeout(20)
            self.request.recv(1)
            self.request.recv(1)


class Authority:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the test")])
        self.certificate = self._build(self.name, self.name, self.key.public_key(), self.key, 365, x509.BasicConstraints(ca=True, path_length=None))

    @staticmethod
    def _build(subject: x509.Name, issuer: x509.Name, public: t.Any, key: t.Any, days: float, *extensions: x509.ExtensionType) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=400)).not_valid_after(now + datetime.timedelta(days=days))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def context(self, name: str, *, days: float = 365, names: t.Sequence[str] = ("127.0.0.1",), signed: bool = True) -> ssl.SSLContext:
        """A server's, with a certificate for these names that ends in so many days; not signed: by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        entries = [x509.IPAddress(ipaddress.ip_address(entry)) if entry[0].isdigit() else x509.DNSName(entry) for entry in names]
        certificate = self._build(
            subject, self.name if signed else subject, key.public_key(), self.key if signed else key, days, x509.SubjectAlternativeName(entries)
        )
        file = self.folder / f"{name}.pem"
        file.touch(mode=0o600)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def old(self) -> ssl.SSLContext:
        """Nothing newer than TLS 1.1, which OpenSSL only does when it is told that security does not matter."""
        context = self.context("old")
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        return context


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Servers:
    """Those that a test asks for, until it ends."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def _serve(self, server: t.Any, context: ssl.SSLContext | None) -> int:
        server.context = context
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        self.stack.callback(server.server_close)
        self.stack.callback(server.shutdown)
        return server.server_address[1]

    def http(self, context: ssl.SSLContext | None = None, handler: type = Page) -> str:
        port = self._serve(HttpServer((HOST, 0), handler), context)
        return f"{'https' if context else 'http'}://{HOST}:{port}"

    def http6(self) -> str:
        return f"http://[::1]:{self._serve(HttpServer6(('::1', 0), Page), None)}"

    def tcp(self, handler: type = Lines, context: ssl.SSLContext | None = None) -> str:
        return f"{HOST}:{self._serve(LineServer((HOST, 0), handler), context)}"
