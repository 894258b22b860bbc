# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: Kubernetes manifests as data: read, checked, ordered, compared and shown. Nothing here talks to a server."""

from __future__ import annotations

import base64
import binascii
import copy
import dataclasses
import datetime
import functools
import hashlib
import hmac
import json
import pathlib
import re
import secrets
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

Body = dict[str, t.Any]

FIELD_MANAGER = "scs.observer"
SET_LABEL = "scs.observer/set"
KEEP_ANNOTATION = "scs.observer/keep"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod")
FIRST = (
    *("Namespace", "CustomResourceDefinition", "PriorityClass", "RuntimeClass", "StorageClass", "ResourceQuota", "LimitRange"),
    *("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount", "Secret", "ConfigMap", "PersistentVolume", "PersistentVolumeClaim"),
    *("NetworkPolicy", "PodDisruptionBudget", "Service", "Endpoints", "EndpointSlice", *WORKLOADS, "HorizontalPodAutoscaler", "IngressClass", "Ingress"),
)
LAST = ("APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
# Whom a custom object serves is unknown; its operator may be one of the workloads.
CREATE_RANK = {kind: rank for rank, kind in enumerate((*FIRST, "(custom)", *LAST))}
# Webhooks whose server is gone block everything; a custom object's finalizer needs its operator.
DELETE_STAGES = (frozenset(LAST), frozenset({"(custom)"}), frozenset(WORKLOADS), frozenset(), frozenset({"CustomResourceDefinition"}), frozenset({"Namespace"}))

SOURCE_COMMENT = re.compile(r"\A(?:---[ \t]*\n)?#[ \t]*[Ss]ource:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
DROPPED_METADATA = frozenset({"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink"})
SUFFIXES = (".yml", ".yaml", ".json")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """One object as it was given; C(source) says where, for messages."""

    body: Body
    source: str

    @property
    def api_version(self) -> str:
        return self.body["apiVersion"]

    @property
    def kind(self) -> str:
        return self.body["kind"]

    @property
    def name(self) -> str:
        return self.body["metadata"]["name"]

    @property
    def namespace(self) -> str | None:
        return self.body["metadata"].get("namespace")

    @property
    def key(self) -> Key:
        return key_of(self.body)

    @property
    def title(self) -> str:
        return title(self.body)


class Key(t.NamedTuple):
    """What makes an object the same object, whatever version of its API it is written in."""

    group: str
    kind: str
    namespace: str
    name: str


def group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def key_of(body: Body) -> Key:
    metadata = body["metadata"]
    return Key(group_of(body["apiVersion"]), body["kind"], metadata.get("namespace") or "", metadata["name"])


def title(body: Body) -> str:
    """C(Kind namespace/name) or, cluster-scoped, C(Kind name)."""
    metadata = body["metadata"]
    namespace = metadata.get("namespace")
    return f"{body['kind']} {namespace}/{metadata['name']}" if namespace else f"{body['kind']} {metadata['name']}"


# --- reading ---------------------------------------------------------------------------------------------------------------------------------------


@functools.cache
def _yaml() -> t.Any:
    """PyYAML, which is looked for only when it is needed: ansible-test imports this file without it."""
    try:
        import yaml
    except ImportError as error:
        raise ObserverError(f"Python package 'PyYAML' cannot be imported ({error}): install it for the Python that runs this task.") from error
    return yaml


@functools.cache
def _loader() -> t.Any:
    """Reads YAML as Kubernetes does: no dates, and no key twice."""
    yaml = _yaml()
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc,valid-type]
        def construct_mapping(self, node: t.Any, deep: bool = False) -> dict[t.Any, t.Any]:
            seen: set[str] = set()
            for key, _value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in seen:
                        raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is there twice", key.start_mark)
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    return Loader


@functools.cache
def _dumper() -> t.Any:
    """Writes texts of several lines as they are."""
    yaml = _yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc,name-defined]
        pass

    def text(dumper: t.Any, value: str) -> t.Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return Dumper


def plain(value: t.Any) -> t.Any:
    """A value that came through templates as plain JSON types; fails for what JSON can't say."""
    if isinstance(value, t.Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, (list, tuple, set)) or hasattr(value, "__next__"):
        return [plain(entry) for entry in value]
    return str(value)


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    """The file itself, or the manifest files directly in a folder, by name."""
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file()) if path.is_dir() else [path]
    if not files:
        raise ObserverError(f"src: folder {path} has no file that ends in {', '.join(SUFFIXES)}: give a folder with manifests.")
    return files


