# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader
from ansible_collections.scs.observer.plugins.module_utils import _promql_backends
from ansible_collections.scs.observer.plugins.module_utils._promql import QueryError

URL = "http://thanos.example.com"


class Double:
    """In the place of UrlBackend; answers 1 to a query and 1, 2 to a range query."""

    title = URL
    asked: list

    def __init__(self, url, access, *, timeout):
        Double.asked = [(url, access, timeout)]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def query(self, query):
        if query == "bad":
            raise QueryError("not let in", again=False)
        Double.asked.append(query)
        result = [] if query == "none" else [{"metric": {"a": query}, "value": [5, "1"]}]
        return {"status": "success", "data": {"resultType": "vector", "result": result}, "warnings": ["a store is away"]}

    def query_range(self, query, *, start, end, step):
        Double.asked.append((query, end - start, step))
        return {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[5, "1"], [6, "2"]]}]}}


@pytest.fixture(name="ask")
def fixture_ask(monkeypatch):
    monkeypatch.setattr(_promql_backends, "UrlBackend", Double)
    return lambda *terms, **options: lookup_loader.get("scs.observer.promql").run(list(terms), {}, **({"url": URL} | options))


def test_series(ask):
    assert ask("x", "none") == [[{"labels": {"a": "x"}, "value": "1", "timestamp": 5.0}], []]
    assert Double.asked[0][0] == URL
    assert Double.asked[1:] == ["x", "none"]


def test_values(ask):
    assert ask("x", "none", value=True) == [["1"], []]


def test_ranges(ask):
    assert ask("x", range="1h", step="1m", value=True) == [[["1", "2"]]]
    ((series,),) = ask("x", start="now-5m")
    assert [sample["value"] for sample in series["values"]] == ["1", "2"]
    assert Double.asked[1] == ("x", 300, 3)


def test_access(ask):
    ask("x", url_token="secret", url_ca_certificate="PEM", timeout=5)
    (_url, access, timeout) = Double.asked[0]
    assert (access.token, access.ca_certificate, access.username, timeout) == ("secret", "PEM", "", 5)


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ("bad", {}, "not let in"),
        (" ", {}, "The query is empty"),
        ("x", {"step": "1m"}, "needs start or range"),
        ("x", {"timeout": 0}, "timeout is 0"),
    ],
)
def test_errors(ask, query, options, message):
    with pytest.raises(AnsibleLookupError, match=message) as caught:
        ask(query, url_password="secret", url_username="x", **options)
    assert "secret" not in str(caught.value)
