# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
import urllib.parse

import pytest
from ansible_collections.scs.observer.plugins.module_utils._certificates import AuthoritySpec, CertificateSpec, provide
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError
from ansible_collections.scs.observer.plugins.module_utils._promql import QueryError
from ansible_collections.scs.observer.plugins.module_utils._promql_backends import Access, ServiceBackend, UrlBackend

GOOD = {"status": "success", "data": {"resultType": "vector", "result": []}}


class Server(http.server.ThreadingHTTPServer):
    """Answers with (status, headers, text) and keeps what was asked."""

    daemon_threads = True

    def __init__(self, context=None):
        self.answer, self.asked = (200, {}, json.dumps(GOOD)), []
        super().__init__(("127.0.0.1", 0), Handler)
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _sep, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        fields = dict(urllib.parse.parse_qsl(body or query))
        self.server.asked.append((self.command, path, fields, self.headers.get("Authorization")))
        status, headers, text = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET

    def log_message(self, format, *args):
        pass


@pytest.fixture(name="server")
def fixture_server():
    server = Server()
    yield server
    server.stop()


def ask(url, query="up", **access):
    with UrlBackend(url, Access(**access), timeout=5) as backend:
        return backend.query(query)


def test_query_goes_to_the_api_below_the_url(server):
    assert ask(f"{server.url}/prefix/", 'up{a="b&c"}') == GOOD
    assert server.asked == [("GET", "/prefix/api/v1/query", {"query": 'up{a="b&c"}', "timeout": "5s"}, None)]


def test_long_queries_are_posted(server):
    query = " or ".join(["up"] * 1000)
    assert ask(server.url, query) == GOOD
    assert server.asked[0][:3] == ("POST", "/api/v1/query", {"query": query, "timeout": "5s"})


def test_other_questions(server):
    with UrlBackend(server.url, Access(), timeout=5) as backend:
        backend.query("up", time=5)
        backend.query_range("up", start=1, end=2.5, step=0.5)
        backend.label_values("job", 'up{a="b"}', start=1, end=2)
        backend.label_values("a/b")
        backend.label_names()
        backend.series("up")
        backend.query_range("x" * 3000, start=1, end=2, step=1)
        backend.series("x" * 3000)
        backend.label_values("job", "x" * 3000)
    window = {"start": "1.000", "end": "2.500", "step": "0.500"}
    assert [entry[:3] for entry in server.asked[:6]] == [
        ("GET", "/api/v1/query", {"query": "up", "timeout": "5s", "time": "5.000"}),
        ("GET", "/api/v1/query_range", {"query": "up", "timeout": "5s", **window}),
        ("GET", "/api/v1/label/job/values", {"match[]": 'up{a="b"}', "start": "1.000", "end": "2.000"}),
        ("GET", "/api/v1/label/a%2Fb/values", {}),
        ("GET", "/api/v1/labels", {}),
        ("GET", "/api/v1/series", {"match[]": "up"}),
    ]
    # what Prometheus takes by POST
    assert [entry[0] for entry in server.asked[6:]] == ["POST", "POST", "GET"]


def test_login_by_token_or_user(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    ask(server.url, token="secret-token")
    ask(server.url, username="üser", password="pass")
    ask(server.url)
    assert [entry[3] for entry in server.asked] == ["Bearer secret-token", "Basic " + base64.b64encode("üser:pass".encode()).decode(), None]


@pytest.mark.parametrize(
    ("answer", "message", "again"),
    [
        ((401, {}, "no"), "does not let us in (401). Check url_token", False),
        ((403, {}, "no"), "does not let us in (403)", False),
        ((302, {"Location": "https://login.example.com/x?secret=1"}, ""), "redirects to https://login.example.com/x (302). Give the address behind it.", False),
        ((404, {}, "<html>"), "answered with 404, and not as the Prometheus API does", False),
        ((200, {}, "<html>"), "answered with 200, and not as", False),
        ((503, {}, "not ready"), "answered with 503, and not as", True),
        ((429, {}, ""), "answered with 429", True),
    ],
)
def test_other_answers_are_told(server, answer, message, again):
    server.answer = answer
    with pytest.raises(QueryError) as caught:
        ask(server.url)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.again is again
    assert len(server.asked) == 1


def test_errors_of_the_api_are_passed_on(server):
    server.answer = (400, {}, json.dumps({"status": "error", "errorType": "bad_data", "error": "parse error"}))
    assert ask(server.url, "up{")["errorType"] == "bad_data"


def test_unreachable_server_may_come_back():
    with pytest.raises(
        QueryError, match=r"http://127\.0\.0\.1:1 can not be reached \(Failed to establish a new connection: .*refused\)\. Check the address"
    ) as caught:
        ask("http://127.0.0.1:1")
    assert caught.value.again
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "thanos:9090", "ftp://x", "http://", "http://user:secret@x", "http://x/?secret=1", "http://x#secret", "http://x:0", "http://a b"]
)
def test_malformed_url_is_refused_without_an_echo(url):
    with pytest.raises(ObserverError, match="url is malformed") as caught:
        ask(url)
    assert "secret" not in str(caught.value)


