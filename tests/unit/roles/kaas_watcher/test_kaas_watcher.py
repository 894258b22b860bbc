# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watching loop decides, without any cluster; and the unit that it is run by. tests/integration/test_kaas_watcher.py runs it."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import typing as t

import pytest
import yaml
from ansible_collections.scs.observer.plugins.module_utils._kaas_inventory import cluster_id
from ansible_collections.scs.observer.plugins.module_utils._kubernetes import ApiError

ROOT = pathlib.Path(__file__).parents[4]
ROLE = ROOT / "roles" / "kaas_watcher"


@pytest.fixture(scope="session")
def program() -> t.Any:
    spec = importlib.util.spec_from_file_location("kaas_watcher", ROLE / "files" / "kaas_watcher.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["kaas_watcher"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def settings(program: t.Any) -> t.Callable[..., t.Any]:
    return lambda **fields: program.Settings(**{"inventory": "/i", "folder": "/f", **fields})


# -- decisions


def decide(program: t.Any, entries: dict[str, str | None], *seen: dict[str, t.Any], limit: int = 50) -> t.Any:
    reconciler = program.Reconciler("cluster_api", limit)
    decision = None
    for one in seen:
        decision = reconciler.decide(program.Seen(**one), entries)
    return decision


def ours(*names: str) -> dict[str, str | None]:
    return dict.fromkeys(names, "cluster_api")


def test_ready_and_not_registered_is_onboarded(program: t.Any) -> None:
    entries = ours("a") | {"b": "ansible", "bare": None}
    found = decide(program, entries, {"ready": {"a", "b", "bare", "new"}, "not_ready": {"begun"}, "lists": 1})
    assert (found.onboard, found.unregister, found.keep) == (["new"], [], [])


def test_only_what_this_manager_registered_is_unregistered(program: t.Any) -> None:
    found = decide(program, ours("a") | {"b": "ansible", "bare": None}, {"deleted": {"a", "b", "bare"}, "lists": 1})
    assert found.unregister == ["a"]


def test_deletion_is_believed_at_once_and_absence_the_second_time(program: t.Any) -> None:
    first = {"ready": {"c"}, "deleted": {"a"}, "lists": 1}
    assert decide(program, ours("a", "b", "c"), first).unregister == ["a"]
    assert decide(program, ours("a", "b", "c"), first, first).unregister == ["a"], "the same answer, looked at twice"
    assert decide(program, ours("a", "b", "c"), first, first | {"lists": 2}).unregister == ["a", "b"]
    back = {"ready": {"b", "c"}, "lists": 2}
    assert decide(program, ours("b", "c"), {"ready": {"c"}, "lists": 1}, back, {"ready": {"c"}, "lists": 3}).unregister == [], "it was there in between"


def test_not_ready_any_more_is_not_deleted(program: t.Any) -> None:
    found = decide(program, ours("a"), *({"not_ready": {"a"}, "lists": number} for number in (1, 2, 3)))
    assert (found.onboard, found.unregister) == ([], [])


@pytest.mark.parametrize(("number", "limit", "believed"), [(3, 0, True), (4, 50, False), (4, 100, True), (5, 99, False)])
def test_many_missing_are_kept(program: t.Any, number: int, limit: int, believed: bool) -> None:
    names = [f"c{count}" for count in range(number)]
    found = decide(program, ours(*names), {"lists": 1}, {"lists": 2}, limit=limit)
    assert (found.unregister, found.keep) == ((names, []) if believed else ([], names))


def test_many_deleted_are_not_missing(program: t.Any) -> None:
    names = [f"c{count}" for count in range(10)]
    assert decide(program, ours(*names), {"deleted": set(names), "lists": 1}).unregister == names


def test_another_cluster_of_the_same_name_is_registered_anew(program: t.Any) -> None:
    assert decide(program, ours("a"), {"ready": {"a"}, "replaced": {"a"}, "lists": 1}).unregister == ["a"]
    assert decide(program, {}, {"ready": {"a"}, "lists": 1}).onboard == ["a"]


# -- schedule


def test_failures_wait_longer_each_time(program: t.Any, settings: t.Any) -> None:
    schedule = program.Schedule(settings(retry_first=5, retry_most=30))
    waits = []
    now = 0.0
    for _try in range(5):
        schedule.wanted(["a"], now)
        run = schedule.take(now)
        assert run == ["a"] and schedule.take(now) is None
        schedule.ended(run, set(), now)
        waits.append(schedule.next_due(now) - now)
        assert schedule.take(now) is None, "too early"
        now = schedule.next_due(now)
    assert waits == [5, 10, 20, 30, 30]
    schedule.wanted(["a"], now)
    run = schedule.take(now)
    assert schedule.ended(run, {"a"}, now + 7) == ({"a": now + 7}, {})
    schedule.wanted([], now)
    assert schedule.attempts == {}


def test_failed_ones_leave_a_place_to_others(program: t.Any, settings: t.Any) -> None:
    schedule = program.Schedule(settings(parallel=3, retry_first=1))
    bad = ["bad1", "bad2", "bad3"]
    schedule.wanted(bad, 0)
    runs = [schedule.take(0) for _number in bad]
    for run in runs:
        schedule.ended(run, set(), 0)
    assert [schedule.take(10) for _number in range(3)] == [["bad1"], ["bad2"], None]
    schedule.wanted([*bad, "good"], 10)
    assert schedule.take(10) == ["good"]
    assert schedule.next_due(10) == float("inf"), "no busy loop while all places are taken"


def test_batches(program: t.Any, settings: t.Any) -> None:
    schedule = program.Schedule(settings(batch=2, parallel=2))
    schedule.wanted(["a", "b", "c", "d", "e"], 0)
    assert [schedule.take(0) for _number in range(3)] == [["a", "b"], ["c", "d"], None]
    _done, failed = schedule.ended(["a", "b"], {"a"}, 0)
    assert failed == {"b": 1}
    assert schedule.take(0) == ["e"]
    schedule.ended(["c", "d"], {"c", "d"}, 0)
    assert schedule.take(100) == ["b"], "alone"


# -- the watch


def item(name: str, version: int = 1, **metadata: t.Any) -> dict[str, t.Any]:
    metadata = {"namespace": "n", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version), **metadata}
    return {"metadata": metadata, "status": {"initialization": {"controlPlaneInitialized": True}}}


