# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from ansible_collections.scs.observer.plugins.module_utils import _registry

SOURCE = pathlib.Path(__file__).parents[4] / "roles" / "observer" / "files" / "kaas_metric_importer.py"


def load():
    spec = importlib.util.spec_from_file_location("kaas_metric_importer", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


importer = load()


def values(text: str) -> dict[str, str]:
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_same_rules_as_the_module_that_writes_the_registry():
    assert importer.RESERVED_LABELS == _registry.RESERVED_LABELS
    assert importer.ROLES == _registry.ROLES
    assert importer.CLUSTER_NAME.pattern == _registry.CLUSTER_NAME.pattern
    assert importer.LABEL_NAME.pattern == _registry.LABEL_NAME.pattern


def test_needs_nothing_but_the_standard_library():
    imported = {line.split()[1].partition(".")[0] for line in SOURCE.read_text().splitlines() if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names


def test_metrics_of_bare_keys_and_full_entries():
    state = importer.State(clock=lambda: 1234.5, grace=90)
    labels = {"tier": "gold", "name": "Production"}
    fields = {"api_url": "https://10.0.0.1:6443", "maintenance": True, "agent_certificate_not_after": "2027-01-02T03:04:05Z", "manager": "ansible"}
    state.read({"full": json.dumps({"role": "infrastructure", "labels": labels, "description": "d"} | fields), "bare": "", "foreign": "text"})

    assert state.metrics() == (
        "# HELP kaas The cluster is registered, it ought to report.\n"
        "# TYPE kaas gauge\n"
        'kaas{cluster="bare"} 1\n'
        'kaas{cluster="foreign"} 1\n'
        'kaas{cluster="full"} 1\n'
        "# HELP kaas_info What the registry says about the cluster.\n"
        "# TYPE kaas_info gauge\n"
        'kaas_info{cluster="full",role="infrastructure",name="Production",tier="gold"} 1\n'
        "# HELP kaas_maintenance The cluster is in maintenance, its silence is no failure.\n"
        "# TYPE kaas_maintenance gauge\n"
        'kaas_maintenance{cluster="full"} 1\n'
        "# HELP kaas_agent_certificate_not_after_timestamp_seconds When the certificate of the cluster's agent ends.\n"
        "# TYPE kaas_agent_certificate_not_after_timestamp_seconds gauge\n"
        'kaas_agent_certificate_not_after_timestamp_seconds{cluster="full"} 1798859045\n'
        "# HELP kaas_registration_grace_seconds How long a newly registered cluster may take to report.\n"
        "# TYPE kaas_registration_grace_seconds gauge\n"
        "kaas_registration_grace_seconds 90\n"
        "# HELP kaas_registry_present The registry exists; if not, the last known clusters are shown.\n"
        "# TYPE kaas_registry_present gauge\n"
        "kaas_registry_present 1\n"
        "# HELP kaas_registry_last_sync_timestamp_seconds When the registry was last known to be as shown.\n"
        "# TYPE kaas_registry_last_sync_timestamp_seconds gauge\n"
        "kaas_registry_last_sync_timestamp_seconds 1234.5\n"
        "# HELP kaas_registry_entries Registered clusters that are shown.\n"
        "# TYPE kaas_registry_entries gauge\n"
        "kaas_registry_entries 3\n"
        "# HELP kaas_registry_invalid_entries Registry entries that can't be shown, or not wholly.\n"
        "# TYPE kaas_registry_invalid_entries gauge\n"
        "kaas_registry_invalid_entries 0\n"
        "# HELP kaas_registry_watch_errors_total Failed attempts to list or watch the registry.\n"
        "# TYPE kaas_registry_watch_errors_total counter\n"
        "kaas_registry_watch_errors_total 0\n"
    )


def test_name_is_the_id_when_no_display_name_is_given():
    state = importer.State()
    state.read({"a": '{"role":"kaas"}'})
    assert 'kaas_info{cluster="a",role="kaas",name="a"} 1\n' in state.metrics()


@pytest.mark.parametrize("key", ["Upper", "under_score", "a.b", "-a", "a-", "x" * 64, "..data"])
def test_invalid_keys_are_counted_but_not_shown(key):
    state = importer.State()
    state.read({key: "", "good": ""})
    shown = values(state.metrics())
    assert shown["kaas_registry_entries"] == "1"
    assert shown["kaas_registry_invalid_entries"] == "1"
    assert f'kaas{{cluster="{key}"}}' not in shown


@pytest.mark.parametrize(
    ("fields", "info"),
    [
        ({"role": "other"}, 'role="kaas",name="a"'),
        ({"role": {}}, 'role="kaas",name="a"'),
        ({"labels": []}, 'role="kaas",name="a"'),
        ({"labels": {"cluster": "b", "tier": "gold"}}, 'role="kaas",name="a",tier="gold"'),
        ({"labels": {"__x": "b", "a-b": "c", "n": 1, "": "d", "receive_replica": "e"}}, 'role="kaas",name="a"'),
    ],
)
def test_what_can_not_be_a_label_is_left_out_and_counted(fields, info):
    state = importer.State()
    state.read({"a": json.dumps(fields)})
    text = state.metrics()
    assert f'kaas_info{{cluster="a",{info}}} 1\n' in text
    assert values(text)["kaas_registry_invalid_entries"] == "1"
    assert 'kaas{cluster="a"} 1\n' in text


@pytest.mark.parametrize("url", ["https://10.0.0.1:6443", "https://api.a.example", "https://[fd00::1]:6443", "https://a-b.example:443/"])
def test_api_servers_are_listed_for_the_probe(url):
    state = importer.State()
    state.read({"a": json.dumps({"api_url": url}), "b": "", "c": '{"api_url": ""}'})
    assert json.loads(state.api_targets()) == [{"targets": [f"{url.rstrip('/')}/livez"], "labels": {"kaas_cluster": "a"}}]
    assert values(state.metrics())["kaas_registry_invalid_entries"] == "0"


@pytest.mark.parametrize(
    "url",
    [
        *("http://10.0.0.1:6443", "https://user:password@a.example", "https://a.example/path", "https://a.example?x=y", "https://", "a.example:6443"),
        *("https://a.example#x", "https://a b.example", "https://a.example\n", 5, ["https://a.example"], {"url": "https://a.example"}),
    ],
)
def test_any_other_address_is_not_probed_and_counted(url):
    state = importer.State()
    state.read({"a": json.dumps({"api_url": url})})
    assert json.loads(state.api_targets()) == []
    assert values(state.metrics())["kaas_registry_invalid_entries"] == "1"
    assert 'kaas{cluster="a"} 1\n' in state.metrics()


@pytest.mark.parametrize("value", [False, None])
def test_no_maintenance(value):
    state = importer.State()
    state.read({"a": json.dumps({} if value is None else {"maintenance": value})})
    assert "kaas_maintenance" not in state.metrics()
    assert values(state.metrics())["kaas_registry_invalid_entries"] == "0"


@pytest.mark.parametrize(
    "fields",
    [
        *({"maintenance": "yes"}, {"maintenance": 1}, {"maintenance": None}),
        *({"agent_certificate_not_after": "soon"}, {"agent_certificate_not_after": 5}, {"agent_certificate_not_after": "9999-99-99T00:00:00Z"}),
    ],
)
def test_a_field_that_can_not_be_used_is_left_out_and_counted(fields):
    state = importer.State()
    state.read({"a": json.dumps(fields | {"api_url": "https://a.example"})})
    text = state.metrics()
    assert "kaas_maintenance" not in text
    assert "not_after" not in text
    assert values(text)["kaas_registry_invalid_entries"] == "1"
    assert "https://a.example/livez" in state.api_targets()


@pytest.mark.parametrize("moment", ["2027-01-02T03:04:05Z", "2027-01-02T03:04:05+00:00", "2027-01-02T05:04:05+02:00", "2027-01-02T03:04:05"])
def test_end_of_the_certificate_is_utc(moment, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        state = importer.State()
        state.read({"a": json.dumps({"agent_certificate_not_after": moment})})
        assert values(state.metrics())['kaas_agent_certificate_not_after_timestamp_seconds{cluster="a"}'] == "1798859045"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90s", 90), ("1h30m", 5400), ("1500ms", 1.5), ("0s", 0), ("1d", 86400)])
def test_grace_is_a_duration(text, seconds):
    assert importer.arguments(["--grace", text]).grace == seconds
    assert importer.arguments([]).grace == 600


@pytest.mark.parametrize("text", ["10", "m", "10 m", "-5m", "", "10m5"])
def test_grace_that_is_no_duration_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        importer.arguments([f"--grace={text}"])
    assert "is no duration" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "escaped"), [('a"b', r"a\"b"), ("a\\b", r"a\\b"), ("a\nb", r"a\nb"), ('\\"\n', r"\\\"\n"), ("ü", "ü"), ("} 5", "} 5")])
def test_label_values_are_escaped(value, escaped):
    state = importer.State()
    state.read({"a": json.dumps({"labels": {"x": value}})})
    assert f'x="{escaped}"}} 1\n' in state.metrics()


@pytest.mark.parametrize("value", ["[" * 100_000, "{", "null", "[]", "5", '"text"', " "])
def test_any_value_is_survived(value):
    state = importer.State()
    state.read({"a": value})
    assert 'kaas{cluster="a"} 1\n' in state.metrics()


def test_deleted_registry_stays_shown():
    now = [100.0]
    state = importer.State(clock=lambda: now[0])
    state.read({"a": '{"maintenance": true, "api_url": "https://a.example"}'})
    now[0] = 200.0
    state.missing()
    state.confirmed()
    assert "https://a.example/livez" in state.api_targets()
    shown = values(state.metrics())
    assert shown['kaas_maintenance{cluster="a"}'] == "1"
    assert shown['kaas{cluster="a"}'] == "1"
    assert shown["kaas_registry_present"] == "0"
    assert shown["kaas_registry_last_sync_timestamp_seconds"] == "100"
    state.read({"b": ""})
    shown = values(state.metrics())
    assert shown["kaas_registry_present"] == "1"
    assert 'kaas{cluster="a"}' not in shown


def test_empty_registry_is_an_intended_end():
    state = importer.State()
    state.read({"a": ""})
    state.read({})
    assert values(state.metrics())["kaas_registry_entries"] == "0"
    assert "kaas{" not in state.metrics()


class FakeApi:
    """Gives scripted answers; an exception is raised, bytes are a body, a function is called first."""

    def __init__(self, stop: threading.Event, *script):
        self.stop, self.script, self.asked, self.closed = stop, list(script), [], 0

    def get(self, path, query, *, seconds=0.0):
        self.asked.append((path, dict(query)))
        if not self.script:
            self.stop.set()
            raise OSError("end of script")
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)

    def close(self):
        self.closed += 1


