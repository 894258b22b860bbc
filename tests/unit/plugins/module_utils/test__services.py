# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._services import limit_of, probes, problems

URLS = {"http": "https://a.example", "tcp": "a.example:25", "tls": "a.example:993", "dns": "192.0.2.53", "icmp": "a.example"}
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
CUSTOM = {
    "mine": {"prober": "http", "http": {"tls_config": {"min_version": "TLS13", "server_name": "b.example"}}},
    "starttls": {"prober": "tcp", "tcp": {"query_response": [{"expect": "^220"}, {"starttls": True}]}},
}


def service(name="web", module="http", url=None, **more):
    return {"name": name, "url": url or URLS[module], "module": module, **more}


def expecting(module="http", url=None, **expectations):
    return service(module=module, url=url, expectations=expectations)


def asked(module="http", url=None, expectations=None, **request):
    return service(module=module, url=url, request=request, expectations=expectations)


def module_of(given, name=None, **options):
    """The one module that is made of one service, but for the handshake."""
    made = probes([given], **options)["modules"]
    (found,) = [module for key, module in made.items() if not key.startswith("handshake")]
    assert name is None or name in made, made
    return found


# Modules


def test_the_bare_form_is_enough():
    made = probes([{"name": "web", "url": "https://a.example"}, {"name": "old", "url": "http://b.example"}])
    assert made["modules"]["https"] == {"prober": "http", "http": {"preferred_ip_protocol": "ip4", "fail_if_not_ssl": True}}
    assert made["modules"]["http"] == {"prober": "http", "http": {"preferred_ip_protocol": "ip4"}}
    assert [job["name"] for job in made["jobs"]] == ["blackbox-handshake", "blackbox-http"]
    assert made["jobs"][1]["targets"] == [
        {"targets": ["https://a.example"], "labels": {"service": "web", "__param_module": "https", "__param_target": "https://a.example"}},
        {"targets": ["http://b.example"], "labels": {"service": "old", "__param_module": "http", "__param_target": "http://b.example"}},
    ]
    assert made["secrets"] == [] and made["icmp"] is False


def test_equal_expectations_share_a_module_and_its_name_tells_what_it_looks_at():
    same = {"status": [204, 200], "max_seconds": 2, "tls_min_version": 1.3, "redirect": False}
    made = probes([service("a", expectations=same), service("b", url="https://b.example:8443/x", expectations={**same, "status": [200, 204]})])
    (name,) = [name for name in made["modules"] if not name.startswith("handshake")]
    assert name == "https-status-200-204-no-redirect-tls1.3-2s"
    assert made["modules"][name] == {
        "prober": "http",
        "timeout": "2000ms",
        "http": {
            "preferred_ip_protocol": "ip4",
            "valid_status_codes": [200, 204],
            "follow_redirects": False,
            "fail_if_not_ssl": True,
            "tls_config": {"min_version": "TLS13"},
        },
    }


def test_a_name_depends_on_no_other_service():
    one, two = expecting(body="a"), service("other", expectations={"body": "b"})
    names = [set(probes(given)["modules"]) for given in ([one], [two], [one, two], [two, one])]
    assert names[2] == names[3] == names[0] | names[1] and len(names[2]) == 3  # with the handshake


def test_http_expectations():
    http = module_of(expecting(body="a", body_not=["b", "c"], header={"X-A": "1"}, header_not={"Server": "old"}))["http"]
    assert http["fail_if_body_not_matches_regexp"] == ["a"]
    assert http["fail_if_body_matches_regexp"] == ["b", "c"]
    assert http["fail_if_header_not_matches"] == [{"header": "X-A", "regexp": "1"}]
    assert http["fail_if_header_matches"] == [{"header": "Server", "regexp": "old", "allow_missing": True}]


def test_a_wanted_redirect_is_looked_at_and_not_followed():
    http = module_of(expecting(redirect="https://b.example/?a=1"))["http"]
    assert http["follow_redirects"] is False and http["valid_status_codes"] == [301, 302, 303, 307, 308]
    assert http["fail_if_header_not_matches"] == [{"header": "Location", "regexp": r"^https://b\.example/\?a=1$"}]
    assert module_of(expecting(redirect="/login", status=[302]))["http"]["valid_status_codes"] == [302]


def test_what_is_asked():
    given = asked(method="post", body="{}", headers={"X-A": 1}, server_name="b.example", ca_certificate=PEM.strip(), ip_protocol="ip6")
    http = module_of(given)["http"]
    assert http["method"] == "POST" and http["body"] == "{}" and http["headers"] == {"X-A": "1"}
    assert http["tls_config"] == {"server_name": "b.example", "ca": PEM}
    assert (http["preferred_ip_protocol"], http["ip_protocol_fallback"]) == ("ip6", False)


