# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All certificates of a KaaS cluster of which something is known."""

from __future__ import annotations

from collections.abc import Sequence

from . import common as c
from .control_plane import DETAILS, UP
from .ingress import NGINX_CERTIFICATE, TRAEFIK_CERTIFICATE

_CLUSTER = 'cluster=~"$cluster",infrastructure=""'
_DAYS = {"unit": "suffix: days", "limits": c.low_is_bad(7, 30), "decimals": 0}
_CLIENTS = f'apiserver_client_certificate_expiration_seconds_bucket{{{_CLUSTER},job="apiserver"'
_CERTIFICATE = "certmanager_certificate_{}{{" + _CLUSTER + ',job="cert-manager"}}'


_READY = f'certmanager_certificate_ready_status{{{_CLUSTER},condition="True",job="cert-manager"}}'
_RENEWAL = _CERTIFICATE.format("renewal_timestamp_seconds")


def _left(timestamp: str) -> str:
    """Days from now to a time in seconds; 0 means that there is no certificate yet."""
    return f"({timestamp} - time()) / 86400"


def _kubelet(kind: str) -> str:
    return f'kubelet_certificate_manager_{kind}_ttl_seconds{{{_CLUSTER},job="kubelet"}}'


def _stat(title: str, description: str, expr: str, **more: object) -> c.Panel:
    return c.stat(title, description, _DAYS["unit"], expr, limits=_DAYS["limits"], mappings=[c.no_data("not known")], decimals=0, **more)


def _asked(seconds: str, window: str) -> str:
    """Requests with a certificate that ends within so many seconds; how the bound is written depends on the version."""
    return f'sum(increase({_CLIENTS},le=~"{seconds}"}}[{window}]))'