def listed(data, version="5"):
    items = [] if data is None else [{"data": data}]
    return json.dumps({"metadata": {"resourceVersion": version}, "items": items}).encode()


def event(kind, **item):
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


class Stop(threading.Event):
    """Notes the waits instead of waiting."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return self.is_set()


def follow(*script):
    stop, state = Stop(), importer.State()
    api = FakeApi(stop, *script)
    importer.Watcher(api, state, "observer", "kaas-clusters", stop).run()
    return state, api, stop


def test_list_then_watch_from_its_version():
    state, api, _stop = follow(listed({"a": ""}), event("MODIFIED", data={"a": "", "b": ""}) + event("BOOKMARK", metadata={}) + b"\n")
    assert [entry.name for entry in state._clusters] == ["a", "b"]
    path = "/api/v1/namespaces/observer/configmaps"
    assert api.asked[0] == (path, {"fieldSelector": "metadata.name=kaas-clusters"})
    assert api.asked[1][1]["resourceVersion"] == "5"
    assert api.asked[1][1]["allowWatchBookmarks"] == "true"
    assert "watch" not in api.asked[2][1]


def test_deleted_and_made_again_in_one_watch():
    state, _api, _stop = follow(listed({"a": ""}), event("DELETED", data={"a": ""}), listed(None))
    assert [entry.name for entry in state._clusters] == ["a"]
    assert state._present is False
    state, _api, _stop = follow(listed(None), event("ADDED", data={"b": ""}))
    assert [entry.name for entry in state._clusters] == ["b"]
    assert state._present is True


def test_registry_without_data_is_empty():
    state, _api, _stop = follow(listed({"a": ""}), event("MODIFIED", metadata={}))
    assert state._clusters == []


@pytest.mark.parametrize("gone", [importer.Gone(), event("ERROR", code=410, message="too old")])
def test_too_old_version_is_listed_again_and_no_error(gone):
    state, api, _stop = follow(listed({"a": ""}), gone, listed({"b": ""}))
    assert [entry.name for entry in state._clusters] == ["b"]
    assert "watch" not in api.asked[2][1]
    assert state._errors == 0


@pytest.mark.parametrize(
    "failure",
    [OSError("refused"), importer.ApiError("403: forbidden"), b"<html>", b"[]", event("ERROR", code=500, message="x"), b'{"type": "MODIFIED"}\n', b"\xff\n"],
)
def test_any_failure_is_counted_and_the_last_state_stays(failure):
    state, _api, _stop = follow(listed({"a": ""}), failure, listed({"a": "", "b": ""}))
    assert [entry.name for entry in state._clusters] == ["a", "b"]
    assert state._errors == 1


def test_backoff_grows_to_its_bound_and_starts_again():
    _state, _api, stop = follow(*[OSError("away")] * 12, listed({}), OSError("away"))
    waits = stop.waits
    assert all(0 < wait <= 10 for wait in waits)
    assert waits[0] <= 0.5
    assert waits[11] >= 5
    assert waits[12] <= 0.5


def test_watch_that_ends_at_once_is_no_busy_loop():
    _state, _api, stop = follow(listed({}), b"", listed({}), b"")
    assert len(stop.waits) == 2
    assert all(0.9 < wait <= 1 for wait in stop.waits)


@contextlib.contextmanager
def serving(state):
    server = importer.Server("127.0.0.1", 0, state)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(url: str, **options) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=5) as answer:
            return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers["Content-Type"]


def test_pages_before_and_after_the_first_sync():
    now = [1000.0]
    state = importer.State(clock=lambda: now[0])
    with serving(state) as url:
        # not an empty list either: Prometheus keeps its targets
        for path in ("/metrics", "/api-targets", "/healthz", "/-/ready"):
            assert ask(url + path)[:2][0] == 503
        state.failed()
        assert ask(f"{url}/healthz")[0] == 503

        state.read({"a": json.dumps({"labels": {"x": "\ud800"}})})
        status, text, kind = ask(f"{url}/metrics?x=y")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert 'kaas{cluster="a"} 1\n' in text
        assert ask(f"{url}/api-targets") == (200, "[]\n", "application/json")
        assert ask(f"{url}/healthz")[0] == ask(f"{url}/-/ready")[0] == 200
        assert ask(f"{url}/metrics", method="HEAD")[:2] == (200, "")
        assert ask(f"{url}/other")[0] == 404
        assert ask(f"{url}/metrics", method="POST", data=b"")[0] == 501

        now[0] += importer.STUCK_SECONDS
        assert ask(f"{url}/healthz")[0] == 503
        assert ask(f"{url}/-/ready")[0] == 200
        state.failed()
        assert ask(f"{url}/healthz")[0] == 200


def test_token_is_read_for_each_request(tmp_path, monkeypatch):
    sent = []

    class Connection:
        sock = type("Socket", (), {"settimeout": lambda self, seconds: None})()

        def request(self, method, url, headers):
            sent.append((method, url, headers["Authorization"]))

        def getresponse(self):
            return type("Answer", (), {"status": 200})()

    api = importer.Api("h", 1, tmp_path)
    monkeypatch.setattr(api, "connect", Connection)
    for token in ("first\n", "second"):
        (tmp_path / "token").write_text(token)
        api.get("/x", {"a": "b=c"})
    assert sent == [("GET", "/x?a=b%3Dc", "Bearer first"), ("GET", "/x?a=b%3Dc", "Bearer second")]
