# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: plan what is to be done to the dashboards of a Grafana, do it, and tell all that failed."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from ansible_collections.scs.observer.plugins.module_utils import _grafana_dashboards as dashboards
from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._grafana_dashboards import Wanted, fail_for, join_path
from ansible_collections.scs.observer.plugins.module_utils._grafana_folders import Path, Tree
from ansible_collections.scs.observer.plugins.module_utils._grafana_http import Client, GrafanaError, NotTried, Settings
from ansible_collections.scs.observer.plugins.module_utils._plan import Plan, Step, make_plan

# From here on titles need not be unique in a folder, and the search tells of a new dashboard some time later.
UNIFIED_STORAGE = 12
TITLES_UNIQUE_BELOW = 11
CONFLICT_ROUNDS = 3
# How often a write is tried again that Grafana refuses although nobody else wrote.
LOCKED_ROUNDS = 8


@dataclasses.dataclass(frozen=True)
class Prune:
    folder: Path | None
    tag: str | None
    limit: str | None
    allow_empty: bool


@dataclasses.dataclass(frozen=True)
class Options:
    state: str = "present"
    datasources: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    prune: Prune | None = None
    on_conflict: str = "fail"
    commit_message: str = ""
    check: bool = False
    diff: bool = False


@dataclasses.dataclass(frozen=True)
class Item:
    """A dashboard in a folder; C(raw) is what is sent, or what Grafana sent."""

    uid: str
    folder: Path
    raw: dict[str, t.Any] = dataclasses.field(repr=False)

    @functools.cached_property
    def content(self) -> dict[str, t.Any]:
        return dashboards.normal(self.raw)

    @property
    def name(self) -> str:
        return str(self.raw.get("title") or "").strip()

    @property
    def title(self) -> str:
        return f"{join_path((*self.folder, self.name))} ({self.uid})"


@dataclasses.dataclass
class Outcome:
    created: list[str] = dataclasses.field(default_factory=list)
    updated: list[str] = dataclasses.field(default_factory=list)
    deleted: list[str] = dataclasses.field(default_factory=list)
    unchanged: list[str] = dataclasses.field(default_factory=list)
    # not "skipped": Ansible heeds no changed_when of a result with that key
    left: list[str] = dataclasses.field(default_factory=list)
    kept: list[str] = dataclasses.field(default_factory=list)
    folders: list[str] = dataclasses.field(default_factory=list)
    failures: list[dict[str, str]] = dataclasses.field(default_factory=list)
    diff: list[dict[str, str]] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.created or self.updated or self.deleted or self.folders)

    def result(self) -> dict[str, t.Any]:
        names = ("created", "updated", "deleted", "unchanged", "left", "kept", "folders", "failures", "diff")
        return {"changed": self.changed, **{name: getattr(self, name) for name in names}}


@dataclasses.dataclass(frozen=True)
class Planned:
    plan: Plan[Item]
    folders: list[Path]
    kept: list[str]
    tree: Tree
    sources: t.Mapping[str, str]
    versions: t.Mapping[str, int]


def run(client: Client, wanted: t.Sequence[Wanted], options: Options) -> Outcome:
    """Failures of single dashboards are in the outcome; everything that is known before a write is an ObserverError, and nothing is written."""
    check_options(wanted, options)
    planned = plan(client, wanted, options)
    outcome = Outcome(kept=planned.kept)
    if options.diff:
        outcome.diff = diff_of(planned)
    if options.check:
        outcome.folders = [join_path(path) for path in planned.folders]
        for name, action in (("created", "create"), ("updated", "update"), ("deleted", "delete"), ("unchanged", "keep")):
            setattr(outcome, name, planned.plan.names(action))
    else:
        _Apply(client, planned, options, outcome).all()
    if options.state == "absent":
        there = {step.name for step in planned.plan.steps}
        outcome.unchanged = [item.uid for item in wanted if item.uid not in there]
    return outcome


def check_options(wanted: t.Sequence[Wanted], options: Options) -> None:
    prune = options.prune
    if prune is None:
        if not wanted and options.state == "present":
            raise ObserverError("There is no dashboard. Give some in src or dashboards.")
        return
    if options.state == "absent":
        raise ObserverError("prune keeps what is given, so it can not be set together with state=absent. Leave one out.")
    if prune.folder is None and prune.tag is None:
        raise ObserverError("prune needs a scope, or it would take the dashboards of others. Set prune_folder, prune_tag or both.")
    if not wanted and not prune.allow_empty:
        raise ObserverError("prune with no dashboard at all would remove everything in its scope. Set prune_allow_empty=true if that is meant.")


# Planning