@pytest.fixture(name="trust", scope="module")
def fixture_trust():
    server = CertificateSpec("server", "inside", "thanos", ip_addresses=("127.0.0.1",), usages=("server",))
    client = CertificateSpec("client", "inside", "ansible", usages=("client",))
    return provide([AuthoritySpec("inside"), AuthoritySpec("other")], [server, client])


@pytest.fixture(name="tls_server")
def fixture_tls_server(trust, tmp_path):
    own = trust.certificates["server"]
    (tmp_path / "crt").write_text(own["certificate"])
    (tmp_path / "key").write_text(own["private_key"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=own["authority_certificate"])
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(context)
    yield server
    server.stop()


def test_tls_with_both_sides_verified(trust, tls_server, tmp_path, monkeypatch):
    other = tmp_path / "other.crt"
    other.write_text(trust.authorities["other"]["certificate"])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = trust.certificates["client"]
    access = Access(ca_certificate=own["authority_certificate"], client_certificate=own["certificate"], client_key=own["private_key"])
    with UrlBackend(tls_server.url, access) as backend:
        assert backend.query("up") == GOOD
        (key,) = tmp_path.glob("scs-observer-*/tls.key")
        assert key.stat().st_mode & 0o077 == 0
        assert key.parent.stat().st_mode & 0o077 == 0
    assert not list(tmp_path.glob("scs-observer-*"))
    assert "PRIVATE" not in repr(access)


@pytest.mark.parametrize("case", ["unknown authority", "system's authorities", "no client certificate"])
def test_tls_failures_are_told_at_once(trust, tls_server, case):
    own = trust.certificates["client"]
    authority = {"unknown authority": trust.authorities["other"]["certificate"], "system's authorities": ""}.get(case, own["authority_certificate"])
    client = {} if case == "no client certificate" else {"client_certificate": own["certificate"], "client_key": own["private_key"]}
    with pytest.raises(QueryError) as caught:
        ask(tls_server.url, ca_certificate=authority, **client)
    assert not caught.value.again, caught.value
    assert "the TLS connection failed" in str(caught.value)


def test_broken_pem_is_named(trust):
    own, other = trust.certificates["client"], trust.authorities["other"]
    with pytest.raises(ObserverError, match="url_ca_certificate can not be read as PEM"):
        ask("https://127.0.0.1:1", ca_certificate="no pem")
    for certificate, key in (("no pem", own["private_key"]), (own["certificate"], "no pem"), (own["certificate"], other["private_key"])):
        with pytest.raises(ObserverError, match="do not belong together") as caught:
            ask("https://127.0.0.1:1", client_certificate=certificate, client_key=key)
        assert "PRIVATE" not in str(caught.value)


class KubernetesClient:
    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def request(self, method, path, **options):
        self.asked.append((method, path, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_service_is_asked_through_the_api_server():
    client = KubernetesClient(GOOD)
    assert ServiceBackend(client, "observer", "thanos-query", "9090", timeout=7).query("up") == GOOD
    path = "/api/v1/namespaces/observer/services/thanos-query%3A9090/proxy/api/v1/query"
    assert client.asked == [("GET", path, {"query": {"query": "up", "timeout": "7s"}})]
    ServiceBackend(client, "observer", "prometheus", "web", scheme="https").query("up")
    assert client.asked[1][1] == "/api/v1/namespaces/observer/services/https%3Aprometheus%3Aweb/proxy/api/v1/query"


def test_error_of_the_server_behind_the_proxy_is_its_own():
    text = json.dumps({"status": "error", "errorType": "bad_data", "error": "parse error"})
    client = KubernetesClient(ApiError("GET failed (400)", status=400, detail=text))
    assert ServiceBackend(client, "observer", "thanos-query", "9090").query("up{")["errorType"] == "bad_data"


@pytest.mark.parametrize(
    ("status", "reason", "again"),
    [(0, "Unreachable", True), (0, "Tls", False), (503, "ServiceUnavailable", True), (403, "Forbidden", False), (404, "NotFound", False), (401, "", False)],
)
def test_errors_of_the_api_server(status, reason, again):
    client = KubernetesClient(ApiError("what the API server says", status=status, reason=reason, detail="text"))
    with pytest.raises(QueryError, match=r"^service observer/thanos-query:9090: what the API server says") as caught:
        ServiceBackend(client, "observer", "thanos-query", "9090").query("up")
    assert caught.value.again is again