def test_credentials_are_files_of_a_secret_and_no_redirect_gets_them():
    made = probes([asked(basic_auth_secret="login"), service("api", request={"bearer_secret": "api-token"})])
    assert made["secrets"] == ["api-token", "login"]
    https = [module["http"] for module in made["modules"].values() if "http" in module]
    assert {"username_file": "/etc/observer/services/login/username", "password_file": "/etc/observer/services/login/password"} in [
        http.get("basic_auth") for http in https
    ]
    assert all(http["follow_redirects"] is False for http in https)


def test_tcp_and_tls():
    assert module_of(service(module="tcp"), "tcp") == {"prober": "tcp", "tcp": {"preferred_ip_protocol": "ip4"}}
    steps = module_of(asked("tcp", expectations={"answer": ["^220", "^250"]}, send="EHLO x"))["tcp"]["query_response"]
    assert steps == [{"send": "EHLO x"}, {"expect": "^220"}, {"expect": "^250"}]
    assert module_of(expecting("tls", tls_min_version="1.2"), "tls-tls1.2")["tcp"] == {
        "preferred_ip_protocol": "ip4",
        "query_response": [{"starttls": True}],
        "tls_config": {"min_version": "TLS12"},
    }


def test_dns():
    dns = module_of(asked("dns", name="www.example.com"), "dns-www.example.com")["dns"]
    assert dns == {
        "query_name": "www.example.com",
        "query_type": "A",
        "preferred_ip_protocol": "ip4",
        "valid_rcodes": ["NOERROR"],
        "validate_answer_rrs": {"fail_if_none_matches_regexp": ["."]},
    }
    given = asked("dns", name="x.example.com", type="TXT", transport="tcp", expectations={"rcode": "NXDOMAIN", "answer_not": "x"})
    dns = module_of(given)["dns"]
    assert dns["valid_rcodes"] == ["NXDOMAIN"] and dns["validate_answer_rrs"] == {"fail_if_matches_regexp": ["x"]}
    assert (dns["query_type"], dns["transport_protocol"]) == ("TXT", "tcp")


def test_icmp_is_told_also_of_modules_of_the_users_own():
    assert probes([service(module="icmp")])["icmp"] is True
    assert probes([service(module="icmp")], {"icmp": {"prober": "icmp"}})["icmp"] is True
    assert probes([service()], {"icmp": {"prober": "icmp"}})["icmp"] is False


def test_labels_are_on_each_target():
    made = probes([service(labels={"team": "web", "paid": True, "floor": 3})])
    for job in made["jobs"]:
        (target,) = job["targets"]
        assert {key: value for key, value in target["labels"].items() if not key.startswith("__")} == {
            "service": "web",
            "team": "web",
            "paid": "true",
            "floor": "3",
        }


# Handshakes


@pytest.mark.parametrize(
    ("given", "address", "module"),
    [
        (service(), "a.example:443", "handshake"),
        (service(url="https://a.example:8443/x?y"), "a.example:8443", "handshake"),
        (service(url="https://[2001:db8::1]/"), "[2001:db8::1]:443", "handshake"),
        (service(module="tls"), "a.example:993", "handshake"),
        (expecting(tls_min_version="1.3"), "a.example:443", "handshake-tls13"),
        (asked(server_name="b.example"), "a.example:443", "handshake-b.example"),
        (asked(ip_protocol="ip6"), "a.example:443", "handshake-ip6-only"),
        ({"name": "web", "url": "https://a.example", "module": "mine"}, "a.example:443", "handshake-tls13-b.example-any"),
    ],
)
def test_what_speaks_tls_gets_a_handshake(given, address, module):
    made = probes([given], CUSTOM)
    (job,) = [job for job in made["jobs"] if job["handshake"]]
    assert job["name"] == "blackbox-handshake"
    (target,) = job["targets"]
    assert target["targets"] == [given["url"]], "the same instance as the service itself"
    assert (target["labels"]["__param_target"], target["labels"]["__param_module"]) == (address, module)
    tcp = made["modules"][module]["tcp"]
    assert tcp["query_response"] == [{"starttls": True}] and tcp["tls_config"]["insecure_skip_verify"] is True
    assert "ca" not in tcp["tls_config"]


