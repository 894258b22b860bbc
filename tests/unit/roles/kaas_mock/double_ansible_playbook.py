# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A DOUBLE of ansible-playbook, of the lab and of the Observer's registry, for the tests of the KaaS mock service. Its folder is DOUBLE_FOLDER.

Like the real one it does its work in a worker of a session of its own, leaves "machines" running in the background, and can be run again at any
point. What it is to do otherwise is told by files in its folder: slow-<step> (seconds), hold-<step> (wait while it is there), fail-<step> (JSON
{task, error}), once-<step> (the same, one time).
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["DOUBLE_FOLDER"])
STEPS = {
    ("cluster.yml", "present"): "create",
    ("cluster.yml", "absent"): "delete",
    ("unregister.yml", None): "unregister",
    ("scs.observer.kaas_onboard", None): "onboard",
}


def note(**line: object) -> None:
    with (FOLDER / "journal.jsonl").open("a") as file:
        file.write(json.dumps({**line, "time": time.time()}) + "\n")


def event(**line: str) -> None:
    with Path(os.environ["KAAS_MOCK_EVENTS"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


def machines(name: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().split(b"\0")[-2:] == [str(FOLDER / name).encode(), b""]:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def make(variables: dict, name: str) -> None:
    state = Path(variables["lab_cluster_root"]) / name
    if (state / "kubeconfig").exists() and machines(name):
        return
    remove(variables, name)
    state.mkdir(parents=True)
    (state / "index").write_text(str(variables["lab_cluster_index"]))
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", str(FOLDER / name)], start_new_session=True, stdin=subprocess.DEVNULL)
    wait("create", 0.5)
    (state / "kubeconfig").write_text(json.dumps({"kind": "Config", "current-context": name}))


def remove(variables: dict, name: str) -> None:
    state = Path(variables["lab_cluster_root"]) / name
    for pid in machines(name):
        os.kill(pid, 9)
    for path in state.glob("*"):
        path.unlink()
    if state.exists():
        state.rmdir()


def wait(step: str, part: float = 1) -> None:
    seconds = FOLDER / f"slow-{step}"
    if seconds.exists():
        time.sleep(float(seconds.read_text()) * part)
    while (FOLDER / f"hold-{step}").exists():
        time.sleep(0.02)


def work(step: str, name: str, variables: dict) -> int:
    busy = (FOLDER / f"busy-{name}").open("w")
    try:
        fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(twice=name, step=step)
        return 9
    os.set_inheritable(busy.fileno(), False)
    note(begin=step, name=name, pid=os.getpid(), variables=variables)
    event(task=f"the task of {step}")
    wait(step, 0.5)
    for kind in ("fail", "once"):
        path = FOLDER / f"{kind}-{step}"
        if path.exists():
            event(**json.loads(path.read_text()))
            if kind == "once":
                path.unlink()
            return 2
    registry = FOLDER / "registry"
    registry.mkdir(exist_ok=True)
    if step == "create":
        make(variables, name)
    elif step == "onboard":
        assert (Path(variables["lab_cluster_root"]) / name / "kubeconfig").exists()
        (registry / name).touch()
    elif step == "unregister":
        (registry / name).unlink(missing_ok=True)
    else:
        assert not (registry / name).exists(), "the cluster was deleted before it was unregistered"
        remove(variables, name)
    wait(step, 0.5)
    note(end=step, name=name)
    return 0


def main() -> int:
    arguments = sys.argv[1:]
    inventory = json.loads(Path(arguments[arguments.index("-i") + 1]).read_text())
    (name,) = inventory["kaas"]["hosts"]
    playbook = arguments[arguments.index("-i") + 2]
    variables: dict = {}
    for position, word in enumerate(arguments):
        if word == "-e":
            variables.update(json.loads(Path(arguments[position + 1].removeprefix("@")).read_text()))
    step = STEPS[Path(playbook).name, variables.get("kaas_mock_state")]
    print(f"the double runs {step} for {name}", flush=True)
    worker = os.fork()
    if worker == 0:
        os.setsid()
        os._exit(work(step, name, variables))
    return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
