# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: brings a set of Kubernetes objects to the wanted state: plan by server-side dry run, apply, prune, wait."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.scs.observer.plugins.module_utils import _manifests as m
from ansible_collections.scs.observer.plugins.module_utils import _manifests_ready as ready
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import APPLY, BUILT_IN, CONNECTIONS, ApiError, Client, Resource
from ansible_collections.scs.observer.plugins.module_utils._plan import Plan, make_plan

BUILT_IN_KINDS = frozenset((resource.group, resource.kind) for resource in BUILT_IN.values())
# Nobody applies these.
NEVER_PRUNED = frozenset({"ControllerRevision", "Event", "Lease", "Node"})
# Made by controllers in every namespace: they hold nothing.
IN_EVERY_NAMESPACE = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})
NAMESPACE = ("", "Namespace")
ESTABLISH_TIMEOUT = 30

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Options:
    set_name: str | None = None
    namespace: str | None = None
    prune: bool = False
    keep: frozenset[str] = frozenset()
    wait: bool = True
    wait_timeout: float = 300
    force_conflicts: bool = False
    check_mode: bool = False


@dataclasses.dataclass
class Outcome:
    """What was done, or in check mode would be done."""

    created: list[str] = dataclasses.field(default_factory=list)
    updated: list[str] = dataclasses.field(default_factory=list)
    deleted: list[str] = dataclasses.field(default_factory=list)
    unchanged: list[str] = dataclasses.field(default_factory=list)
    kept: list[str] = dataclasses.field(default_factory=list)
    diff: list[dict[str, str]] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.created or self.updated or self.deleted)


class SyncError(ObserverError):
    """A failure after the first write; C(outcome) is what had been done until then."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        done = [*outcome.created, *outcome.updated, *(f"{name} (deleted)" for name in outcome.deleted)]
        super().__init__(message + (f"\nDone before: {', '.join(done)}. Mend the cause and run again." if done else ""))
        self.outcome = outcome


@dataclasses.dataclass
class Target:
    """One wanted object on its way: given, planned, applied."""

    manifest: m.Manifest
    resource: Resource
    deferred: bool = False
    live: m.Body | None = None
    after: m.Body | None = None
    warnings: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return self.resource.path(self.manifest.namespace, self.manifest.name)

    @property
    def key(self) -> m.Key:
        return self.manifest.key


@dataclasses.dataclass(frozen=True)
class Found:
    """One object of the set on the server."""

    resource: Resource
    body: m.Body

    @property
    def key(self) -> m.Key:
        return m.key_of(self.body)

    @property
    def title(self) -> str:
        return m.title(self.body)

    @property
    def path(self) -> str:
        return self.resource.path(self.body["metadata"].get("namespace"), self.body["metadata"]["name"])

    @property
    def terminating(self) -> bool:
        return bool(self.body["metadata"].get("deletionTimestamp"))


def options(params: t.Mapping[str, t.Any], *, check_mode: bool) -> Options:
    """Of a module's parameters."""
    m.check_set(params["set"])
    if params["prune"] and not params["set"]:
        raise ObserverError("prune needs the option 'set': only what belongs to a set is ever removed.")
    return Options(
        set_name=params["set"],
        namespace=params["namespace"],
        prune=params["prune"],
        keep=frozenset(params["keep"]),
        wait=params["wait"],
        wait_timeout=params["wait_timeout"],
        force_conflicts=params["force_conflicts"],
        check_mode=check_mode,
    )


def apply(client: Client, manifests: t.Sequence[m.Manifest], options: Options, *, sleep: t.Callable[[float], None] = time.sleep) -> Outcome:
    """state=present."""
    return _Sync(client, options, sleep).present(manifests)


def remove(client: Client, manifests: t.Sequence[m.Manifest], options: Options, *, sleep: t.Callable[[float], None] = time.sleep) -> Outcome:
    """state=absent: the given objects or, when none is given, the whole set."""
    return _Sync(client, options, sleep).absent(manifests)