def read_files(paths: t.Iterable[str], named: str | None = None) -> list[str]:
    """The text of each file and of each file in a folder; each begins with a comment that names it."""
    texts = []
    for file in (file for path in paths for file in files_of(pathlib.Path(path))):
        name = named or file
        try:
            texts.append(f"# Source: {name}\n{file.read_text(encoding='utf-8')}")
        except FileNotFoundError as error:
            raise ObserverError(f"src: file {name} does not exist: correct the path.") from error
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ObserverError(f"src: file {name} cannot be read: {reason}.") from error
    return texts


def parse(items: t.Iterable[t.Any]) -> list[Manifest]:
    """Objects of dicts, lists of dicts and YAML texts; one error that names every item that is wrong."""
    found: list[Manifest] = []
    problems: list[str] = []
    for index, item in enumerate(items):
        try:
            for source, document in _documents(item, f"manifests[{index}]"):
                for manifest in _expand(document, source):
                    problem = _problem(manifest)
                    if problem:
                        problems.append(f"{_where(manifest)}: {problem}")
                    else:
                        found.append(Manifest(secret_data_only(manifest.body), manifest.source))
        except ObserverError as error:
            problems.append(str(error))
    seen: dict[Key, Manifest] = {}
    for manifest in found:
        first = seen.setdefault(manifest.key, manifest)
        if first is not manifest:
            problems.append(f"{manifest.source}: {manifest.title} is there twice, first in {first.source}. Remove one of them.")
    if problems:
        raise ObserverError(problems[0] if len(problems) == 1 else "\n- ".join([f"{len(problems)} manifests are wrong; nothing was changed:", *problems]))
    return found


def _documents(item: t.Any, source: str) -> t.Iterator[tuple[str, t.Any]]:
    if not isinstance(item, str):
        yield source, item
        return
    named = SOURCE_COMMENT.search(item)
    source = named.group(1) if named else source
    stripped = item.lstrip()
    if stripped[:1] in ("{", "["):
        try:
            yield source, json.loads(stripped)
            return
        except ValueError:
            pass  # flow style YAML begins like JSON
    yaml = _yaml()
    try:
        documents = list(yaml.load_all(item, _loader()))
    except yaml.YAMLError as error:
        # str(error) would quote the text, which may be a Secret
        mark = getattr(error, "problem_mark", None)
        # the comment that names the source is a line of ours
        line = 0 if mark is None else mark.line + (0 if named and item.startswith("# Source: ") else 1)
        place = f" in line {line}, column {mark.column + 1}" if mark is not None else ""
        raise ObserverError(f"{source}: not valid YAML{place}: {getattr(error, 'problem', None) or 'cannot be read'}.") from None
    for number, document in enumerate(documents, 1):
        yield (f"{source}, document {number}" if len(documents) > 1 else source), document


def _expand(document: t.Any, source: str) -> t.Iterator[Manifest]:
    """Nothing for an empty document, the parts of a list."""
    if document is None:
        return
    if isinstance(document, list):
        for index, entry in enumerate(document):
            yield from _expand(entry, f"{source}[{index}]")
    elif isinstance(document, dict) and isinstance(document.get("items"), list) and str(document.get("kind")).endswith("List"):
        for index, entry in enumerate(document["items"]):
            yield from _expand(entry, f"{source}, items[{index}]")
    else:
        yield Manifest(document, source)


def _where(manifest: Manifest) -> str:
    body = manifest.body
    if not isinstance(body, dict):
        return manifest.source
    metadata = body.get("metadata") if isinstance(body.get("metadata"), dict) else {}
    known = " ".join(str(part) for part in (body.get("kind"), metadata.get("name")) if isinstance(part, str))
    return f"{manifest.source} ({known})" if known else manifest.source


def _problem(manifest: Manifest) -> str | None:
    """Why an item is no object that can be applied."""
    body = manifest.body
    if not isinstance(body, dict):
        found = "a text" if isinstance(body, str) else f"of type {type(body).__name__}"
        return f"is {found}, not an object: give a mapping with apiVersion, kind and metadata."
    for field in ("apiVersion", "kind"):
        if not isinstance(body.get(field), str) or not body[field].strip():
            return f"has no {field}."
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return "has no metadata: give at least metadata.name."
    if not isinstance(metadata.get("name"), str) or not metadata["name"]:
        if "name" in metadata and metadata["name"] is not None and metadata["name"] != "":
            return "metadata.name is not a text: put it in quotes."
        extra = " generateName makes a new object at each run." if metadata.get("generateName") else ""
        return f"has no metadata.name.{extra}"
    for field, kind in (("namespace", str), ("labels", dict), ("annotations", dict)):
        if metadata.get(field) is not None and not isinstance(metadata[field], kind):
            return f"metadata.{field} is not a {'text' if kind is str else 'mapping'}."
    return _secret_problem(body) if is_secret(body) else None