class Stream:
    """Stands in for the client of _kubernetes: its watches give these events, one list each."""

    def __init__(self, *events: tuple[str, dict[str, t.Any]]) -> None:
        self.events = events
        self.queries: list[t.Any] = []

    def stream(self, _path: str, *, query: t.Any, silence: float) -> t.Iterator[str]:
        assert silence > int(query["timeoutSeconds"])
        self.queries.append(query)
        for kind, found in self.events:
            yield json.dumps({"type": kind, "object": found})


@pytest.fixture
def source(program: t.Any, settings: t.Any) -> t.Any:
    return program.Source(settings(), None, threading.Event())


def ids(*names: str) -> set[str]:
    return {cluster_id("n", name) for name in names}


def test_watch_goes_on_from_the_last_version(source: t.Any) -> None:
    assert source.seen() is None
    assert source._listed([item("a")]) is True, "the first LIST is asked for again soon"
    assert source._listed([item("a")]) is False
    client = Stream(("ADDED", item("b", 7)), ("BOOKMARK", {"metadata": {"resourceVersion": "9"}}))
    assert source._watch(client, "/", "5", 10) == ("9", False)
    assert client.queries[0]["resourceVersion"] == "5"
    assert source.changed.is_set()
    assert source.seen().ready == ids("a", "b")


def test_gone_is_an_error_after_which_all_is_kept(source: t.Any) -> None:
    source._listed([item("a")])
    with pytest.raises(ApiError) as caught:
        source._watch(Stream(("ERROR", {"code": 410, "message": "too old"})), "/", "5", 10)
    assert caught.value.status == 410
    assert source.seen().ready == ids("a")


def test_deletion_is_seen(source: t.Any) -> None:
    source._listed([item("a"), item("b")])
    going = item("a", 2, deletionTimestamp="2026-01-01T00:00:00Z")
    assert source._watch(Stream(("MODIFIED", going)), "/", "1", 10)[1] is False
    assert (source.seen().ready, source.seen().deleted) == (ids("b"), ids("a"))
    assert source._watch(Stream(("DELETED", going)), "/", "1", 10)[1] is False
    assert source.seen().deleted == ids("a"), "also when it has gone"
    source._watch(Stream(("ADDED", item("a", 3, uid="another"))), "/", "1", 10)
    assert (source.seen().deleted, source.seen().replaced) == (set(), ids("a"))
    source.settled(ids("a"))
    assert source.seen().replaced == set()