class _Sync:
    def __init__(self, client: Client, options: Options, sleep: t.Callable[[float], None]) -> None:
        self.client = client
        self.options = options
        self.outcome = Outcome()
        self.mask = m.Mask()
        self._sleep = sleep
        self._terminating: set[str] = set()
        self._deadline = time.monotonic() + options.wait_timeout

    # --- present -----------------------------------------------------------------------------------------------------------------------------------

    def present(self, manifests: t.Sequence[m.Manifest]) -> Outcome:
        options = self.options
        if options.prune and not manifests:
            raise ObserverError(f"No manifests, and prune: this would remove the whole set {options.set_name!r}. Use state: absent if that is meant.")
        self._check_keep(manifests)
        targets = self._targets(manifests)
        namespaces = self._namespaces(targets)
        listed = self._listed(targets)
        for target in targets:
            missing = target.resource.namespaced and target.manifest.namespace in namespaces and namespaces[target.manifest.namespace] is None
            is_namespace = target.key[:2] == NAMESPACE
            target.deferred = target.deferred or missing or (is_namespace and target.manifest.name in self._terminating)
            if not target.deferred:
                target.live = namespaces.get(target.manifest.name) if is_namespace else listed[target.key].body if target.key in listed else None
        self._dry_run([target for target in targets if not target.deferred], targets)
        stale = self._stale(targets, listed)
        stale = self._guard(stale)
        plan = self._plan(targets, stale)
        self._report(plan)
        if options.check_mode:
            return self.outcome
        # Kept and warnings are the same lists in both: the rest of the run adds to them.
        written = Outcome(unchanged=self.outcome.unchanged, kept=self.outcome.kept, warnings=self.outcome.warnings)
        planned, self.outcome = self.outcome, written
        changes = {step.name for step in plan.of("create", "update")}
        try:
            self._write(targets, changes)
            self._delete(stale)
            if options.wait:
                self._wait_ready(targets)
        except ObserverError as error:
            written.diff = [entry for entry in planned.diff if entry["before_header"] in {*written.created, *written.updated, *written.deleted}]
            raise SyncError(str(error), written) from error
        return planned

    def _targets(self, manifests: t.Sequence[m.Manifest]) -> list[Target]:
        definitions = _defined_kinds(manifests)
        targets: list[Target] = []
        problems: list[str] = []
        for manifest in manifests:
            resource = self.client.resolve(manifest.api_version, manifest.kind)
            deferred = resource is None
            resource = resource or definitions.get((manifest.api_version, manifest.kind))
            if resource is None:
                problems.append(f"{manifest.source}: {m.unknown_kind(manifest)}")
                continue
            try:
                completed = m.complete(manifest, namespaced=resource.namespaced, namespace=self.options.namespace, set_name=self.options.set_name)
            except ObserverError as error:
                problems.append(str(error))
                continue
            targets.append(Target(completed, resource, deferred))
        seen: dict[m.Key, Target] = {}
        for target in targets:
            first = seen.setdefault(target.key, target)
            if first is not target:
                problems.append(f"{target.manifest.source}: {target.manifest.title} is there twice, first in {first.manifest.source}. Remove one of them.")
        _fail(problems, len(manifests))
        return sorted(targets, key=lambda target: m.create_rank(target.key, BUILT_IN_KINDS))

    def _namespaces(self, targets: t.Sequence[Target]) -> dict[str, m.Body | None]:
        """Each namespace that matters and may be looked at; None for those that are missing (or on their way out, which is waited for)."""
        names = {target.manifest.namespace for target in targets if target.resource.namespaced}
        own = {target.manifest.name for target in targets if target.key[:2] == NAMESPACE}
        wanted = sorted((names | own) - {None})

        def read(name: str) -> m.Body | None:
            found = self._get(f"/api/v1/namespaces/{name}")
            while found and found["metadata"].get("deletionTimestamp") and not self.options.check_mode:
                if not self.options.wait or time.monotonic() > self._deadline:
                    raise ObserverError(f"Namespace {name} is being deleted{_namespace_reason(found)}. Wait until it is gone and run again.")
                self._sleep(0.5)
                found = self._get(f"/api/v1/namespaces/{name}")
            if found and found["metadata"].get("deletionTimestamp"):
                self._terminating.add(name)
                return None
            return found

        state: dict[str, m.Body | None] = {}
        for name, result in self._each(read, wanted):
            if isinstance(result, ApiError):
                if result.status != 403:
                    raise result
                continue  # who may not read it may still write into it
            state[name] = result
        missing = [name for name, found in state.items() if found is None and name not in own]
        if missing and not self.options.check_mode:
            lost = [target for target in targets if target.resource.namespaced and target.manifest.namespace in missing]
            _fail([m.explain(target.manifest, status=404, detail="", kind="namespaces") for target in lost], len(targets))
        return state

    def _listed(self, targets: t.Sequence[Target]) -> dict[m.Key, Found]:
        """What the server has of the set: of the wanted kinds or, to prune, of all kinds."""
        if not self.options.set_name:
            return {}
        kinds = {(target.resource.group, target.resource.kind): target.resource for target in targets if not target.deferred}
        namespaces = sorted({target.manifest.namespace or "" for target in targets if target.resource.namespaced})
        if self.options.prune:
            return self._whole_set(kinds, namespaces)
        places = {(target.resource, target.manifest.namespace) for target in targets if not target.deferred and target.key[:2] != NAMESPACE}
        found: dict[m.Key, Found] = {}
        # Without this right each object is read by its name.
        for _place, result in self._each(lambda place: self._list(*place), sorted(places, key=str)):
            if isinstance(result, ApiError):
                if result.status not in (403, 404):
                    raise result
                continue
            found |= {entry.key: entry for entry in result}
        return found

    def _whole_set(self, kinds: t.Mapping[tuple[str, str], Resource], namespaces: t.Sequence[str]) -> dict[m.Key, Found]:
        """All objects with the set's label; where the whole cluster may not be read, those in the namespaces of the manifests."""
        every = {**{(r.group, r.kind): r for r in BUILT_IN.values() if r.kind not in NEVER_PRUNED}, **kinds}
        found: dict[m.Key, Found] = {}
        refused: list[Resource] = []
        for resource, result in self._each(lambda resource: self._list(resource, None), list(every.values())):
            if isinstance(result, ApiError):
                if result.status == 403:
                    refused.append(resource)
                elif result.status != 404:
                    raise result
                continue
            found |= {entry.key: entry for entry in result}
        places = [(resource, namespace) for resource in refused if resource.namespaced for namespace in namespaces if namespace]
        blind = {resource.kind for resource in refused if not resource.namespaced or not namespaces}
        for (resource, _namespace), result in self._each(lambda place: self._list(*place), places):
            if isinstance(result, ApiError):
                if result.status != 403:
                    raise result
                blind.add(resource.kind)
                continue
            found |= {entry.key: entry for entry in result}
        if blind:
            self.outcome.warnings.append(f"No right to list {', '.join(sorted(blind))}: objects of set {self.options.set_name} among them are not removed.")
        return found

    def _list(self, resource: Resource, namespace: str | None) -> list[Found]:
        """Only what was applied by this collection: controllers copy labels, such as those of a Service to its Endpoints."""
        bodies = self.client.list(resource.path(namespace), labels=f"{m.SET_LABEL}={self.options.set_name}")
        found = [Found(resource, {**body, "apiVersion": resource.api_version, "kind": resource.kind}) for body in bodies]
        return [entry for entry in found if m.owned_fields(entry.body) is not None]

    def _dry_run(self, targets: t.Sequence[Target], everything: t.Sequence[Target], *, nothing_written: bool = True) -> None:
        """Fills in what each object is and would be; one error names all that can't be applied."""
        problems: list[str] = []
        doubtful: list[tuple[Target, ApiError]] = []
        for target, result in self._each(self._dry_run_one, targets):
            if isinstance(result, ApiError):
                if result.status in (0, 401):
                    raise result
                doubtful.append((target, result))
            elif result:
                problems.append(result)
        new = {target.manifest.name for target in everything if target.live is None}
        for target, error in doubtful:
            others = new - {target.manifest.name}
            if target.live is None and "not found" in error.detail and any(f'"{name}"' in error.detail or f"/{name}:" in error.detail for name in others):
                target.deferred = True  # refers to an object that this very set is about to make
            else:
                problems.append(_explain(target, error))
        for target in everything:
            self.outcome.warnings += [f"{target.manifest.title}: {warning}" for warning in target.warnings]
            target.warnings = ()
        secret_values = m.secret_values(target.manifest.body for target in everything)
        _fail([m.scrub(problem, secret_values) for problem in problems], len(everything), nothing_written=nothing_written)

    def _dry_run_one(self, target: Target) -> str | None:
        try:
            answer = self._patch(target, dry_run=True)
        except ApiError as error:
            if "does not support dry run" not in error.detail:
                raise
            target.live = target.live or self._get(target.path)
            target.after = target.live if target.live and m.contains(target.live, target.manifest.body) else target.manifest.body
            return None
        target.after = answer.data
        target.warnings = answer.warnings
        if answer.status == 201:
            target.live = None
            return None
        if target.live is None:
            target.live = self._get(target.path)
        elif not m.equal(m.item(target.live), m.item(target.after)) and _version(target.live) != _version(target.after):
            target.live = self._get(target.path)  # it has moved on since it was listed
        owner = m.set_of(target.live) if target.live else None
        if self.options.set_name and owner and owner != self.options.set_name and not self.options.force_conflicts:
            remedy = "Remove it from one of the sets, or take it over with force_conflicts: true"
            return f"{target.manifest.title}: belongs to set {owner}, not {self.options.set_name}. {remedy}."
        return None

    def _patch(self, target: Target, *, dry_run: bool = False) -> t.Any:
        query = {"fieldManager": m.FIELD_MANAGER, "fieldValidation": "Strict"}
        if self.options.force_conflicts:
            query["force"] = "true"
        if dry_run:
            query["dryRun"] = "All"
        return self.client.send("PATCH", target.path, body=target.manifest.body, query=query, content_type=APPLY)

    def _plan(self, targets: t.Sequence[Target], stale: t.Sequence[Found]) -> Plan[m.Item]:
        desired: dict[str, m.Item] = {}
        actual: dict[str, m.Item] = {}
        for target in targets:
            name = target.manifest.title
            if target.live is None or target.after is None:
                desired[name] = m.Item(m.normalise(target.manifest.body))
            else:
                actual[name] = m.item(target.live)
                desired[name] = m.with_note(actual[name], m.item(target.after))
        actual |= {found.title: m.item(found.body) for found in stale}
        return make_plan(desired, actual, prune=lambda name: True, equal=m.equal)

    def _report(self, plan: Plan[m.Item]) -> None:
        self.outcome.created = plan.names("create")
        self.outcome.updated = plan.names("update")
        self.outcome.deleted = plan.names("delete")
        self.outcome.unchanged = plan.names("keep")
        self.outcome.diff = plan.diff(self.mask.render)

    def _write(self, targets: t.Sequence[Target], changes: t.Container[str]) -> None:
        """First what others live in; then a dry run of what could not be tried before; then the rest, kind by kind."""
        changing = [target for target in targets if target.manifest.title in changes]
        ground = [target for target in changing if target.key.kind in ("Namespace", "CustomResourceDefinition") and not target.deferred]
        rest = [target for target in changing if target not in ground]
        self._apply(ground)
        deferred = [target for target in rest if target.deferred]
        if deferred:
            self._wait_established([target for target in targets if target.key.kind == "CustomResourceDefinition"])
            self._try_deferred(deferred, targets)
        self._apply(rest)

    def _try_deferred(self, deferred: t.Sequence[Target], targets: t.Sequence[Target]) -> None:
        custom = [target for target in deferred if target.key[:2] not in BUILT_IN_KINDS]
        deadline = time.monotonic() + ESTABLISH_TIMEOUT
        # The server may take a moment until it serves a kind that has just been defined.
        while not all(result is True for _target, result in self._each(self._served, custom)) and time.monotonic() < deadline:
            self._sleep(0.3)
        self._dry_run(deferred, targets, nothing_written=False)

    def _served(self, target: Target) -> bool:
        self.client.request("GET", target.resource.path(target.manifest.namespace), query={"limit": "1"})
        return True

    def _apply(self, targets: t.Sequence[Target]) -> None:
        problems: list[str] = []
        ranks: dict[int, list[Target]] = {}
        for target in targets:
            ranks.setdefault(m.create_rank(target.key, BUILT_IN_KINDS), []).append(target)
        secret_values = m.secret_values(target.manifest.body for target in targets)
        for _rank, wave in sorted(ranks.items()):
            for target, result in self._each(self._patch, wave):
                if isinstance(result, ApiError):
                    if result.status in (0, 401):
                        raise result
                    problems.append(m.scrub(_explain(target, result), secret_values))
                    continue
                (self.outcome.created if target.live is None else self.outcome.updated).append(target.manifest.title)
                target.after = target.live = result.data
                self.outcome.warnings += [text for text in (f"{target.manifest.title}: {w}" for w in result.warnings) if text not in self.outcome.warnings]
            if problems:
                raise ObserverError(m.listed("Applying stopped:", problems))

    # --- deleting ----------------------------------------------------------------------------------------------------------------------------------

    def absent(self, manifests: t.Sequence[m.Manifest]) -> Outcome:
        self._check_keep(manifests)
        if manifests:
            doomed = self._named(manifests)
        elif self.options.set_name:
            doomed = list(self._whole_set({}, [self.options.namespace] if self.options.namespace else []).values())
        else:
            raise ObserverError("state: absent needs manifests, src or set: name what is to be removed.")
        doomed = self._guard(self._deletable(doomed))
        plan = make_plan({}, {found.title: m.item(found.body) for found in doomed if not found.terminating}, prune=lambda name: True)
        self._report(plan)
        if self.options.check_mode:
            return self.outcome
        planned, self.outcome = self.outcome, Outcome(kept=self.outcome.kept, warnings=self.outcome.warnings)
        try:
            self._delete(doomed)
        except ObserverError as error:
            raise SyncError(str(error), self.outcome) from error
        return planned

    def _named(self, manifests: t.Sequence[m.Manifest]) -> list[Found]:
        targets: list[Target] = []
        problems: list[str] = []
        for manifest in manifests:
            resource = self.client.resolve(manifest.api_version, manifest.kind)
            if resource is None:
                continue  # where there is no such kind there is no such object
            try:
                completed = m.complete(manifest, namespaced=resource.namespaced, namespace=self.options.namespace, set_name=None)
            except ObserverError as error:
                problems.append(str(error))
                continue
            targets.append(Target(completed, resource))
        _fail(problems, len(manifests))
        found: list[Found] = []
        for target, result in self._each(lambda target: self._get(target.path), targets):
            if isinstance(result, ApiError):
                raise result
            if result is None:
                continue
            owner = m.set_of(result)
            if self.options.set_name and owner != self.options.set_name:
                self.outcome.kept.append(target.manifest.title)
                self.outcome.warnings.append(f"{target.manifest.title} stays: it does not belong to set {self.options.set_name}.")
                continue
            found.append(Found(target.resource, {**result, "apiVersion": target.resource.api_version, "kind": target.resource.kind}))
        return found

    def _stale(self, targets: t.Sequence[Target], listed: t.Mapping[m.Key, Found]) -> list[Found]:
        if not self.options.prune:
            return []
        wanted = {target.key for target in targets}
        return self._deletable([found for key, found in listed.items() if key not in wanted and not found.terminating])

    def _deletable(self, candidates: t.Sequence[Found]) -> list[Found]:
        """Without what is to be kept, and without what its owner removes; in the order in which things go."""
        doomed = []
        for found in candidates:
            metadata = found.body["metadata"]
            if metadata.get("ownerReferences"):
                continue
            if found.key.kind in self.options.keep or (metadata.get("annotations") or {}).get(m.KEEP_ANNOTATION) == "true":
                self.outcome.kept.append(found.title)
            else:
                doomed.append(found)
        return sorted(doomed, key=lambda found: (m.delete_stage(found.key, BUILT_IN_KINDS), found.key))

    def _guard(self, doomed: t.Sequence[Found]) -> list[Found]:
        """A namespace stays while it holds something that is to be kept, in the set or not."""
        result = []
        for found in doomed:
            reason = self._kept_inside(found.key.name) if found.key[:2] == NAMESPACE and not found.terminating else None
            if reason:
                self.outcome.kept.append(found.title)
                self.outcome.warnings.append(f"{found.title} stays: it holds {reason}, which is kept.")
            else:
                result.append(found)
        return result

    def _kept_inside(self, namespace: str) -> str | None:
        for title in self.outcome.kept:
            if title.split(" ", 1)[1].startswith(f"{namespace}/"):
                return title
        resources = [resource for resource in BUILT_IN.values() if resource.namespaced and resource.kind in self.options.keep]
        for resource in resources:
            for body in self.client.list(resource.path(namespace)):
                if (resource.kind, body["metadata"]["name"]) not in IN_EVERY_NAMESPACE and not body["metadata"].get("deletionTimestamp"):
                    return f"{resource.kind} {namespace}/{body['metadata']['name']}"
        return None

    def _delete(self, doomed: t.Sequence[Found]) -> None:
        """Stage by stage; each stage is gone before the next begins, if waiting is wanted."""
        stages: dict[int, list[Found]] = {}
        for found in doomed:
            stages.setdefault(m.delete_stage(found.key, BUILT_IN_KINDS), []).append(found)
        problems: list[str] = []
        for _stage, group in sorted(stages.items()):
            for found, result in self._each(self._delete_one, [found for found in group if not found.terminating]):
                if isinstance(result, ApiError):
                    if result.status in (0, 401):
                        raise result
                    problems.append(f"{found.title}: {result.detail}.")
                else:
                    self.outcome.deleted.append(found.title)
            if problems:
                raise ObserverError(m.listed("Deleting stopped:", problems))
            if self.options.wait:
                self._wait_gone(group)

    def _delete_one(self, found: Found) -> None:
        # Foreground: a workload is gone only when its pods are, so what they use can follow.
        policy = "Foreground" if found.key.kind in m.WORKLOADS and self.options.wait else "Background"
        try:
            self.client.request("DELETE", found.path, body={"propagationPolicy": policy, "preconditions": {"uid": found.body["metadata"]["uid"]}})
        except ApiError as error:
            if error.status != 404:
                raise

    # --- waiting -----------------------------------------------------------------------------------------------------------------------------------

    def _wait_gone(self, group: t.Sequence[Found]) -> None:
        left = list(group)
        pause = 0.2
        while left:
            still = []
            for found, result in self._each(lambda found: self._get(found.path), left):
                if isinstance(result, ApiError):
                    if result.status not in (0, 403, 429, 500, 503):
                        raise result
                    still.append((found, found.body))
                elif result and result["metadata"].get("uid") == found.body["metadata"].get("uid"):
                    still.append((found, result))
            left = [found for found, _body in still]
            if left and time.monotonic() > self._deadline:
                lines = [f"{found.title}: still there{_gone_reason(found, body)}" for found, body in still]
                raise ObserverError(m.listed(f"Not gone after {self.options.wait_timeout:g} s:", lines))
            if left:
                self._sleep(pause)
                pause = min(pause * 1.5, 2)

    def _wait_established(self, targets: t.Sequence[Target]) -> None:
        self._poll(targets, time.monotonic() + ESTABLISH_TIMEOUT, ESTABLISH_TIMEOUT)

    def _wait_ready(self, targets: t.Sequence[Target]) -> None:
        self._poll(targets, self._deadline, self.options.wait_timeout)

    def _poll(self, targets: t.Sequence[Target], deadline: float, timeout: float) -> None:
        pending = [(target, target.live or {}) for target in targets]
        pause = 0.3
        while True:
            states = [(target, body, ready.state(target.key.group, target.key.kind, body)) for target, body in pending]
            states = [entry for entry in states if not entry[2].ready]
            if not states:
                return
            failed = [entry for entry in states if entry[2].failed]
            if failed or time.monotonic() > deadline:
                head = "Failed, so waiting is of no use:" if failed else f"Not ready after {timeout:g} s:"
                raise ObserverError(m.listed(head, [self._unready(*entry) for entry in failed or states]))
            self._sleep(pause)
            pause = min(pause * 1.5, 2)
            pending = []
            fresh = self._each(lambda target: self._get(target.path), [target for target, _body, _state in states])
            for (target, body, _state), (_same, result) in zip(states, fresh, strict=True):
                if isinstance(result, ApiError):
                    if result.status not in (0, 429, 500, 503):
                        raise result
                    pending.append((target, body))
                elif result is None:
                    raise ObserverError(f"{target.manifest.title}: was deleted by someone else while it was waited for. Run again.")
                else:
                    pending.append((target, result))

    def _unready(self, target: Target, body: m.Body, found: ready.State) -> str:
        """The state of an object, and what its pods and events say about it."""
        lines = []
        labels = ready.selector(body)
        try:
            pods = []
            base = f"/api/v1/namespaces/{target.manifest.namespace}"
            if target.key.kind == "Pod":
                pods = [body]
            elif labels and target.manifest.namespace:
                pods = self.client.list(f"{base}/pods", labels=labels)
            events = self.client.list(f"{base}/events", fields="type!=Normal") if target.manifest.namespace else []
            lines = ready.reasons(body, pods, events)
        except ApiError as error:
            lines = [f"its pods can't be read: {error.detail}"] if error.status == 403 else []
        lines = [line for line in lines if line.split(": ", 1)[-1] not in found.reason]
        return "; ".join([f"{target.manifest.title}: {found.reason}", *lines])

    # --- small things ------------------------------------------------------------------------------------------------------------------------------

    def _check_keep(self, manifests: t.Sequence[m.Manifest]) -> None:
        known = {kind for _group, kind in BUILT_IN_KINDS} | {manifest.kind for manifest in manifests}
        unknown = sorted(self.options.keep - known)
        if unknown:
            raise ObserverError(f"keep: unknown kind {', '.join(unknown)}: write kinds as in a manifest, such as PersistentVolumeClaim.")

    def _get(self, path: str) -> m.Body | None:
        try:
            return self.client.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _each(self, function: t.Callable[[Item], Result], items: t.Sequence[Item]) -> list[tuple[Item, Result | ApiError]]:
        """The result, or the API server's error, for each item; in parallel, in the order of the items."""

        def guarded(item: Item) -> Result | ApiError:
            try:
                return function(item)
            except ApiError as error:
                return error

        if len(items) < 2:
            return [(item, guarded(item)) for item in items]
        with ThreadPoolExecutor(min(CONNECTIONS, len(items))) as pool:
            return list(zip(items, pool.map(guarded, items), strict=True))