def plan(client: Client, wanted: t.Sequence[Wanted], options: Options) -> Planned:
    settings = client.settings()
    tree = Tree(client, nested=settings.nested_folders, version=settings.version)
    wanted = _prepared(wanted, settings, options)
    desired = {} if options.state == "absent" else _desired(wanted, tree)
    hits = {hit["uid"]: hit for hit in client.search()}
    uids = [item.uid for item in wanted]
    # an index that lags may not know yet what was written a moment ago
    asked = [uid for uid in uids if uid in hits or settings.major >= UNIFIED_STORAGE or options.state == "absent"]
    candidates = _candidates(hits, set(uids), tree, options.prune)
    found, metas = _read(client, [*asked, *candidates], tree)

    problems = []
    remove = set(uids) if options.state == "absent" else set(candidates)
    if options.state == "present" and 0 < settings.major < TITLES_UNIQUE_BELOW:
        problems += _title_problems(desired, hits, tree, remove)
    kept = [uid for uid in candidates if uid in metas and metas[uid].get("provisioned")]
    remove -= set(kept)
    made = make_plan(desired, found, prune=lambda uid: uid in remove, equal=equal)
    sources = {item.uid: item.source for item in wanted}
    for step in made.of("update", "delete"):
        problem = _refusal(step, metas[step.name])
        if problem:
            problems.append(f"{sources.get(step.name, 'prune')}: {problem}")
    fail_for(problems)
    if options.prune:
        _check_limit(options.prune, len(remove & set(found)), len(candidates) + len(set(uids) & set(found)))
    folders = tree.missing({item.folder for item in desired.values()})
    versions = {uid: int(item.raw.get("version") or 0) for uid, item in found.items()}
    return Planned(made, folders, kept, tree, sources, versions)


def _prepared(wanted: t.Sequence[Wanted], settings: Settings, options: Options) -> list[Wanted]:
    if options.state == "absent":
        return list(wanted)
    mapping = dashboards.resolve_datasources(options.datasources, settings.datasources)
    found, problems = [], []
    for item in wanted:
        try:
            item = dashboards.replace_datasources(item, mapping)
        except ObserverError as error:
            problems += str(error).splitlines()
        found.append(dashboards.with_tag(item, options.prune.tag) if options.prune and options.prune.tag else item)
    fail_for(problems)
    return found


def _desired(wanted: t.Sequence[Wanted], tree: Tree) -> dict[str, Item]:
    problems = []
    for path in sorted({item.folder for item in wanted}):
        try:
            tree.find(path)
        except GrafanaError:
            raise
        except ObserverError as error:
            problems.append(str(error))
    fail_for(problems)
    return {item.uid: Item(item.uid, item.folder, item.content or {}) for item in wanted}


def _candidates(hits: t.Mapping[str, t.Mapping[str, t.Any]], wanted: set[str], tree: Tree, prune: Prune | None) -> list[str]:
    """What is in the scope and not wanted."""
    if prune is None:
        return []
    inside: set[str] | None = None
    if prune.folder is not None:
        top = tree.find(prune.folder)
        inside = set() if top is None else tree.below(top)
    return [
        uid
        for uid, hit in hits.items()
        if uid not in wanted and (inside is None or _folder_uid(hit) in inside) and (prune.tag is None or prune.tag in (hit.get("tags") or []))
    ]


def _read(client: Client, uids: t.Sequence[str], tree: Tree) -> tuple[dict[str, Item], dict[str, dict[str, t.Any]]]:
    items: dict[str, Item] = {}
    metas: dict[str, dict[str, t.Any]] = {}
    problems = []
    for uid, answer in zip(uids, client.each(client.dashboard, uids), strict=True):
        if isinstance(answer, GrafanaError) and answer.fatal:
            raise answer
        if isinstance(answer, GrafanaError):
            problems.append((uid, answer))
        elif answer is not None:
            folder = tree.path(_folder_uid(answer["meta"]))
            items[uid] = Item(uid, folder, answer["dashboard"])
            metas[uid] = answer["meta"]
    fail_for([f"dashboard {uid} can not be read: {error}." for uid, error in problems if not isinstance(error, NotTried)])
    return items, metas


def _folder_uid(place: t.Mapping[str, t.Any]) -> str:
    uid = str(place.get("folderUid") or "")
    return "" if uid == "general" else uid


def equal(before: Item, after: Item) -> bool:
    if before.folder != after.folder:
        return False
    # most are the same letter by letter, which is told much faster
    return dashboards.bare(before.raw) == dashboards.bare(after.raw) or dashboards.same(before.content, after.content)


def _refusal(step: Step[Item], meta: t.Mapping[str, t.Any]) -> str:
    title = (step.before or t.cast(Item, step.after)).title
    word = "changed" if step.action == "update" else "deleted"
    if meta.get("provisioned"):
        place = f" ({meta['provisionedExternalId']})" if meta.get("provisionedExternalId") else ""
        return f"{title} is provisioned from a file of the Grafana server{place}, and can not be {word} here. Take it out of that file, or give another uid."
    if meta.get("canSave") is False:
        return f"{title} may not be {word} by this account. Give it the role Editor, or rights to this dashboard."
    return ""