@pytest.mark.parametrize(
    "given",
    [
        service(url="http://a.example"),
        service(module="tcp"),
        service(module="icmp"),
        asked("dns", name="a.example"),
        asked(proxy="http://proxy.example:3128"),
        {"name": "mail", "url": "a.example:25", "module": "starttls"},
    ],
)
def test_others_get_none(given):
    assert [job for job in probes([given], CUSTOM)["jobs"] if job["handshake"]] == []


# Proxies

PROXIES = {"https": "http://proxy.example:3128", "http": "", "no_proxy": ["localhost", ".svc", "internal.example", "192.0.2.0/24"]}


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("https://a.example", True),
        ("http://a.example", False),
        ("https://internal.example", False),
        ("https://x.internal.example/", False),
        ("https://notinternal.example", True),
        ("https://thanos.observer.svc:9090", False),
        ("https://192.0.2.9", False),
        ("https://198.51.100.9", True),
    ],
)
def test_the_observers_proxy_is_used_where_it_is_meant_to(url, used):
    http = module_of(service(url=url), proxies=PROXIES)["http"]
    assert http.get("proxy_from_environment", False) is used
    assert http.get("skip_resolve_phase_with_proxy", False) is used


def test_a_service_may_have_its_own_proxy_or_none():
    assert "proxy_from_environment" not in module_of(asked(proxy=False), proxies=PROXIES)["http"]
    assert module_of(asked(proxy="http://p.example:1"), proxies=PROXIES)["http"]["proxy_url"] == "http://p.example:1"


# Modules of the user's own


def test_a_module_of_the_users_own_is_left_as_it_is_and_wins():
    own = {"http": {"prober": "http", "timeout": "3s"}}
    made = probes([{"name": "web", "url": "http://a.example"}], own)
    assert made["modules"] == own
    assert made["jobs"][0]["name"] == "blackbox-http"
    # a name that would be made is left to the user, too
    made = probes([service()], {"https": {"prober": "http"}})
    assert made["modules"]["https"] == {"prober": "http"} and len(made["modules"]) == 3


# Bad input

