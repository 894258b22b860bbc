# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command kaas_mock_clusters and the playbook of the same name, against the real service with the DOUBLE of ansible-playbook."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import kaas_mock_clusters as command
import pytest
import yaml
from _service import TOKENS, Api, Double, Service, wait_until
from fastapi.testclient import TestClient

TOP = Path(__file__).parents[4]
PROGRAM = [sys.executable, str(TOP / "roles" / "kaas_mock" / "files" / "kaas_mock_clusters.py")]
PLAYBOOK = TOP / "playbooks" / "kaas_mock_clusters.yml"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "POLL", 0.05)


@pytest.fixture
def tokens(options: dict[str, t.Any]) -> str:
    return str(options["tokens_file"])


class Command:
    """The command in this process, with alice's token; the service is in it too."""

    def __init__(self, client: TestClient, tokens: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._client = client
        self._words = ["--url=http://localhost", f"--token-file={tokens}", "--token-name=alice", "--json"]
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, dict[str, t.Any], str]:
        """Exit code, result, what was said meanwhile."""
        code = command.main([words[0], *self._words, *words[1:]], self._client._transport)
        said = self._capsys.readouterr()
        return code, json.loads(said.out), said.err


@pytest.fixture
def run(client: TestClient, tokens: str, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(client, tokens, capsys)


@pytest.fixture
def running(service: Service, tokens: str, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The service as a process, which the command finds by its environment."""
    api = service.start()
    monkeypatch.setenv("KAAS_MOCK_URL", str(api.client.base_url))
    monkeypatch.setenv("KAAS_MOCK_TOKEN_FILE", tokens)
    return api


def did(result: dict[str, t.Any]) -> dict[str, tuple[str, str]]:
    return {cluster["name"]: (cluster["did"], cluster["state"]) for cluster in result["clusters"]}


# -- the command ----------------------------------------------------------------
def test_makes_all_and_the_second_time_none(run: Command, api: Api, double: Double) -> None:
    code, first, said = run("create", "3", "--prefix=many")
    assert (code, first["changed"], first["failed"]) == (0, True, [])
    assert did(first) == {f"many-{number}": ("created", "ready") for number in (1, 2, 3)}
    assert double.registered() == {"many-1", "many-2", "many-3"}
    assert double.most_at_once() <= 2
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == ["1/3", "2/3", "3/3"] and all("ready" in line for line in lines)
    code, second, _said = run("create", "3", "--prefix=many")
    assert (code, second["changed"]) == (0, False)
    assert did(second) == {f"many-{number}": ("existing", "ready") for number in (1, 2, 3)}


def test_check_asks_for_nothing(run: Command, api: Api, double: Double) -> None:
    code, result, _said = run("create", "2", "--check")
    assert (code, result["changed"], did(result)) == (0, True, {"kaas-1": ("created", ""), "kaas-2": ("created", "")})
    assert api.clusters() == {} and double.journal() == []
    run("create", "1")
    code, result, _said = run("delete", "--check")
    assert (code, result["changed"], did(result)) == (0, True, {"kaas-1": ("deleted", "ready")})
    assert api.state("kaas-1") == "ready"


def test_every_failure_is_reported_and_stops_no_other(run: Command, api: Api, double: Double) -> None:
    double.set("once-create", {"task": "Build", "error": "the disk is full"})
    code, result, said = run("create", "12", "--prefix=full")
    assert code == 1
    failed = {line.partition(":")[0]: line for line in result["failed"]}
    # one that can not be made, and two beyond the ten that there may be
    broken = {name for name in failed if "the disk is full" in failed[name]}
    assert len(broken) == 1 and set(failed) - broken == {"full-11", "full-12"}
    assert all("no more than 10 are allowed" in failed[name] for name in ("full-11", "full-12"))
    assert len(double.registered()) == 9
    assert all(failed[name].partition(": ")[2] in said for name in failed)
    # what failed is tried again
    code, result, _said = run("create", "10", "--prefix=full")
    assert code == 0 and {name for name, (what, _state) in did(result).items() if what == "created"} == broken


def test_delete_takes_those_of_the_prefix_only(run: Command, api: Api, double: Double) -> None:
    run("create", "2", "--prefix=many")
    for name in ("many", "many-x", "many-1-1", "manyer-1"):
        api.wait(api.create(name))
    code, result, said = run("delete", "--prefix=many")
    assert (code, did(result)) == (0, {"many-1": ("deleted", "gone"), "many-2": ("deleted", "gone")})
    assert set(api.clusters()) == {"many", "many-x", "many-1-1", "manyer-1"} == double.registered()
    assert "2/2" in said
    code, result, _said = run("delete", "--prefix=many")
    assert (code, result["changed"], result["clusters"]) == (0, False, [])
    code, result, _said = run("delete", "--all")
    assert code == 0 and api.clusters() == {}


def test_what_is_under_way_is_waited_for(run: Command, api: Api, double: Double) -> None:
    double.set("hold-onboard")
    code, result, _said = run("create", "1", "--no-wait")
    assert (code, did(result)) == (0, {"kaas-1": ("created", "queued")})
    wait_until(lambda: api.state("kaas-1") == "onboarding", "onboarding")
    code, result, _said = run("create", "1", "--timeout=0.2")
    assert code == 1 and "still the task of onboard after 0.2 s" in result["failed"][0]
    double.unset("hold-onboard")
    code, result, _said = run("create", "1")
    assert (code, result["changed"], did(result)) == (0, False, {"kaas-1": ("existing", "ready")})
    assert api.job(1)["state"] == "succeeded", "it was asked for again"


def test_wait_tells_what_will_not_come(run: Command, api: Api) -> None:
    api.wait(api.create("kaas-1"))
    assert run("wait", "kaas-1")[0] == 0
    code, result, _said = run("wait", "kaas-1", "kaas-2")
    assert (code, result["failed"]) == (1, ["kaas-2: it is gone."])
    assert run("wait", "--gone", "kaas-2")[0] == 0
    code, result, _said = run("wait", "--gone", "kaas-1")
    assert (code, result["failed"]) == (1, ["kaas-1: it is ready."])


def test_service_that_is_started_anew_is_waited_for(service: Service, options: dict[str, t.Any], double: Double, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options["port"] = port
    found = Service(options, tmp_path)
    found.start()
    double.set("hold-create")
    words = [*PROGRAM, "create", "2", f"--url=http://127.0.0.1:{port}", f"--token-file={options['tokens_file']}", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: double.begun("kaas-1"), "the first job")
        found.kill()
        time.sleep(1.5)
        double.unset("hold-create")
        found.start()
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        found.kill()
    assert process.returncode == 0, out + err
    assert did(json.loads(out)) == {"kaas-1": ("created", "ready"), "kaas-2": ("created", "ready")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--token-name=carol"], "holds no token of carol. Choose another with --token-name."),
        (["--token-file=/nowhere"], "The token file /nowhere can not be read: No such file or directory."),
        (["--url=http://127.0.0.1:9"], "The KaaS mock service at http://127.0.0.1:9 does not answer: "),
        (["--ca=/nowhere"], "The authorities in /nowhere can not be read: "),
    ],
)
def test_what_can_not_be_asked_is_one_message(words: list[str], said: str, tokens: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["create", "2", f"--token-file={tokens}", *words]) == 2
    assert said in capsys.readouterr().out


def test_wrong_token_is_one_message_and_not_one_a_cluster(run: Command, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * 32)
    code, result, _said = run("create", "2", f"--token-file={tmp_path / 'token'}")
    assert (code, result["error"], result["clusters"]) == (2, "The token is wrong.", [])
    (tmp_path / "token").write_text(f"{TOKENS['bob']}\n")
    assert run("list", f"--token-file={tmp_path / 'token'}")[0] == 0


@pytest.mark.parametrize("words", [["create"], ["create", "0"], ["create", "x"], ["wait"], []])
def test_bad_words_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_long_waits_say_something(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(command.time, "monotonic", lambda: now)
    outcomes = [command.Outcome("a", "created", step="Start it", open=True), command.Outcome("b", "created", "ready", seconds=61)]
    lines = command.Lines(outcomes)
    for now in range(25):  # noqa: B007
        lines.show()
    assert capsys.readouterr().err.splitlines() == ["1/2 b ready 1:01", "1/2 after 0:10; under way: a (Start it)", "1/2 after 0:20; under way: a (Start it)"]


def test_terminal_gets_bars(running: Api, double: Double) -> None:
    double.set("slow-create", "1")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([*PROGRAM, "create", "2", "--token-name=alice"], stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True)
    os.close(theirs)
    shown = b""
    # a terminal whose other end was closed answers with an error
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:
        pass
    out, _nothing = process.communicate(timeout=30)
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0, out + text
    assert "━" in text and "0/2" in text and "2/2" in text
    assert "kaas-2" in text and "the task of create" in text
    assert [line.split()[:3] for line in out.splitlines()] == [["kaas-1", "created", "ready"], ["kaas-2", "created", "ready"]]


# -- the playbook ---------------------------------------------------------------
def play(folder: Path, *words: str, **variables: t.Any) -> tuple[int, str]:
    """Exit code and output."""
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    (folder / "hosts.json").write_text(json.dumps({"kaas_mock": {"hosts": {"service": host}}}))
    given = {"kaas_mock_clusters_command": PROGRAM, "kaas_mock_clusters_prefix": "play", **variables}
    (folder / "variables.json").write_text(json.dumps(given))
    command_line = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.json"), str(PLAYBOOK), "-e", f"@{folder}/variables.json"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_BECOME": "0"}
    done = subprocess.run([*command_line, *words], cwd=TOP, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def where(running: Api, tokens: str) -> dict[str, str]:
    return {"kaas_mock_clusters_url": str(running.client.base_url), "kaas_mock_clusters_token_file": tokens}


def test_playbook_makes_and_removes(running: Api, double: Double, where: dict[str, str], tmp_path: Path) -> None:
    admin = Api(running.client, "admin")
    code, said = play(tmp_path, "--check", kaas_mock_clusters_count=2, **where)
    assert code == 0 and "changed=1" in said and admin.clusters() == {}, said
    code, said = play(tmp_path, kaas_mock_clusters_count=2, **where)
    assert code == 0 and "changed=1" in said, said
    assert "2 clusters ready: play-1, play-2" in said
    assert {name: cluster["state"] for name, cluster in admin.clusters().items()} == {"play-1": "ready", "play-2": "ready"}
    code, said = play(tmp_path, kaas_mock_clusters_count=2, **where)
    assert code == 0 and "changed=0" in said and "2 clusters ready, 0 of them by this run" in said, said
    code, said = play(tmp_path, kaas_mock_clusters_state="absent", **where)
    assert code == 0 and "changed=1" in said and "2 clusters gone" in said and admin.clusters() == {}, said
    code, said = play(tmp_path, kaas_mock_clusters_state="absent", **where)
    assert code == 0 and "changed=0" in said and "0 clusters gone" in said, said
    assert TOKENS["admin"] not in said


def test_playbook_reports_all_failures(running: Api, double: Double, where: dict[str, str], tmp_path: Path) -> None:
    double.set("fail-onboard", {"task": "Register", "error": "the registry is away"})
    code, said = play(tmp_path, "-vvv", kaas_mock_clusters_count=3, **where)
    message = " ".join(said.split())
    assert code == 2 and "3 of 3 clusters failed." in message, said
    assert all(f"play-{number}: Register: the registry is away" in message for number in (1, 2, 3))
    assert TOKENS["admin"] not in said


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, 'kaas_mock_clusters_count: "" is no number of clusters.'),
        ({"kaas_mock_clusters_count": "many"}, 'kaas_mock_clusters_count: "many" is no number of clusters.'),
        ({"kaas_mock_clusters_count": 2, "kaas_mock_clusters_prefix": "A b"}, 'kaas_mock_clusters_prefix: "A b" is no beginning'),
        ({"kaas_mock_clusters_state": "gone"}, 'kaas_mock_clusters_state: "gone" is neither present nor absent.'),
        ({"kaas_mock_clusters_count": 2, "kaas_mock_clusters_url": "http://127.0.0.1:9"}, "The KaaS mock service at http://127.0.0.1:9 does not answer:"),
    ],
)
def test_playbook_refuses_bad_words(variables: dict[str, t.Any], said: str, tmp_path: Path) -> None:
    code, answer = play(tmp_path, **variables)
    assert code == 2 and said in " ".join(answer.split()), answer


def test_playbook_documents_its_variables() -> None:
    text = PLAYBOOK.read_text()
    head = text.partition("- name:")[0]
    play_text = json.dumps(yaml.safe_load(text))
    used = {word for word in ("count", "prefix", "state", "timeout", "url", "token_file", "ca", "command") if f"kaas_mock_clusters_{word}" in play_text}
    assert used == {line.split("kaas_mock_clusters_")[1].split()[0] for line in head.splitlines() if line.startswith("#   kaas_mock_clusters_")}