def dashboards() -> Sequence[c.Dashboard]:
    served = f'{NGINX_CERTIFICATE}{{{_CLUSTER},job="ingress-nginx"}} or {TRAEFIK_CERTIFICATE}{{{_CLUSTER},job="traefik"}}'
    by = ("namespace", "name", "issuer_kind", "issuer_name")
    issuers = f'{{__name__=~"certmanager_(cluster)?issuer_ready_status",{_CLUSTER},condition="True",job="cert-manager"}}'
    agent = f'max by (cluster) (cluster:kaas_agent_certificate_not_after:timestamp_seconds{{{c.RECORDED},cluster=~"$cluster"}})'
    bounds = (("a day", "86400(.0)?"), ("a week", "604800(.0)?"), ("30 days", "2592000(.0)?|2.592e[+]06"), ("90 days", "7776000(.0)?|7.776e[+]06"))
    return [
        c.dashboard(
            "scs-kaas-certificates",
            "Certificates of a KaaS cluster: clients of the API server, kubelets, cert-manager's, those of the ingress controllers, and the agent's own.",
            variables=[c.cluster_variable()],
            up=UP,
            lists=DETAILS,
            panels=[
                c.row("The first to end"),
                _stat(
                    "Clients of the API server",
                    "Days that the shortest-lived hundredth of the requests' client certificates has left. Clients with tokens do not count.",
                    f"histogram_quantile(0.01, sum by (le) (rate({_CLIENTS}}}[1h]))) / 86400",
                ),
                _stat("Kubelets: client", "Of the client certificates that kubelets renew themselves, the first to end.", f"min({_kubelet('client')}) / 86400"),
                _stat("Kubelets: server", "Of the server certificates that kubelets renew themselves, the first to end.", f"min({_kubelet('server')}) / 86400"),
                _stat(
                    "cert-manager",
                    "Of cert-manager's certificates, the first to end.",
                    _left(f"min({_CERTIFICATE.format('expiration_timestamp_seconds')} > 0)"),
                ),
                _stat("Ingress controllers", "Of the certificates that ingress controllers serve, the first to end.", _left(f"min({served})")),
                _stat("Agent", "The certificate by which the Observer knows this cluster. Each run of kaas_onboard renews it in time.", _left(agent)),
                c.row("Clients of the API server"),
                c.bargauge(
                    "Requests of the last hour by days left",
                    "Requests with a client certificate that ends within so much time; each also counts in the lines below it.",
                    "short",
                    {text: _asked(seconds, "1h") for text, seconds in bounds} | {"all": _asked("[+]Inf", "1h")},
                    decimals=0,
                    limits=c.PLAIN,
                ),
                c.timeseries(
                    "Time left of the shortest-lived",
                    "What the shortest-lived hundredth and tenth of the client certificates in use have left. Long steps are the histogram's.",
                    "s",
                    {
                        "hundredth": f"histogram_quantile(0.01, sum by (le) (rate({_CLIENTS}}}[$__rate_interval])))",
                        "tenth": f"histogram_quantile(0.1, sum by (le) (rate({_CLIENTS}}}[$__rate_interval])))",
                    },
                    width=16,
                ),
                c.row("Kubelets"),
                c.table(
                    "Certificates of the kubelets",
                    "Those that kubelets renew themselves. A kubelet whose certificate was given to it as a file is not here.",
                    [
                        c.label("node", "Node", links=[c.link("scs-kaas-node", cluster="$cluster", node="${__data.fields.node}")]),
                        c.value("Client: days left", f"min by (node) ({_kubelet('client')}) / 86400", _DAYS["unit"], _DAYS["limits"], decimals=0),
                        c.value("Server: days left", f"min by (node) ({_kubelet('server')}) / 86400", _DAYS["unit"], _DAYS["limits"], decimals=0),
                    ],
                    sort="Client: days left",
                    descending=False,
                    width=12,
                    height=8,
                ),
                c.timeseries(
                    "Renewals that fail",
                    "Certificates that kubelets could not renew.",
                    "ops",
                    {
                        "client": f'sum(rate(kubelet_certificate_manager_client_expiration_renew_errors{{{_CLUSTER},job="kubelet"}}[$__rate_interval])) '
                        f'or 0 * group(kubelet_running_pods{{{_CLUSTER},job="kubelet"}})',
                        "server": f'sum(rate(kubelet_server_expiration_renew_errors{{{_CLUSTER},job="kubelet"}}[$__rate_interval]))',
                    },
                ),
                c.row("cert-manager"),
                c.stat(
                    "Certificates",
                    "Certificates that cert-manager looks after.",
                    "short",
                    f"count({_CERTIFICATE.format('expiration_timestamp_seconds')})",
                    width=6,
                ),
                c.stat(
                    "Not ready",
                    "Certificates that are not there yet, or could not be renewed.",
                    "short",
                    f"count({_READY} == 0) or 0 * count({_READY})",
                    limits=c.bad_if_any(c.ORANGE),
                    width=6,
                ),
                c.stat(
                    "Renewal is late",
                    "Certificates whose time of renewal passed more than an hour ago.",
                    "short",
                    f"count(time() - {_RENEWAL} > 3600 and {_RENEWAL} > 0) or 0 * count({_RENEWAL})",
                    limits=c.bad_if_any(c.ORANGE),
                    width=6,
                ),
                c.stat(
                    "Issuers that are not ready",
                    "Issuers, of a namespace or of the cluster, that can not be used.",
                    "short",
                    f"count({issuers} == 0) or 0 * count({issuers})",
                    limits=c.bad_if_any(c.ORANGE),
                    width=6,
                ),
                c.table(
                    "Certificates of cert-manager",
                    "The first to end on top.",
                    [
                        c.label("namespace", "Namespace"),
                        c.label("name", "Certificate"),
                        c.label("issuer_kind", "Kind of issuer"),
                        c.label("issuer_name", "Issuer"),
                        c.value(
                            "Ready",
                            f"min by ({', '.join(by)}) ({_READY})",
                            "none",
                            mappings=[c.mapping({1: ("yes", c.GREEN), 0: ("no", c.RED)})],
                        ),
                        c.value(
                            "Days left",
                            _left(f"min by ({', '.join(by)}) ({_CERTIFICATE.format('expiration_timestamp_seconds')} > 0)"),
                            _DAYS["unit"],
                            _DAYS["limits"],
                            decimals=0,
                        ),
                        c.value("Renewal in", f"min by ({', '.join(by)}) ({_RENEWAL} > 0) - time()", "s", c.low_is_bad(-3600, 0), decimals=0),
                    ],
                    sort="Days left",
                    descending=False,
                ),
                c.row("Ingress controllers"),
                c.table(
                    "Certificates of ingress controllers",
                    "The first to end on top. Names of hosts do not leave the cluster: ingress-nginx names the Secret, Traefik only a number (docs/agent.md).",
                    [
                        c.label("job", "Controller"),
                        c.label("namespace", "Namespace"),
                        c.label("secret_name", "Secret"),
                        c.label("hidden", "Number"),
                        c.value(
                            "Days left",
                            f"(min by (job, namespace, secret_name, hidden) ({served}) - time()) / 86400",
                            _DAYS["unit"],
                            _DAYS["limits"],
                            decimals=0,
                        ),
                    ],
                    sort="Days left",
                    descending=False,
                    height=8,
                ),
            ],
        )
    ]