BAD = {
    "no url": (service(url="a.example"), "'a.example'", "https://host"),
    "other scheme": (service(url="ftp://a.example"), "ftp://a.example", "https://host"),
    "port": (service(url="https://a.example:99999"), "99999"),
    "space": (service(url="https://a.example/ x"), "https://host"),
    "number for a host": (service(url="https://1.2.3/"), "1.2.3"),
    "password": (service(url="https://user:secret@a.example/"), "https://***@a.example/", "without a user"),
    "tcp without port": (service(module="tcp", url="a.example"), "host:port"),
    "tcp with scheme": (service(module="tcp", url="tcp://a.example:1"), "host:port"),
    "icmp with port": (service(module="icmp", url="a.example:1"), "without a port"),
    "dns with scheme": (service(module="dns", url="udp://a.example", request={"name": "a.example"}), "the DNS server"),
    "module": (service(module="https", url="https://a.example"), "'https'", "http, tcp, tls, dns, icmp, mine, starttls"),
    "name": (service(name="Web Site"), "RFC 1123"),
    "key": (service(expectation={}), "expectation", "expectations"),
    "unknown expectation": (expecting(code=200), "expectations.code is not known", "status"),
    "unknown request": (asked(verb="GET"), "request.verb is not known", "method"),
    "expectation of another module": (expecting("icmp", status=[200]), "expectations.status is only for http", "max_seconds"),
    "answer for http": (expecting(answer="x"), "only for tcp, tls, dns"),
    "regexp": (expecting(body="(?!x)"), "'(?!x)'", "look-ahead", "RE2"),
    "regexp in a header": (expecting(header={"X": "["}), "expectations.header.X", "RE2"),
    "regexp in a list": (expecting("tcp", answer=["ok", "a**"]), "'a**'"),
    "no regexp": (expecting(body=[]), "empty list"),
    "number for a regexp": (expecting(body=5), "must be text"),
    "status": (expecting(status=[700]), "'700'", "100 to 599"),
    "status words": (expecting(status="2xx"), "'2xx'"),
    "redirect": (expecting(redirect="somewhere"), "'somewhere'", "false"),
    "redirect and status": (expecting(redirect="/x", status=[200]), "exclude each other"),
    "tls version": (expecting(tls_min_version=1.4), "'1.4'", "1.0, 1.1, 1.2, 1.3"),
    "tls version of plain http": (expecting(url="http://a.example", tls_min_version=1.3), "not encrypted"),
    "authority for plain http": (asked(url="http://a.example", ca_certificate=PEM), "not encrypted"),
    "authority's path": (asked(ca_certificate="/etc/ca.crt"), "not its path"),
    "server name": (asked(server_name="https://a"), "DNS name"),
    "seconds": (expecting(max_seconds=60), "at most 9.5", "10 seconds"),
    "no seconds": (expecting(max_seconds=0), "above 0"),
    "true seconds": (expecting(max_seconds=True), "above 0"),
    "seconds in words": (expecting(max_seconds="2s"), "'2s'"),
    "method": (asked(method="FETCH"), "'FETCH'", "GET"),
    "body of a get": (asked(body="x"), "POST"),
    "header": (asked(headers={"X A": 1}), "'X A'"),
    "secret header": (asked(headers={"authorization": "Bearer secret-0471"}), "authorization", "bearer_secret"),
    "secret's value": (asked(bearer_secret="Secret 0471!"), "no name of a Secret"),
    "secret in clear": (asked(url="http://a.example", bearer_secret="x"), "in clear"),
    "two secrets": (asked(bearer_secret="x", basic_auth_secret="y"), "both"),
    "secret and redirect": (asked(bearer_secret="x", expectations={"redirect": True}), "wherever a redirect leads"),
    "proxy": (asked(proxy="http://user:secret-0471@p.example"), "http://host:port"),
    "ip protocol": (asked(ip_protocol="ipv6"), "ip4, ip6"),
    "dns without name": (service(module="dns"), "request.name is missing"),
    "dns name": (asked("dns", name="a b"), "DNS name"),
    "dns type": (asked("dns", name="a.example", type="ALL"), "AAAA"),
    "dns answer of none": (asked("dns", name="a.example", expectations={"rcode": "NXDOMAIN", "answer": "x"}), "NXDOMAIN"),
    "send without answer": (asked("tcp", send="PING"), "expectations.answer"),
    "label": (service(labels={"a-b": 1}), "'a-b'"),
    "label of the Observer": (service(labels={"cluster": "x"}), "'cluster'"),
    "label's value": (service(labels={"a": []}), "labels.a"),
    "no dictionary": (service(expectations=["status"]), "must be a dictionary"),
    "own module with expectations": (service(module="mine", url="https://a.example", expectations={"status": [200]}), "'mine'", "observer_blackbox_modules"),
    "own module's url": (service(module="mine", url="a.example"), "https://host"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_one_line_with_service_and_remedy(name):
    given, *words = BAD[name]
    good = service("good")
    (line,) = problems([good, given], CUSTOM, "30s")
    assert line.startswith(f"observer_services: '{given['name']}': ") and "\n" not in line
    assert all(word in line for word in words), line
    assert "secret-0471" not in line and ":secret@" not in line
    with pytest.raises(ObserverError, match="observer_services"):
        probes([given], CUSTOM)


def test_a_name_twice_is_told_once():
    assert problems([service(), service(), service("b")]) == ["observer_services: the service 'web' is there 2 times; each may be there once."]


def test_all_that_is_wrong_is_told_at_once():
    assert len(problems([service(url="x"), service("b", module="nope", url="x"), service("c")])) == 2


def test_the_handshakes_name_is_taken():
    (line,) = problems([], {"handshake": {"prober": "tcp"}, "handshakes": {"prober": "tcp"}})
    assert line.startswith("observer_blackbox_modules: the module 'handshake' ")


def test_what_is_no_list_is_refused():
    with pytest.raises(ObserverError, match="not a list of dictionaries"):
        problems({"name": "web"})


def test_secrets_that_are_not_there_are_told_with_the_command_that_makes_them():
    given = [asked(basic_auth_secret="login")]
    assert problems(given) == []
    assert problems(given, secrets={"login": ["username", "password"]}, namespace="observer") == []
    (line,) = problems(given, secrets={"login": ["username"]}, namespace="observer")
    assert "wants password of Secret 'login'" in line
    assert "kubectl create secret generic login -n observer --from-literal=username=... --from-literal=password=..." in line


@pytest.mark.parametrize(("interval", "limit"), [("30s", 9.5), ("1m", 9.5), ("5s", 4.5), ("", 9.5), ("1m30s", 9.5), ("500ms", 0.1)])
def test_a_probe_may_take_what_prometheus_waits(interval, limit):
    assert limit_of(interval) == pytest.approx(limit)
    assert bool(problems([expecting(max_seconds=limit + 0.1)], {}, interval))
    assert not problems([expecting(max_seconds=limit)], {}, interval)


@pytest.mark.parametrize(
    "url", ["https://a", "http://192.0.2.1:80", "https://[2001:db8::1]:8443/x", "https://a_b.example/?q=1", "https://xn--bcher-kva.example"]
)
def test_good_urls(url):
    assert problems([service(url=url)]) == []
