# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: services that are probed, made into modules of the blackbox exporter and jobs of Prometheus.

Each service says what is asked (C(url), C(request)) and what has to come back (C(expectations)); services that say the same share one module. The exporter
can not tell a refused connection from a broken TLS handshake of an https:// address, and knows no certificate that it does not believe; so whatever speaks TLS
gets a second probe, C(handshake), which only connects and shakes hands, sends nothing and believes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import json
import re
import typing as t
import urllib.parse

from ansible_collections.scs.observer.plugins.module_utils import _go_regexp
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

SECRETS_FOLDER = "/etc/observer/services"
HANDSHAKE = "handshake"
# the label ends in the name of a file and in paths
_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?")
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w|y)")
_SECONDS: t.Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
# labels that the Observer, Prometheus and the exporter's own series have
_RESERVED: t.Final = frozenset(
    [
        *("alertname", "alertstate", "cipher", "cluster", "fingerprint_sha256", "infrastructure", "instance"),
        *("issuer", "job", "observer", "phase", "prometheus_replica", "receive_replica", "ruler_replica"),
        *("serialnumber", "service", "severity", "subject", "subjectalternative", "tenant_id", "version"),
    ]
)
_SECRET_HEADERS: t.Final = ("authorization", "proxy-authorization", "cookie")
_TLS_VERSIONS: t.Final = {"1.0": "TLS10", "1.1": "TLS11", "1.2": "TLS12", "1.3": "TLS13"}
_METHODS: t.Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
_DNS_TYPES: t.Final = ("A", "AAAA", "CAA", "CNAME", "DNSKEY", "DS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "TLSA", "TXT")
_RCODES: t.Final = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_REDIRECTS: t.Final = (301, 302, 303, 307, 308)
# a probe may use what Prometheus waits, without what the exporter keeps for its answer
_PROMETHEUS_WAITS, _RESERVE = 10.0, 0.5

_KEYS: t.Final = ("name", "url", "module", "labels", "request", "expectations")
REQUEST: t.Final[t.Mapping[str, tuple[str, ...]]] = {
    "http": ("method", "headers", "body", "basic_auth_secret", "bearer_secret", "server_name", "ca_certificate", "ip_protocol", "proxy"),
    "tcp": ("send", "ip_protocol"),
    "tls": ("send", "server_name", "ca_certificate", "ip_protocol"),
    "dns": ("name", "type", "transport", "ip_protocol"),
    "icmp": ("ip_protocol",),
}
EXPECTATIONS: t.Final[t.Mapping[str, tuple[str, ...]]] = {
    "http": ("status", "body", "body_not", "header", "header_not", "redirect", "tls_min_version", "max_seconds"),
    "tcp": ("answer", "max_seconds"),
    "tls": ("answer", "tls_min_version", "max_seconds"),
    "dns": ("rcode", "answer", "answer_not", "max_seconds"),
    "icmp": ("max_seconds",),
}
DEFAULT_MODULE: t.Final = "http"
_ADDRESSES: t.Final = {
    "http": "https://host or http://host, with a port and a path if need be, without a user and a password",
    "tcp": "host:port",
    "tls": "host:port",
    "dns": "the DNS server, host or host:port",
    "icmp": "a host or an IP address, without a port",
}


class _Wrong(Exception):
    """What is wrong with one service, and what to do."""


@dataclasses.dataclass(frozen=True)
class _Probe:
    service: str
    url: str
    job: str
    module: str
    labels: t.Mapping[str, str]
    config: t.Mapping[str, t.Any] | None = None  # None: a module of the user's own
    handshake: tuple[str, str, t.Mapping[str, t.Any]] | None = None
    secrets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    prober: str = ""


# -- values -----------------------------------------------------------------------------------------------------------------------------------------------
def _text(value: t.Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{what} is {value!r}; it must be text.")
    return value


def _list(value: t.Any) -> list[t.Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _mapping(value: t.Any, what: str) -> dict[str, t.Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Wrong(f"{what} is {value!r}; it must be a dictionary.")
    return {str(key): entry for key, entry in value.items()}


def _one_of(value: t.Any, what: str, choices: t.Collection[str]) -> str:
    if str(value) not in choices:
        raise _Wrong(f"{what} is '{value}'; use one of: {', '.join(choices)}.")
    return str(value)


def _boolean(value: t.Any) -> t.Any:
    """As -e gives them, too."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _regexps(value: t.Any, what: str) -> list[str]:
    found = []
    for entry in _list(value):
        text = _text(entry, what)
        reason = _go_regexp.problem(text)
        if reason:
            raise _Wrong(f"{what} is {text!r}, which is no regular expression for Go (RE2): {reason}. Correct it; the syntax is at golang.org/s/re2syntax.")
        found.append(text)
    if not found:
        raise _Wrong(f"{what} is an empty list; name a regular expression, or leave it out.")
    return found


def _header_matches(value: t.Any, what: str) -> list[dict[str, str]]:
    return [
        {"header": _header(name, what), "regexp": regexp}
        for name, given in sorted(_mapping(value, what).items())
        for regexp in _regexps(given, f"{what}.{name}")
    ]


def _header(name: str, what: str) -> str:
    if not _HEADER.fullmatch(name):
        raise _Wrong(f"{what} names the header '{name}', which is none; use the letters, digits and - of a header's name.")
    return name


def _statuses(value: t.Any, what: str) -> list[int]:
    found = []
    for entry in _list(value):
        if isinstance(entry, bool) or not re.fullmatch(r"[1-5]\d\d", str(entry)):
            raise _Wrong(f"{what} has '{entry}'; it must be a list of HTTP status such as [200, 204], each from 100 to 599.")
        found.append(int(entry))
    if not found:
        raise _Wrong(f"{what} is an empty list; name a status, or leave it out for any of 2xx.")
    return sorted(set(found))


def _tls_version(value: t.Any, what: str) -> str:
    return _TLS_VERSIONS[_one_of(value, what, tuple(_TLS_VERSIONS))]


def _max_seconds(value: t.Any, what: str, limit: float) -> str:
    try:
        seconds = float("x" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        seconds = 0
    if not 0 < seconds <= limit:
        raise _Wrong(f"{what} is '{value}'; it must be a number above 0 and at most {limit:g}, for Prometheus waits {limit + _RESERVE:g} seconds for a probe.")
    return f"{round(seconds * 1000)}ms"


def limit_of(interval: str) -> float:
    """How long a probe may take at a scrape interval."""
    found = _DURATION.findall(interval or "")
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in found)
    return max(min(seconds or _PROMETHEUS_WAITS, _PROMETHEUS_WAITS) - _RESERVE, 0.1)


# -- addresses --------------------------------------------------------------------------------------------------------------------------------------------
def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    # what has only digits and dots and is no IP address is no name either
    return _is_ip(host) or (bool(_HOST.fullmatch(host)) and not re.fullmatch(r"[\d.]+", host))


def _split(address: str) -> tuple[str, int | None] | None:
    """Host and port of C(host), C(host:port), C([IPv6]:port) and bare IPv6."""
    if _is_ip(address):
        return address, None
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/\s@]+))(?::(\d{1,5}))?", address)
    if not found or not _is_host(found[1] or found[2]) or (found[1] and not _is_ip(found[1])):
        return None
    port = int(found[3]) if found[3] else None
    return None if port is not None and not 1 <= port <= 65535 else (found[1] or found[2], port)


def _shown(url: t.Any) -> str:
    """Without what may be a password."""
    return re.sub(r"(//)[^/@]*@", r"\1***@", str(url))


def _check_url(url: t.Any, prober: str) -> None:
    good = isinstance(url, str) and not re.search(r"\s", url)
    if good and prober == "http":
        found = re.fullmatch(r"https?://([^/?#@]+)([/?][^#]*)?", url)
        good = bool(found and _split(found[1]))
    elif good and prober in ("tcp", "tls"):
        parts = _split(url)
        good = bool(parts and parts[1])
    elif good and prober == "dns":
        good = _split(url) is not None
    elif good and prober == "icmp":
        good = _is_host(url)
    if not good or not url:
        raise _Wrong(f"the url is '{_shown(url)}'; it must be {_ADDRESSES.get(prober, 'an address')}.")


def _address(url: str) -> tuple[str, str]:
    """Host, and host:port to connect to."""
    if "://" not in url:
        parts = _split(url)
        return (parts[0] if parts else url), url
    parts = _split(urllib.parse.urlsplit(url).netloc)
    host, port = parts or ("", None)
    return host, f"{f'[{host}]' if ':' in host else host}:{port or 443}"


def _by_proxy(url: str, proxies: t.Mapping[str, t.Any]) -> bool:
    """Whether the Observer's proxy is used for an address, as Go reads NO_PROXY."""
    parts = urllib.parse.urlsplit(url)
    if not proxies.get(parts.scheme):
        return False
    host = (parts.hostname or "").lower()
    for entry in proxies.get("no_proxy") or ():
        name = str(entry).lower().strip()
        if name == "*" or host == name.lstrip(".") or host.endswith("." + name.lstrip("*").lstrip(".")):
            return False
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return False
        except ValueError:
            continue
    return True


# -- modules ----------------------------------------------------------------------------------------------------------------------------------------------
def _ip_protocol(request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if "ip_protocol" not in request:
        return {"preferred_ip_protocol": "ip4"}
    return {"preferred_ip_protocol": _one_of(request["ip_protocol"], "request.ip_protocol", ("ip4", "ip6")), "ip_protocol_fallback": False}


def _tls_config(request: t.Mapping[str, t.Any], expectations: t.Mapping[str, t.Any]) -> dict[str, str]:
    config = {}
    if "tls_min_version" in expectations:
        config["min_version"] = _tls_version(expectations["tls_min_version"], "expectations.tls_min_version")
    if "server_name" in request:
        config["server_name"] = _text(request["server_name"], "request.server_name")
        if not _is_host(config["server_name"]):
            raise _Wrong(f"request.server_name is '{request['server_name']}'; it must be a DNS name.")
    if "ca_certificate" in request:
        config["ca"] = _text(request["ca_certificate"], "request.ca_certificate").strip() + "\n"
        if not config["ca"].startswith("-----BEGIN CERTIFICATE-----"):
            raise _Wrong("request.ca_certificate is no certificate in PEM; give its text, not its path.")
    return config


def _dialogue(request: t.Mapping[str, t.Any], expectations: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    steps: list[dict[str, t.Any]] = []
    if "send" in request:
        steps.append({"send": _text(request["send"], "request.send")})
        if "answer" not in expectations:
            raise _Wrong("request.send is said without expectations.answer, so nobody would look at what comes; add expectations.answer.")
    if "answer" in expectations:
        steps += [{"expect": regexp} for regexp in _regexps(expectations["answer"], "expectations.answer")]
    return steps


def _credentials(request: t.Mapping[str, t.Any], url: str) -> tuple[dict[str, t.Any], list[tuple[str, tuple[str, ...]]]]:
    names = [key for key in ("basic_auth_secret", "bearer_secret") if key in request]
    if not names:
        return {}, []
    if len(names) > 1:
        raise _Wrong("request has both basic_auth_secret and bearer_secret; keep one.")
    secret = request[names[0]]
    if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
        raise _Wrong(f"request.{names[0]} is no name of a Secret; write the name of one in the Observer's namespace, never what is in it.")
    if not url.startswith("https://"):
        raise _Wrong(f"request.{names[0]} would be sent in clear to {url}; use https://.")
    folder = f"{SECRETS_FOLDER}/{secret}"
    if names[0] == "bearer_secret":
        return {"authorization": {"credentials_file": f"{folder}/token"}}, [(secret, ("token",))]
    return {"basic_auth": {"username_file": f"{folder}/username", "password_file": f"{folder}/password"}}, [(secret, ("username", "password"))]


def _http_answer(expectations: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    http: dict[str, t.Any] = {}
    if "status" in expectations:
        http["valid_status_codes"] = _statuses(expectations["status"], "expectations.status")
    for key, option in (("body", "fail_if_body_not_matches_regexp"), ("body_not", "fail_if_body_matches_regexp")):
        if key in expectations:
            http[option] = _regexps(expectations[key], f"expectations.{key}")
    if "header" in expectations:
        http["fail_if_header_not_matches"] = _header_matches(expectations["header"], "expectations.header")
    if "header_not" in expectations:
        # one that is not there is as good
        http["fail_if_header_matches"] = [match | {"allow_missing": True} for match in _header_matches(expectations["header_not"], "expectations.header_not")]
    redirect = _boolean(expectations.get("redirect", True))
    if redirect is False:
        http["follow_redirects"] = False
    elif redirect is not True:
        if not isinstance(redirect, str) or not re.fullmatch(r"(https?://[^/\s@]+)?(/\S*)?", redirect) or not redirect:
            raise _Wrong(f"expectations.redirect is '{redirect}'; it must be false (none may come), true (they are followed), or the address that it names.")
        http.setdefault("valid_status_codes", list(_REDIRECTS))
        if not set(http["valid_status_codes"]) <= set(_REDIRECTS):
            raise _Wrong("expectations.status and expectations.redirect exclude each other; leave out status, or name only some of 301, 302, 303, 307, 308.")
        http["follow_redirects"] = False
        http.setdefault("fail_if_header_not_matches", []).append({"header": "Location", "regexp": f"^{re.escape(redirect)}$"})
    return http


def _http(
    url: str, request: t.Mapping[str, t.Any], expectations: t.Mapping[str, t.Any], proxies: t.Mapping[str, t.Any]
) -> tuple[dict[str, t.Any], list[tuple[str, tuple[str, ...]]]]:
    secure = url.startswith("https://")
    for where, given in (("expectations", expectations), ("request", request)):
        for key in ("tls_min_version", "server_name", "ca_certificate"):
            if key in given and not secure:
                raise _Wrong(f"{where}.{key} does not fit the url {url}, which is not encrypted; use https://, or leave it out.")
    http = _ip_protocol(request) | _http_answer(expectations)
    if secure:
        # a redirect to http:// would be a way down
        http["fail_if_not_ssl"] = True
    tls = _tls_config(request, expectations)
    if tls:
        http["tls_config"] = tls
    if "method" in request:
        http["method"] = _one_of(str(request["method"]).upper(), "request.method", _METHODS)
    if "headers" in request:
        http["headers"] = {}
        for name, value in sorted(_mapping(request["headers"], "request.headers").items()):
            if _header(name, "request.headers").lower() in _SECRET_HEADERS:
                raise _Wrong(f"request.headers has {name}, and everybody who may look at the exporter would read it; use basic_auth_secret or bearer_secret.")
            http["headers"][name] = str(value)
    if "body" in request:
        http["body"] = _text(request["body"], "request.body")
        if http.get("method", "GET") in ("GET", "HEAD"):
            raise _Wrong("request.body is said for a GET or HEAD, which have none; set request.method to POST or PUT.")
    login, secrets = _credentials(request, url)
    if login:
        if _boolean(expectations.get("redirect")) is True:
            raise _Wrong("expectations.redirect is true, and the credentials would be sent wherever a redirect leads; give the address behind it as url.")
        http |= {"follow_redirects": False} | login
    proxy = _boolean(request.get("proxy", True))
    if proxy is not True and proxy is not False:
        if not re.fullmatch(r"https?://[^/\s@]+/?", str(proxy)):
            raise _Wrong(f"request.proxy is '{_shown(proxy)}'; it must be http://host:port, or false for none.")
        http |= {"proxy_url": proxy, "skip_resolve_phase_with_proxy": True}
    elif proxy and _by_proxy(url, proxies):
        # names that only the proxy knows
        http |= {"proxy_from_environment": True, "skip_resolve_phase_with_proxy": True}
    return http, secrets


def _dns(request: t.Mapping[str, t.Any], expectations: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if "name" not in request:
        raise _Wrong("request.name is missing; say which name the DNS server is asked for.")
    dns: dict[str, t.Any] = {"query_name": _text(request["name"], "request.name"), **_ip_protocol(request)}
    if not _is_host(dns["query_name"]):
        raise _Wrong(f"request.name is '{request['name']}'; it must be a DNS name.")
    dns["query_type"] = _one_of(request.get("type", "A"), "request.type", _DNS_TYPES)
    if "transport" in request:
        dns["transport_protocol"] = _one_of(request["transport"], "request.transport", ("udp", "tcp"))
    rcode = _one_of(expectations.get("rcode", "NOERROR"), "expectations.rcode", _RCODES)
    dns["valid_rcodes"] = [rcode]
    answers: dict[str, list[str]] = {}
    if "answer" in expectations:
        if rcode != "NOERROR":
            raise _Wrong(f"expectations.answer does not fit expectations.rcode {rcode}, which comes without one; leave one of them out.")
        answers["fail_if_none_matches_regexp"] = _regexps(expectations["answer"], "expectations.answer")
    elif rcode == "NOERROR":
        # an answer without a record is none
        answers["fail_if_none_matches_regexp"] = ["."]
    if "answer_not" in expectations:
        answers["fail_if_matches_regexp"] = _regexps(expectations["answer_not"], "expectations.answer_not")
    if answers:
        dns["validate_answer_rrs"] = answers
    return dns


def _digest(config: t.Mapping[str, t.Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:6]


def _name(module: str, url: str, request: t.Mapping[str, t.Any], expectations: t.Mapping[str, t.Any], config: t.Mapping[str, t.Any]) -> str:
    """What it looks at, so that the exporter's page can be read; what is too long for a name is a digest. It depends on no other service."""
    words = ["https" if url.startswith("https://") else module]
    hidden = False
    for key in ("method", "type", "transport", "ip_protocol"):
        if key in request:
            words.append(str(request[key]).lower())
    if "name" in request:
        words.append(str(request["name"]).lower())
    if set(request) - {"method", "type", "transport", "ip_protocol", "name"}:
        words.append("request")
        hidden = True
    for key in EXPECTATIONS[module]:
        value = expectations.get(key)
        if value is None:
            continue
        if key == "status":
            words += ["status", *(str(status) for status in _statuses(value, key))]
        elif key == "redirect" and isinstance(_boolean(value), bool):
            words += [] if _boolean(value) else ["no-redirect"]
        elif key == "tls_min_version":
            words.append(f"tls{value}")
        elif key == "max_seconds":
            words.append(f"{float(value):g}s")
        elif key == "rcode":
            words.append(str(value).lower())
        else:
            words.append(key.replace("_", "-"))
            hidden = True
    if config.get("http", {}).get("proxy_from_environment"):
        words.append("proxy")
    return "-".join([*words, *([_digest(config)] if hidden else [])])


def _ready(
    module: str, url: str, request: t.Mapping[str, t.Any], expectations: t.Mapping[str, t.Any], proxies: t.Mapping[str, t.Any], limit: float
) -> tuple[dict[str, t.Any], list[tuple[str, tuple[str, ...]]]]:
    secrets: list[tuple[str, tuple[str, ...]]] = []
    inner: dict[str, t.Any]
    if module == "http":
        inner, secrets = _http(url, request, expectations, proxies)
    elif module == "dns":
        inner = _dns(request, expectations)
    elif module == "icmp":
        inner = _ip_protocol(request)
    else:
        inner = _ip_protocol(request)
        steps = _dialogue(request, expectations)
        if module == "tls":
            # not "tls: true", which would make one step of connection and handshake
            steps.insert(0, {"starttls": True})
            tls = _tls_config(request, expectations)
            if tls:
                inner["tls_config"] = tls
        if steps:
            inner["query_response"] = steps
    prober = "tcp" if module == "tls" else module
    config: dict[str, t.Any] = {"prober": prober, prober: inner}
    if "max_seconds" in expectations:
        config["timeout"] = _max_seconds(expectations["max_seconds"], "expectations.max_seconds", limit)
    return config, secrets


def _handshake(url: str, config: t.Mapping[str, t.Any]) -> tuple[str, str, dict[str, t.Any]] | None:
    """Address, module's name and module of the second probe, if it speaks TLS and is reached without a proxy."""
    prober = str(config.get("prober"))
    inner = config.get(prober) or {}
    if prober == "http":
        if not url.startswith("https://") or inner.get("proxy_url") or inner.get("proxy_from_environment"):
            return None
    elif prober != "tcp" or not (inner.get("tls") or (inner.get("query_response") or [{}])[0].get("starttls")):
        return None
    given = inner.get("tls_config") or {}
    tls = {"insecure_skip_verify": True} | {key: given[key] for key in ("min_version", "server_name") if key in given}
    tcp = {key: inner[key] for key in ("preferred_ip_protocol", "ip_protocol_fallback") if key in inner} | {
        "query_response": [{"starttls": True}],
        "tls_config": tls,
    }
    words = [HANDSHAKE, *([str(tls["min_version"]).lower()] if "min_version" in tls else []), *([str(tls["server_name"])] if "server_name" in tls else [])]
    if not inner.get("ip_protocol_fallback", True) or inner.get("preferred_ip_protocol") != "ip4":
        words.append(str(inner.get("preferred_ip_protocol", "any")) + ("" if inner.get("ip_protocol_fallback", True) else "-only"))
    return _address(url)[1], "-".join(words), {"prober": "tcp", "tcp": tcp}


# -- services ---------------------------------------------------------------------------------------------------------------------------------------------
def _labels(given: t.Any) -> dict[str, str]:
    found = {}
    for name, value in _mapping(given, "labels").items():
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            raise _Wrong(f"labels has '{name}', which is no name of a label; use letters, digits and _, first no digit and not __.")
        if name in _RESERVED:
            raise _Wrong(f"labels has '{name}', which has a meaning of its own; take another name.")
        if isinstance(value, (dict, list)) or value is None:
            raise _Wrong(f"labels.{name} is {value!r}; it must be text.")
        found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _probe(service: t.Mapping[str, t.Any], modules: t.Mapping[str, t.Any], proxies: t.Mapping[str, t.Any], limit: float) -> _Probe:
    name, url = str(service.get("name") or ""), service.get("url")
    if not _ID.fullmatch(name):
        raise _Wrong("the name is not an RFC 1123 label (a-z, 0-9 and -, first and last no -, at most 63 characters); correct it.")
    unknown = sorted(set(service) - set(_KEYS))
    if unknown:
        raise _Wrong(f"{unknown[0]} is not known here; a service has: {', '.join(_KEYS)}.")
    module = service.get("module") or DEFAULT_MODULE
    request = {key: value for key, value in _mapping(service.get("request"), "request").items() if value is not None}
    expectations = {key: value for key, value in _mapping(service.get("expectations"), "expectations").items() if value is not None}
    labels = _labels(service.get("labels"))
    if module in modules:
        if request or expectations:
            what = "expectations" if expectations else "request"
            raise _Wrong(f"{what} does not fit module '{module}', which is one of observer_blackbox_modules; say it there, or use {', '.join(EXPECTATIONS)}.")
        config = modules[module] if isinstance(modules[module], dict) else {}
        prober = str(config.get("prober") or "")
        _check_url(url, "http" if prober == "http" else "")
        return _Probe(name, str(url), str(module), str(module), labels, None, _handshake(str(url), config), prober=prober)
    if module not in EXPECTATIONS:
        raise _Wrong(f"it uses module '{module}', which is none of: {', '.join([*EXPECTATIONS, *sorted(modules)])}.")
    for what, given, known in (("expectations", expectations, EXPECTATIONS), ("request", request, REQUEST)):
        for key in given:
            if key not in known[module]:
                others = [other for other, keys in known.items() if key in keys]
                reason = f"is only for {', '.join(others)}" if others else "is not known"
                raise _Wrong(f"{what}.{key} {reason}; module {module} has: {', '.join(known[module])}.")
    _check_url(url, module)
    config, secrets = _ready(module, str(url), request, expectations, proxies, limit)
    title = _name(module, str(url), request, expectations, config)
    if title in modules:
        title = f"{title}-{_digest(config)}"
    return _Probe(name, str(url), str(module), title, labels, config, _handshake(str(url), config), tuple(secrets), str(config["prober"]))


def _services(services: t.Any) -> list[dict[str, t.Any]]:
    if not isinstance(services, list) or not all(isinstance(service, dict) for service in services):
        raise ObserverError("observer_services is not a list of dictionaries. Write each service as {name: ..., url: ...}.")
    return services


def problems(
    services: t.Any,
    modules: t.Mapping[str, t.Any] | None = None,
    interval: str = "",
    secrets: t.Mapping[str, t.Iterable[str]] | None = None,
    namespace: str = "",
) -> list[str]:
    """One line for each service with which something is wrong. With C(secrets), what there is by name and keys, also for what is missing there."""
    found = []
    names = [service.get("name") for service in _services(services)]
    for name in modules or ():
        if name.split("-", 1)[0] == HANDSHAKE:
            found.append(f"observer_blackbox_modules: the module '{name}' has a name that the role uses itself; give it another one.")
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            found.append(f"observer_services: the service '{name}' is there {names.count(name)} times; each may be there once.")
    for service in services:
        try:
            probe = _probe(service, modules or {}, {}, limit_of(interval))
        except _Wrong as wrong:
            found.append(f"observer_services: '{service.get('name')}': {wrong}")
            continue
        for secret, keys in probe.secrets if secrets is not None else ():
            missing = [key for key in keys if key not in (t.cast(t.Any, secrets).get(secret) or ())]
            if missing:
                literals = " ".join(f"--from-literal={key}=..." for key in keys)
                found.append(
                    f"observer_services: '{probe.service}' wants {' and '.join(missing)} of Secret '{secret}', which is not there; "
                    f"make it: kubectl create secret generic {secret} -n {namespace} {literals}"
                )
    return found


def probes(services: t.Any, modules: t.Mapping[str, t.Any] | None = None, proxies: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Modules of the exporter, jobs of Prometheus (name, targets with their labels), Secrets to mount, and whether ICMP is sent."""
    made = dict(modules or {})
    jobs: dict[str, list[dict[str, t.Any]]] = {}
    secrets: set[str] = set()
    icmp = False
    for service in _services(services):
        try:
            # what may be asked in which time was said by problems()
            probe = _probe(service, modules or {}, proxies or {}, _PROMETHEUS_WAITS)
        except _Wrong as wrong:
            raise ObserverError(f"observer_services: '{service.get('name')}': {wrong}") from wrong
        labels = {**probe.labels, "service": probe.service}
        if probe.config is not None:
            made[probe.module] = probe.config
        jobs.setdefault(probe.job, []).append(_target(probe.url, probe.url, probe.module, labels))
        if probe.handshake:
            address, module, config = probe.handshake
            made[module] = config
            jobs.setdefault(HANDSHAKE, []).append(_target(probe.url, address, module, labels))
        secrets |= {secret for secret, _keys in probe.secrets}
        icmp = icmp or probe.prober == "icmp"
    return {
        "modules": made,
        "jobs": [{"name": f"blackbox-{name}", "targets": jobs[name], "handshake": name == HANDSHAKE} for name in sorted(jobs)],
        "secrets": sorted(secrets),
        "icmp": icmp,
    }


def _target(url: str, address: str, module: str, labels: t.Mapping[str, str]) -> dict[str, t.Any]:
    return {"targets": [url], "labels": {**labels, "__param_module": module, "__param_target": address}}