def _title_problems(desired: t.Mapping[str, Item], hits: t.Mapping[str, t.Mapping[str, t.Any]], tree: Tree, remove: set[str]) -> list[str]:
    """Grafana 10 wants titles unique in a folder, and would refuse the second one only when the first is written."""
    places: dict[tuple[Path, str], str] = {}
    problems = []
    for item in desired.values():
        first = places.setdefault((item.folder, item.name), item.uid)
        if first != item.uid:
            problems.append(f"{item.title} has the title of {first} in the same folder, which Grafana 10 does not allow. Change one title.")
    uids = {path: tree.find(path) for path, _title in places}
    taken = {(_folder_uid(hit), hit.get("title")): uid for uid, hit in hits.items() if uid not in desired and uid not in remove}
    for (path, title), uid in places.items():
        other = taken.get((uids[path], title)) if uids[path] is not None else None
        if other:
            problems.append(
                f"{desired[uid].title}: the folder has a dashboard {other} of this title, which Grafana 10 allows once. Change the title or the uid."
            )
    return problems


def _check_limit(prune: Prune, count: int, total: int) -> None:
    if prune.limit is None:
        return
    text = prune.limit.strip()
    number, percent = text.removesuffix("%"), text.endswith("%")
    if not number.isdigit() or (percent and int(number) > 100):
        raise ObserverError(f"prune_limit is {prune.limit}. Give a number such as 10, or a share such as 10%.")
    most = total * int(number) // 100 if percent else int(number)
    if count > most:
        raise ObserverError(f"prune would delete {count} dashboards, and prune_limit ({text}) allows {most}. Nothing was written. Raise it if that is meant.")


def diff_of(planned: Planned) -> list[dict[str, str]]:
    found = [
        {"before_header": f"folder {join_path(path)}", "after_header": f"folder {join_path(path)}", "before": "", "after": "made\n"} for path in planned.folders
    ]
    for step in planned.plan.of("create", "update", "delete"):
        before, after = step.before, step.after
        texts = ["", ""]
        if before:
            content = dashboards.aligned(before.content, after.content) if after else before.content
            texts[0] = _text(before, content)
        if after:
            texts[1] = _text(after, dashboards.compared(after.content) if before else after.content)
        header = (after or t.cast(Item, before)).title
        found.append({"before_header": before.title if before else header, "after_header": header, "before": texts[0], "after": texts[1]})
    return found


def _text(item: Item, content: dict[str, t.Any]) -> str:
    return f"folder: {join_path(item.folder) or 'General'}\n{dashboards.render(content)}"


# Applying