def test_vanishing_is_no_deletion(source: t.Any) -> None:
    """As when its label is no longer selected, or the CRD is removed: the next LIST decides."""
    source._listed([item("a"), item("b")])
    assert source._watch(Stream(("DELETED", item("a", 2))), "/", "1", 10) == ("2", True)
    assert (source.seen().present, source.seen().deleted) == (ids("b"), set())
    source._listed([item("b")])
    assert source._listed([]) is True, "what is lost is asked for again soon"


def test_same_id_twice_is_left_out(program: t.Any, source: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program._kaas_inventory, "cluster_id", lambda namespace, name: "same")
    for _number in range(2):
        source._listed([item("a"), item("b")])
        assert source.seen().replaced == set()


# -- settings and unit


def test_settings_are_those_of_the_role(program: t.Any) -> None:
    """What the role writes is what the program reads; its defaults are the role's."""
    written = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__kaas_watcher_settings"]
    known = {field.name: field.default for field in program.dataclasses.fields(program.Settings)}
    assert set(written) == set(known) - {"playbook"}
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    same = {name: value for name, value in known.items() if f"kaas_watcher_{name}" in defaults and not name.endswith(("kubeconfig", "context", "namespace"))}
    assert len(same) > 10
    assert {name: tuple(value) if isinstance(value, list) else value for name in same for value in [defaults[f"kaas_watcher_{name}"]]} == same


def test_readme_has_every_variable() -> None:
    text = (ROLE / "README.md").read_text()
    assert [name for name in yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()) if f"| `{name}` |" not in text] == []


def test_packages_are_there() -> None:
    """The environment of the KaaS mock service has what the program imports."""
    pinned = (ROOT / "roles" / "kaas_mock" / "files" / "requirements.txt").read_text()
    needed = ("ansible", "ansible-core", "ansible-runner", "kubernetes", "prometheus-client", "psutil", "pyyaml")
    assert [name for name in needed if f"\n{name}==" not in pinned] == []


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("watcher")
    templates = {"kaas_watcher.service": "kaas_watcher.service.j2", "kaas_watcher": "kaas_watcher.sh.j2", "environment": "environment.j2"}
    tasks = [
        {
            "name": f"Render {name}",
            "ansible.builtin.template": {"src": str(ROLE / "templates" / template), "dest": str(folder / name), "mode": "0755"},
        }
        for name, template in templates.items()
    ]
    variables = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()) | {
        "kaas_watcher_prefix": str(folder / "opt"),
        "kaas_watcher_user": "root",
        "ansible_python_interpreter": sys.executable,
        "kaas_watcher_environment": {"HTTPS_PROXY": "http://u:it's@proxy:3128"},
        "__kaas_watcher_collections": "/c",
        "__kaas_watcher_program": "/c/kaas_watcher.py",
        "__kaas_watcher_venv": "/v",
    }
    play = {"name": "Render", "hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(folder / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | {"ANSIBLE_NOCOLOR": "1"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "opt" / "bin").mkdir(parents=True)
    shutil.copy(folder / "kaas_watcher", folder / "opt" / "bin" / "kaas_watcher")
    return folder


def test_unit_is_understood_by_systemd(rendered: pathlib.Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(rendered / "kaas_watcher.service")
    assert unit["Service"]["ExecStart"] == str(rendered / "opt" / "bin" / "kaas_watcher")
    program = shutil.which("systemd-analyze")
    if not program:
        return
    done = subprocess.run([program, "verify", str(rendered / "kaas_watcher.service")], capture_output=True, text=True, check=False)
    # what other units of this machine lack is not ours, and neither is the mode that the fixture gave it
    assert not [line for line in done.stderr.splitlines() if "kaas_watcher" in line and "marked executable" not in line], done.stderr


def test_starter_is_a_shell_script(rendered: pathlib.Path) -> None:
    assert subprocess.run(["sh", "-n", str(rendered / "kaas_watcher")], check=False).returncode == 0
    shown = subprocess.run(["sh", "-c", '. "$1"; printf %s "$HTTPS_PROXY"', "sh", str(rendered / "environment")], capture_output=True, text=True, check=True)
    assert shown.stdout == "http://u:it's@proxy:3128"