def _secret_problem(body: Body) -> str | None:
    # Checked here because the server's answer would quote the value.
    for field in ("data", "stringData"):
        values = body.get(field)
        if values is not None and not isinstance(values, dict):
            return f"{field} is not a mapping."
        for name, value in (values or {}).items():
            if not isinstance(value, str) and not (field == "data" and value is None):
                return f"{field}[{name}] is not a text: put it in quotes, or use a template filter such as string."
            if field == "data" and value:
                try:
                    base64.b64decode("".join(value.split()), validate=True)
                except (binascii.Error, ValueError):
                    return f"data[{name}] is not base64: use stringData for plain text, or the filter b64encode."
    return None


def is_secret(body: t.Mapping[str, t.Any]) -> bool:
    return body.get("kind") == "Secret" and body.get("apiVersion") == "v1"


def secret_data_only(body: Body) -> Body:
    """stringData as data: server-side apply never removes a key that has left stringData."""
    if not is_secret(body) or not ("stringData" in body or "data" in body):
        return body
    result = {key: value for key, value in body.items() if key not in ("stringData", "data")}
    data = {name: "".join((value or "").split()) for name, value in (body.get("data") or {}).items()}
    data |= {name: base64.b64encode(value.encode()).decode() for name, value in (body.get("stringData") or {}).items()}
    if data:
        result["data"] = data
    return result


def secret_values(bodies: t.Iterable[Body]) -> set[str]:
    """Every value of Secrets, encoded and plain, that is long enough to be told from other text."""
    values: set[str] = set()
    for body in bodies:
        for encoded in (body.get("data") or {}).values() if is_secret(body) else ():
            values.add(encoded)
            try:
                values.add(base64.b64decode(encoded).decode())
            except (binascii.Error, ValueError):
                continue
    return {value for value in values if len(value) >= 6}


def scrub(text: str, values: t.Iterable[str]) -> str:
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "<hidden>")
    return text


def check_set(name: str | None) -> None:
    if name is not None and not LABEL_VALUE.fullmatch(name):
        raise ObserverError(f"set {name!r} is no label value: use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit.")


def complete(manifest: Manifest, *, namespaced: bool, namespace: str | None, set_name: str | None) -> Manifest:
    """The object as it is sent: with its namespace and the label of its set."""
    body = copy.deepcopy(manifest.body)
    metadata = body["metadata"]
    if not namespaced:
        if metadata.get("namespace"):
            raise ObserverError(f"{manifest.source}: {manifest.kind} {manifest.name} is cluster-scoped, but names a namespace: remove metadata.namespace.")
        metadata.pop("namespace", None)
    elif not metadata.get("namespace"):
        if not namespace:
            raise ObserverError(f"{manifest.source}: {manifest.title} names no namespace: set metadata.namespace, or the option 'namespace'.")
        metadata["namespace"] = namespace
    if set_name:
        metadata["labels"] = {**(metadata.get("labels") or {}), SET_LABEL: set_name}
    metadata.pop("managedFields", None)
    body.pop("status", None)
    return Manifest(body, manifest.source)


def set_of(body: t.Mapping[str, t.Any]) -> str | None:
    return (body["metadata"].get("labels") or {}).get(SET_LABEL)


# --- order -----------------------------------------------------------------------------------------------------------------------------------------


def _class(key: Key, built_in: t.Container[tuple[str, str]]) -> str:
    return key.kind if (key.group, key.kind) in built_in and key.kind in CREATE_RANK else "(custom)"


def create_rank(key: Key, built_in: t.Container[tuple[str, str]]) -> int:
    """Smaller is made earlier."""
    return CREATE_RANK[_class(key, built_in)]


def delete_stage(key: Key, built_in: t.Container[tuple[str, str]]) -> int:
    """Smaller is removed earlier; what is in one stage goes together."""
    kind = _class(key, built_in)
    return next((stage for stage, kinds in enumerate(DELETE_STAGES) if kind in kinds), DELETE_STAGES.index(frozenset()))


# --- comparing -------------------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Item:
    """What of an object is compared and shown."""

    content: Body
    owned: t.Any = None
    note: str = ""


def item(body: Body) -> Item:
    return Item(normalise(body), owned_fields(body))


def normalise(body: Body) -> Body:
    """The object without what the server counts and what controllers report."""
    metadata = {name: value for name, value in body["metadata"].items() if name not in DROPPED_METADATA}
    if "annotations" in metadata:
        annotations = {name: value for name, value in (metadata["annotations"] or {}).items() if name != LAST_APPLIED}
        metadata["annotations"] = annotations
        if not annotations:
            del metadata["annotations"]
    if not metadata.get("labels", True):
        del metadata["labels"]
    return {**{name: value for name, value in body.items() if name not in ("status", "metadata")}, "metadata": metadata}