class _Apply:
    def __init__(self, client: Client, planned: Planned, options: Options, outcome: Outcome) -> None:
        self.client, self.planned, self.options, self.outcome = client, planned, options, outcome

    def all(self) -> None:
        broken = self._folders()
        steps = self.planned.plan.of("create", "update")
        self.outcome.unchanged += self.planned.plan.names("keep")
        ready = []
        for step in steps:
            folder = t.cast(Item, step.after).folder
            reason = next((broken[folder[:depth]] for depth in range(1, len(folder) + 1) if folder[:depth] in broken), None)
            if reason:
                self._failed(step, reason)
            else:
                ready.append(step)
        for step, answer in zip(ready, self.client.each(self._save, ready), strict=True):
            self._note(step, answer)
        deletes = self.planned.plan.of("delete")
        if deletes and self.outcome.failures:
            self.outcome.warnings.append(f"Nothing was deleted, for writing failed: {', '.join(step.name for step in deletes)}.")
            return
        for step, answer in zip(deletes, self.client.each(lambda step: self.client.delete(step.name), deletes), strict=True):
            self._note(step, "deleted" if answer is None else answer)

    def _folders(self) -> dict[Path, str]:
        broken: dict[Path, str] = {}
        for path in self.planned.folders:
            if path[:-1] in broken:
                broken[path] = broken[path[:-1]]
                continue
            try:
                self.planned.tree.make(path)
                self.outcome.folders.append(join_path(path))
            except GrafanaError as error:
                broken[path] = f"folder {join_path(path)} can not be made: {error}"
        return broken

    def _save(self, step: Step[Item]) -> str:
        item = t.cast(Item, step.after)
        folder = self.planned.tree.uid(item.folder)
        version = self.planned.versions.get(item.uid, 0)
        done = "created" if step.before is None else "updated"
        round_ = locked = 0
        while True:
            # no overwrite: with it, Grafana 10 replaces another dashboard that has this title, uid and all
            body = {key: value for key, value in item.raw.items() if key not in ("id", "version", "iteration")}
            try:
                self.client.save({**body, "version": version}, folder, message=self.options.commit_message)
                return done
            except GrafanaError as error:
                if error.status not in (409, 412) or error.code == "name-exists":
                    raise
                if error.code == "plugin-dashboard":
                    return self._save_plugin_dashboard(item, folder, version, error, done)
                found = self.client.dashboard(item.uid)
                if found is None:
                    raise
                there = int(found["dashboard"].get("version") or 0)
                if dashboards.same(dashboards.normal(found["dashboard"]), item.content) and _folder_uid(found["meta"]) == folder:
                    # our own write whose answer got lost, or one that the search did not know of
                    return done if there == version + 1 else "unchanged"
                if there == version:
                    # nobody did: while SQLite is locked, Grafana tries a write again, with a version that its first try has counted up already
                    if locked == LOCKED_ROUNDS:
                        message = "refused as changed by somebody else, though nobody did, as when its database is locked. Run again, or lower concurrency"
                        raise GrafanaError(message, status=error.status, code=error.code) from error
                    self.client.pause(locked)
                    locked += 1
                    continue
                if self.options.on_conflict == "skip":
                    return "left"
                round_ += 1
                if self.options.on_conflict == "fail" or round_ == CONFLICT_ROUNDS:
                    by = found["meta"].get("updatedBy") or "somebody else"
                    message = f"it was written by {by} in the meantime. Look at it and run again, or set on_conflict to overwrite or skip"
                    raise GrafanaError(message, status=error.status, code=error.code) from error
                version = there

    def _save_plugin_dashboard(self, item: Item, folder: str, version: int, error: GrafanaError, done: str) -> str:
        if self.options.on_conflict == "skip":
            return "left"
        if self.options.on_conflict == "fail":
            raise GrafanaError(f"{error}. Give it another uid, or set on_conflict to overwrite or skip", status=error.status, code=error.code) from error
        self.client.save({**item.raw, "id": None, "version": version}, folder, message=self.options.commit_message, overwrite=True)
        return done

    def _note(self, step: Step[Item], answer: t.Any) -> None:
        if isinstance(answer, GrafanaError):
            self._failed(step, str(answer))
        else:
            getattr(self.outcome, answer).append(step.name)

    def _failed(self, step: Step[Item], reason: str) -> None:
        item = step.after or t.cast(Item, step.before)
        source = self.planned.sources.get(step.name, "prune")
        self.outcome.failures.append({"uid": step.name, "title": item.name, "source": source, "message": reason})


def failure_message(outcome: Outcome) -> str:
    """All failures; those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for failure in outcome.failures:
        reasons.setdefault(failure["message"].removesuffix("."), []).append(f"{failure['title']} ({failure['uid']})")
    left = reasons.pop("not tried", [])
    done = len(outcome.created) + len(outcome.updated) + len(outcome.deleted)
    begin = f"{len(outcome.failures)} of {len(outcome.failures) + done + len(outcome.unchanged) + len(outcome.left)} dashboards failed, {done} written."
    parts = [f"{', '.join(names)}: {reason}." for reason, names in reasons.items()]
    if left:
        parts.append(f"{len(left)} more were not tried after that.")
    return "\n".join([begin, *parts])


# Exporting


def export(client: Client, uids: t.Sequence[str], folder: Path | None, tag: str | None, *, content: bool) -> list[dict[str, t.Any]]:
    """The dashboards that fit, by folder and title."""
    settings = client.settings()
    tree = Tree(client, nested=settings.nested_folders, version=settings.version)
    hits = {hit["uid"]: hit for hit in client.search(tag)}
    if folder is not None:
        top = tree.find(folder)
        if top is None:
            raise ObserverError(f"folder {join_path(folder)} does not exist in Grafana. Correct its path.")
        inside = tree.below(top)
        hits = {uid: hit for uid, hit in hits.items() if _folder_uid(hit) in inside}
    # by uid they are asked for even if the search does not know them yet
    chosen = [uid for uid in uids if (folder is None and tag is None) or uid in hits] if uids else list(hits)
    items, metas = _read(client, chosen, tree)
    found = []
    for uid, item in items.items():
        meta = metas[uid]
        entry = {
            "uid": uid,
            "title": item.name,
            "folder": join_path(item.folder),
            "tags": item.content.get("tags", []),
            "version": item.raw.get("version"),
            "updated": meta.get("updated"),
            "updated_by": meta.get("updatedBy"),
            "provisioned": bool(meta.get("provisioned")),
            "url": client.title + str(meta.get("url", "")) if meta.get("url") else None,
        }
        found.append({**entry, "content": item.content} if content else entry)
    return sorted(found, key=lambda entry: (entry["folder"], entry["title"], entry["uid"]))