def _defined_kinds(manifests: t.Iterable[m.Manifest]) -> dict[tuple[str, str], Resource]:
    """The kinds that the CustomResourceDefinitions among the manifests will make."""
    kinds = {}
    for manifest in manifests:
        if (m.group_of(manifest.api_version), manifest.kind) != ("apiextensions.k8s.io", "CustomResourceDefinition"):
            continue
        spec = manifest.body.get("spec") or {}
        names = spec.get("names") or {}
        for version in spec.get("versions") or []:
            if names.get("kind") and names.get("plural") and version.get("served", True):
                api_version = f"{spec.get('group')}/{version.get('name')}"
                kinds[api_version, names["kind"]] = Resource(api_version, names["kind"], names["plural"], spec.get("scope") == "Namespaced")
    return kinds


def _explain(target: Target, error: ApiError) -> str:
    return m.explain(target.manifest, status=error.status, detail=error.detail, causes=error.causes, kind=error.kind)


def _fail(problems: t.Sequence[str], total: int, *, nothing_written: bool = True) -> None:
    if problems:
        head = f"{len(problems)} of {total} objects cannot be applied{'; nothing was changed' if nothing_written else ''}:"
        raise ObserverError(f"{head} {problems[0]}" if len(problems) == 1 else m.listed(head, problems))


def _version(body: m.Body) -> str:
    return body["metadata"].get("resourceVersion", "")


def _namespace_reason(body: m.Body) -> str:
    texts = [entry.get("message", "") for entry in (body.get("status") or {}).get("conditions") or [] if entry.get("status") == "True" and entry.get("message")]
    return f": {'; '.join(texts)}" if texts else ""


def _gone_reason(found: Found, body: m.Body) -> str:
    if found.key.kind == "Namespace":
        return _namespace_reason(body)
    finalizers = body["metadata"].get("finalizers") or []
    return f", held by finalizers {', '.join(finalizers)}" if finalizers else ""