def owned_fields(body: Body) -> t.Any:
    """The fields that this collection has applied, as the server notes them."""
    for entry in body["metadata"].get("managedFields") or []:
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return entry.get("fieldsV1")
    return None


def equal(before: Item, after: Item) -> bool:
    return before.content == after.content and before.owned == after.owned


def with_note(before: Item, after: Item) -> Item:
    """Says in the diff that only the ownership changes, which would otherwise be an update without a difference."""
    if before.content == after.content and before.owned != after.owned:
        return dataclasses.replace(after, note=f"# only the ownership of fields changes: {FIELD_MANAGER} now applies exactly those of the manifest\n")
    return after


def contains(live: t.Any, desired: t.Any) -> bool:
    """Whether all that is desired is there; for servers whose webhooks refuse a dry run."""
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(contains(live.get(name), value) for name, value in desired.items())
    if isinstance(desired, list):
        return isinstance(live, list) and len(live) == len(desired) and all(map(contains, live, desired))
    return live == desired


# --- showing ---------------------------------------------------------------------------------------------------------------------------------------


class Mask:
    """Markers for secret values: equal for equal values within one run, and good for nothing else, for the key is random and forgotten."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def marker(self, value: str) -> str:
        return f"<hidden {hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()[:8]}>"

    def body(self, body: Body) -> Body:
        if not is_secret(body):
            return body
        return {
            name: {key: self.marker(str(entry)) for key, entry in value.items()} if name in ("data", "stringData") and isinstance(value, dict) else value
            for name, value in body.items()
        }

    def render(self, shown: Item) -> str:
        return to_yaml(self.body(shown.content)) + shown.note


def to_yaml(body: Body) -> str:
    first = {name: body[name] for name in ("apiVersion", "kind") if name in body}
    return _yaml().dump({**first, **{name: body[name] for name in sorted(body) if name not in first}}, Dumper=_dumper(), sort_keys=False, width=160, indent=2)


# --- messages --------------------------------------------------------------------------------------------------------------------------------------

IMMUTABLE = re.compile(
    r"immutable|updates to statefulset spec for fields other than|may not change once set|may not be changed|cannot be changed|cannot change|"
    r"pod updates may not change fields|field can not be changed|provided value .* is not valid: cannot"
)
CONFLICT = re.compile(r'conflict with "(?P<manager>[^"]*)"')


def explain(manifest: Manifest, *, status: int, detail: str, causes: t.Iterable[t.Mapping[str, str]] = (), kind: str = "") -> str:
    """What is wrong with one object, and what to do, in one line."""
    conflicts = [cause for cause in causes if cause.get("reason") == "FieldManagerConflict"]
    if conflicts:
        owners = []
        for cause in conflicts:
            owner = CONFLICT.search(cause.get("message", ""))
            owners.append(f"{cause.get('field', 'a field')} is owned by {owner.group('manager') if owner else 'another manager'!r}")
        return f"{manifest.title}: {', '.join(owners)}. Remove these fields from the manifest, or take them over with force_conflicts: true."
    if status == 404 and kind == "namespaces":
        return f"{manifest.title}: namespace {manifest.namespace} does not exist. Create it first, or add it to the manifests."
    if status == 404 and ("could not find the requested resource" in detail or "page not found" in detail):
        return unknown_kind(manifest)
    detail = re.sub(r"^failed to create typed patch object \([^)]*\): ", "", detail.strip().rstrip("."))
    detail = " ".join(detail.split())
    if IMMUTABLE.search(detail):
        return f"{manifest.title}: {detail}. {_replace_remedy(manifest)}"
    remedy = " Use credentials with this right, or grant it by a Role or ClusterRole." if status == 403 and " cannot " in detail else ""
    return f"{manifest.title}: {detail}.{remedy}"


def unknown_kind(manifest: Manifest) -> str:
    return (
        f"{manifest.title}: the API server knows no kind {manifest.kind} in {manifest.api_version}. "
        "Install its CustomResourceDefinition first, or correct apiVersion and kind."
    )


def _replace_remedy(manifest: Manifest) -> str:
    where = f" -n {manifest.namespace}" if manifest.namespace else ""
    command = f"kubectl delete {manifest.kind.lower()} {manifest.name}{where}"
    if manifest.kind == "StatefulSet":
        return f"This cannot change on a living object: keep the old value, or '{command} --cascade=orphan' (pods and volumes stay) and run again."
    return f"This cannot change on a living object: keep the old value, or '{command}' and run again."


def listed(head: str, lines: t.Sequence[str]) -> str:
    return "\n- ".join([head, *lines])
