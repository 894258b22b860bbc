# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: the only code that talks to a Kubernetes API server.

Who is asked, and as whom, is settled by kubernetes.core (kubeconfig, K8S_AUTH_*, exec plugins, proxies, TLS); its dynamic client and
discovery are left out, for they cost up to 24 requests before the first useful one.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import typing as t
import urllib.parse

from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

if t.TYPE_CHECKING:
    from urllib3 import PoolManager

ARGUMENT_SPEC: dict[str, t.Any] = AUTH_ARG_SPEC

CONNECTIONS = 8
CONNECT_TIMEOUT = 10
READ_TIMEOUT = 60

APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


class ApiError(ObserverError):
    """A request that failed; C(status) is 0 when the server was not reached."""

    def __init__(self, message: str, *, status: int, reason: str = "", detail: str = "", causes: t.Sequence[t.Mapping[str, str]] = (), kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.causes = list(causes)
        self.kind = kind


@dataclasses.dataclass(frozen=True)
class Resource:
    """Where the objects of one kind live."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        parts = [prefix(self.api_version)]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace)]
        parts.append(self.plural)
        if name:
            parts.append(quote(name))
        return "/".join(parts)


def prefix(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def quote(segment: str) -> str:
    return urllib.parse.quote(segment, safe="")


def _table() -> dict[tuple[str, str], Resource]:
    irregular = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses", "IngressClass": "ingressclasses", "StorageClass": "storageclasses"}
    irregular |= {"PriorityClass": "priorityclasses", "RuntimeClass": "runtimeclasses", "Endpoints": "endpoints"}
    namespaced = {
        "v1": "ConfigMap Endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount",
        "apps/v1": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
        "autoscaling/v1": "HorizontalPodAutoscaler",
        "autoscaling/v2": "HorizontalPodAutoscaler",
        "batch/v1": "CronJob Job",
        "coordination.k8s.io/v1": "Lease",
        "discovery.k8s.io/v1": "EndpointSlice",
        "networking.k8s.io/v1": "Ingress NetworkPolicy",
        "policy/v1": "PodDisruptionBudget",
        "rbac.authorization.k8s.io/v1": "Role RoleBinding",
    }
    cluster_scoped = {
        "v1": "Namespace Node PersistentVolume",
        "admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
        "apiextensions.k8s.io/v1": "CustomResourceDefinition",
        "apiregistration.k8s.io/v1": "APIService",
        "networking.k8s.io/v1": "IngressClass",
        "node.k8s.io/v1": "RuntimeClass",
        "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding",
        "scheduling.k8s.io/v1": "PriorityClass",
        "storage.k8s.io/v1": "CSIDriver StorageClass",
    }
    return {
        (api_version, kind): Resource(api_version, kind, irregular.get(kind, kind.lower() + "s"), scoped)
        for kinds, scoped in ((namespaced, True), (cluster_scoped, False))
        for api_version, names in kinds.items()
        for kind in names.split()
    }


BUILT_IN = _table()


@dataclasses.dataclass(frozen=True)
class Response:
    status: int
    data: t.Any
    warnings: tuple[str, ...] = ()


class Client:
    """Requests over kept-alive connections; safe to use from several threads."""

    def __init__(self, server: str, pool: PoolManager, headers: t.Callable[[], t.Iterable[tuple[str, str]]]) -> None:
        self.server = server
        self.requests = 0
        self._pool = pool
        self._headers = headers
        self._lock = threading.Lock()
        self._known: dict[str, list[Resource] | None] = {}

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object | None = None,
        query: t.Mapping[str, str] | None = None,
        content_type: str = "application/json",
        text: bool = False,
    ) -> t.Any:
        """The parsed answer (or its text); ApiError for anything but success."""
        return self.send(method, path, body=body, query=query, content_type=content_type, text=text).data

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object | None = None,
        query: t.Mapping[str, str] | None = None,
        content_type: str = "application/json",
        text: bool = False,
    ) -> Response:
        """As request, with the status and the server's warnings."""
        import urllib3

        headers = urllib3.HTTPHeaderDict()
        for name, value in self._headers():
            headers.add(name, value)
        headers["Accept"] = "*/*" if text else "application/json"
        encoded = None
        if body is not None:
            headers["Content-Type"] = content_type
            encoded = body if isinstance(body, (str, bytes)) else json.dumps(body, default=str)
        url = self.server + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with self._lock:
            self.requests += 1
        try:
            answer = self._pool.request(
                method,
                url,
                body=encoded,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
                # One repetition for a kept-alive connection that the server has closed; 429 and 503 are repeated when the server says after how long.
                retries=urllib3.Retry(total=5, connect=0, read=1, redirect=0, other=0, status=5, allowed_methods=None, raise_on_status=False),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _unreachable(self.server, error) from error
        content = (answer.data or b"").decode("utf-8", "replace")
        if not 200 <= answer.status < 300:
            raise _refused(self.server, method, path, answer.status, content)
        if text:
            return Response(answer.status, content)
        try:
            data = json.loads(content) if content else None
        except ValueError as error:
            message = f"{self.server} answered {method} {path} with something that is not JSON: is it a Kubernetes API server?"
            raise ApiError(message, status=answer.status) from error
        return Response(answer.status, data, _warnings(answer.headers.getlist("Warning")))

    def stream(self, path: str, *, query: t.Mapping[str, str], silence: float) -> t.Iterator[str]:
        """The lines of an answer that goes on, such as a watch. ApiError when it breaks off, or when no line comes for so many seconds."""
        import urllib3

        headers = urllib3.HTTPHeaderDict()
        for name, value in self._headers():
            headers.add(name, value)
        headers["Accept"] = "application/json"
        with self._lock:
            self.requests += 1
        answer: t.Any = None
        try:
            timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=silence)
            url = f"{self.server}{path}?{urllib.parse.urlencode(query)}"
            answer = self._pool.request("GET", url, headers=headers, timeout=timeout, retries=False, preload_content=False)
            if answer.status != 200:
                raise _refused(self.server, "GET", path, answer.status, answer.read().decode("utf-8", "replace"))
            rest = b""
            for chunk in answer.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", "replace")
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _unreachable(self.server, error) from error
        finally:
            if answer is not None:
                answer.close()

    def list(self, path: str, *, labels: str | None = None, fields: str | None = None) -> list[dict[str, t.Any]]:
        """All objects of a collection, with apiVersion and kind filled in."""
        query = {"limit": "500"}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        objects: list[dict[str, t.Any]] = []
        while True:
            page = self.request("GET", path, query=query)
            kind = page.get("kind", "").removesuffix("List")
            objects += [{"apiVersion": page.get("apiVersion"), "kind": kind, **item} for item in page.get("items") or []]
            query["continue"] = (page.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                return objects

    def resolve(self, api_version: str, kind: str) -> Resource | None:
        """Where a kind lives: from the table of built-in kinds, else one request a group and version; None if the server does not know it."""
        if (api_version, kind) in BUILT_IN:
            return BUILT_IN[api_version, kind]
        if api_version not in self._known:
            self._known[api_version] = self._discover(api_version)
        return next((resource for resource in self._known[api_version] or [] if resource.kind == kind), None)

    def forget(self, api_version: str) -> None:
        """Ask again next time, for a CustomResourceDefinition has been made."""
        self._known.pop(api_version, None)

    def _discover(self, api_version: str) -> list[Resource] | None:
        try:
            answer = self.request("GET", prefix(api_version))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return [Resource(api_version, entry["kind"], entry["name"], entry["namespaced"]) for entry in answer.get("resources") or [] if "/" not in entry["name"]]


def from_module(module: t.Any) -> Client:
    """A client for the authentication options of a module; nothing is sent yet."""
    return connect(module.params)


def connect(params: t.Mapping[str, t.Any]) -> Client:
    """A client for kubernetes.core's authentication options, with K8S_AUTH_* for what is not given."""
    try:
        import kubernetes
        from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import _create_auth_spec, _create_configuration, _create_headers
    except ImportError as error:
        raise ObserverError(f"Python package 'kubernetes' cannot be imported ({error}): install it for the Python that runs this task.") from error
    options = {name: params.get(name) for name in ARGUMENT_SPEC}
    auth = _create_auth_spec(None, **options)
    try:
        # a kubeconfig read before, for another cluster, would shine through
        kubernetes.client.Configuration.set_default(None)
        configuration = _create_configuration(auth)
        configuration.connection_pool_maxsize = CONNECTIONS
        client = kubernetes.client.ApiClient(configuration)
    except Exception as error:  # the loaders raise ConfigException, OSError, YAMLError, ValueError, binascii.Error, TypeError, ...
        remedy = "Check options 'kubeconfig' and 'context', or K8S_AUTH_KUBECONFIG and K8S_AUTH_CONTEXT"
        raise ObserverError(f"Kubernetes connection cannot be set up from {_source(auth)}: {_first_line(error)}. {remedy}.") from error
    fixed = [("User-Agent", "scs.observer")]
    for name, value in _create_headers(None, **options).items():
        fixed += [(name, entry) for entry in (value if isinstance(value, list) else [value])]

    def headers() -> t.Iterator[tuple[str, str]]:
        yield from fixed
        for setting in configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                yield setting["key"], setting["value"]

    return Client(configuration.host.rstrip("/"), client.rest_client.pool_manager, headers)


def _source(auth: t.Mapping[str, t.Any]) -> str:
    kubeconfig = auth.get("kubeconfig")
    source = "the given kubeconfig" if isinstance(kubeconfig, dict) else f"kubeconfig {kubeconfig}" if kubeconfig else "the default kubeconfig"
    return f"{source}, context {auth['context']}" if auth.get("context") else source


def _first_line(error: BaseException) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return f"{type(error).__name__}: {text}" if isinstance(error, (KeyError, TypeError)) else text


def _warnings(headers: t.Iterable[str]) -> tuple[str, ...]:
    """Texts of C(299 - "text") headers."""
    return tuple(header.split('"', 1)[1].rsplit('"', 1)[0].replace('\\"', '"') for header in headers if header.count('"') >= 2)


def _unreachable(server: str, error: Exception) -> ApiError:
    import urllib3

    cause: t.Any = error
    while isinstance(getattr(cause, "reason", None), BaseException):
        cause = cause.reason
    # urllib3 puts the connection before the reason
    text = re.sub(r"^(<.*? object at 0x\w+>|HTTPS?Connection(Pool)?\(.*?\)): ", "", _first_line(cause))
    if isinstance(cause, (urllib3.exceptions.SSLError, urllib3.exceptions.ProxyError)) and cause.args:
        text = str(cause.args[-1])
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text or "doesn't match" in text:
        remedy = "Give the CA that signed it (option 'ca_cert', or certificate-authority in the kubeconfig) and use a host name that it contains"
        return ApiError(f"TLS certificate of Kubernetes API server {server} cannot be verified: {text}. {remedy}.", status=0, reason="Tls")
    if "SSL" in type(cause).__name__ or "SSL" in text or "TLS" in text:
        remedy = "Check the client certificate and key, and that the address speaks TLS"
        return ApiError(f"TLS connection to Kubernetes API server {server} failed: {text}. {remedy}.", status=0, reason="Tls")
    remedy = "Check that it runs, that the address in the kubeconfig (or option 'host') is right, and proxy and firewall in between"
    return ApiError(f"Kubernetes API server {server} cannot be reached: {text}. {remedy}.", status=0, reason="Unreachable")


def _refused(server: str, method: str, path: str, status: int, content: str) -> ApiError:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = {}
    answer = answer if isinstance(answer, dict) else {}
    details = answer.get("details") or {}
    detail = str(answer.get("message") or content.strip()[:300] or "no message").rstrip(".")
    message = f"{method} {path} failed on {server} ({status}): {detail}."
    if status == 401:
        remedy = "Renew the token or client certificate in the kubeconfig, or choose another 'context'"
        message = f"Kubernetes API server {server} does not accept the credentials (401). {remedy}."
    elif status == 403 and "system:anonymous" in detail:
        message = f"{message} The request carried no credentials: check token, client certificate or exec plugin of the kubeconfig's user."
    elif status == 403:
        message = f"{message} Use credentials with this right, or grant it by a Role or ClusterRole." if "cannot" in detail else message
    kind = str(details.get("kind") or "")
    return ApiError(message, status=status, reason=str(answer.get("reason") or ""), detail=detail, causes=details.get("causes") or (), kind=kind)
