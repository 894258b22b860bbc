# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes and removes many clusters through a KaaS mock service, and shows how far it is.

Progress goes to standard error (bars on a terminal, else lines), the result to standard output. Exit code 0: all is as asked for;
1: some clusters failed, each is named; 2: nothing could be asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import ssl
import sys
import time
import typing as t
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

READY, FAILED, GONE = "ready", "failed", "gone"
COMING = ("queued", "creating", "onboarding")
LEAVING = ("unregistering", "deleting")
# a service that is started anew is waited for
PATIENCE = 60.0
POLL = 1.0
QUIET = 10.0


class ServiceError(Exception):
    """One message. C(code): the service's, 0 when it did not answer."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass
class Outcome:
    """What becomes of one cluster. C(did): created, existing, deleted, or nothing yet; C(state): the service's, or gone."""

    name: str
    did: str
    state: str = ""
    job: int = 0
    step: str = ""
    seconds: float = 0
    error: str = ""
    open: bool = False


class Service:
    def __init__(self, url: str, token: str = "", ca: str = "", transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca) if ca else True
        except (OSError, ssl.SSLError) as error:
            raise ServiceError(f"The authorities in {ca} can not be read: {error}. Give a PEM file with --ca.") from error
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=self.url, headers=headers, verify=verify, timeout=30, transport=transport, trust_env=False)

    def _ask(self, method: str, path: str, **words: t.Any) -> t.Any:
        try:
            answer = self._client.request(method, path, **words)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error).rstrip(".")
            raise ServiceError(f"The KaaS mock service at {self.url} does not answer: {reason}. Check that it runs, and the URL.") from error
        if answer.is_success:
            return answer.json()
        try:
            detail = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            detail = f"it answered {answer.status_code} {answer.reason_phrase}"
        raise ServiceError(str(detail), answer.status_code)

    def clusters(self) -> dict[str, dict[str, t.Any]]:
        return {cluster["name"]: cluster for cluster in self._ask("GET", "/api/clusters/")}

    def jobs(self) -> dict[int, dict[str, t.Any]]:
        return {job["id"]: job for job in self._ask("GET", "/api/jobs/")}

    def create(self, name: str) -> dict[str, t.Any]:
        return self._ask("POST", "/api/clusters/", json={"name": name})

    def delete(self, name: str) -> dict[str, t.Any]:
        return self._ask("DELETE", f"/api/clusters/{name}")


# -- what is asked for ----------------------------------------------------------------------------------------------------------------------------


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(1, count + 1)]


def of_prefix(prefix: str, found: t.Iterable[str]) -> list[str]:
    """Those that C(names) could have made, in their order."""
    pattern = re.compile(re.escape(prefix) + r"-([1-9][0-9]*)")
    numbers = {name: int(match[1]) for name in found if (match := pattern.fullmatch(name))}
    return sorted(numbers, key=lambda name: numbers[name])


def ask_to_create(service: Service, wanted: t.Sequence[str], check: bool) -> list[Outcome]:
    """What fails for one cluster does not stop the others."""
    found = service.clusters()
    outcomes = []
    for name in wanted:
        state = found[name]["state"] if name in found else ""
        outcome = Outcome(name, "existing", state, found.get(name, {}).get("job", 0))
        if state in LEAVING:
            outcome.error = f"it is {state}. Try again when it is gone."
        elif state in ("", FAILED):
            outcome.did = "created"
            if not check:
                _ask_one(outcome, service.create)
        outcome.open |= state in COMING
        outcomes.append(outcome)
    return outcomes


def ask_to_delete(service: Service, wanted: t.Callable[[t.Iterable[str]], list[str]], check: bool) -> list[Outcome]:
    found = service.clusters()
    outcomes = [Outcome(name, "deleted", found[name]["state"], found[name]["job"]) for name in wanted(found)]
    for outcome in outcomes:
        if not check:
            _ask_one(outcome, service.delete)
    return outcomes


def ask_nothing(service: Service, wanted: t.Sequence[str], gone: bool) -> list[Outcome]:
    """For waiting only."""
    found = service.clusters()
    outcomes = []
    for name in wanted:
        outcome = Outcome(name, "", found[name]["state"] if name in found else GONE, found.get(name, {}).get("job", 0))
        outcome.open = outcome.state in (LEAVING if gone else COMING)
        if not outcome.open and outcome.state != (GONE if gone else READY):
            outcome.error = found.get(name, {}).get("error") or f"it is {outcome.state}."
        outcomes.append(outcome)
    return outcomes


def _ask_one(outcome: Outcome, ask: t.Callable[[str], dict[str, t.Any]]) -> None:
    try:
        job = ask(outcome.name)
    except ServiceError as error:
        if error.code in (0, 401, 403):
            raise
        outcome.did = ""
        outcome.error = str(error)
    else:
        outcome.job, outcome.state, outcome.open = job["id"], job["state"], True


# -- waiting --------------------------------------------------------------------------------------------------------------------------------------


def wait(service: Service, outcomes: t.Sequence[Outcome], timeout: float, show: t.Callable[[], None]) -> None:
    """Until no cluster is under way. A service that does not answer for a while, because it is started anew, is no failure."""
    begin = answered = time.monotonic()
    while waiting := [outcome for outcome in outcomes if outcome.open]:
        try:
            look(service.jobs(), waiting)
            answered = time.monotonic()
        except ServiceError as error:
            if error.code or time.monotonic() - answered > PATIENCE:
                raise
        show()
        if time.monotonic() - begin > timeout:
            for outcome in waiting:
                if outcome.open:
                    outcome.open = False
                    outcome.error = (
                        f"it is still {outcome.step or outcome.state} after {timeout:g} s (--timeout). The service goes on with it (job {outcome.job})."
                    )
        if any(outcome.open for outcome in outcomes):
            time.sleep(POLL)


def look(jobs: t.Mapping[int, t.Mapping[str, t.Any]], waiting: t.Iterable[Outcome]) -> None:
    for outcome in waiting:
        job = jobs.get(outcome.job)
        if job is None:
            outcome.open = False
            outcome.error = f"the service does not know job {outcome.job} any more."
            continue
        outcome.seconds = job["elapsed"]
        outcome.step = job["task"] or job["step"] or job["state"]
        if job["state"] == "succeeded":
            outcome.open = False
            outcome.step = ""
            outcome.state = GONE if job["action"] == "delete" else READY
        elif job["state"] == "failed":
            outcome.open = False
            outcome.state = FAILED
            outcome.error = job["error"] or "it failed without a message."


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class Lines:
    """For what is no terminal: a line when a cluster is done, and one now and then."""

    def __init__(self, outcomes: t.Sequence[Outcome]) -> None:
        self._outcomes = outcomes
        self._said: set[str] = set()
        self._last = self._begin = time.monotonic()

    def show(self) -> None:
        for outcome in self._outcomes:
            if not outcome.open and outcome.name not in self._said:
                self._said.add(outcome.name)
                self._say(f"{len(self._said)}/{len(self._outcomes)} {outcome.name} {describe(outcome)}")
        waiting = [outcome for outcome in self._outcomes if outcome.open]
        if waiting and time.monotonic() - self._last >= QUIET:
            at = ", ".join(f"{outcome.name} ({outcome.step})" for outcome in waiting)
            self._say(f"{len(self._said)}/{len(self._outcomes)} after {clock(time.monotonic() - self._begin)}; under way: {at}")

    def _say(self, line: str) -> None:
        self._last = time.monotonic()
        print(line, file=sys.stderr, flush=True)


class Bars:
    """For a terminal: one bar for all, and a line for each that is under way."""

    def __init__(self, outcomes: t.Sequence[Outcome], progress: Progress) -> None:
        self._outcomes = outcomes
        self._progress = progress
        self._all = progress.add_task("clusters", total=len(outcomes), at="")
        self._rows = {outcome.name: progress.add_task(f"  {outcome.name}", total=1, at="", visible=False) for outcome in outcomes}

    def show(self) -> None:
        self._progress.update(self._all, completed=sum(not outcome.open for outcome in self._outcomes))
        for outcome in self._outcomes:
            row = self._rows[outcome.name]
            if not outcome.open:
                # its clock stands still
                self._progress.update(row, completed=1)
            self._progress.update(row, at=outcome.step if outcome.open else describe(outcome), visible=True)


@contextlib.contextmanager
def display(outcomes: t.Sequence[Outcome]) -> t.Iterator[t.Callable[[], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(outcomes).show
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(outcomes, progress).show


def describe(outcome: Outcome) -> str:
    if outcome.error:
        return f"failed: {outcome.error}"
    return f"{outcome.state} {clock(outcome.seconds)}" if outcome.seconds else outcome.state


# -- the command ----------------------------------------------------------------------------------------------------------------------------------


def read_token(path: str, name: str) -> str:
    """The file holds one token, or a JSON object of names and tokens such as the service's own tokens.json."""
    try:
        text = Path(path).read_text().strip()
    except OSError as error:
        raise ServiceError(f"The token file {path} can not be read: {error.strerror}. Name another with --token-file.") from error
    if not text.startswith("{"):
        return text
    try:
        return str(json.loads(text)[name])
    except (ValueError, KeyError) as error:
        raise ServiceError(f"The token file {path} holds no token of {name}. Choose another with --token-name.") from error


def parse(arguments: t.Sequence[str]) -> argparse.Namespace:
    environment = os.environ
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", default=environment.get("KAAS_MOCK_URL", "http://127.0.0.1:8080"), help="of the service [KAAS_MOCK_URL]")
    common.add_argument(
        "--token-file", default=environment.get("KAAS_MOCK_TOKEN_FILE", ""), help="file with the token, or the service's tokens.json [KAAS_MOCK_TOKEN_FILE]"
    )
    common.add_argument("--token-name", default="admin", help="whose token of tokens.json is used (%(default)s)")
    common.add_argument("--ca", default=environment.get("KAAS_MOCK_CA", ""), help="PEM file with the authority of the service's certificate [KAAS_MOCK_CA]")
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument("--no-wait", action="store_true", help="ask the service and return")
    asking.add_argument("--check", action="store_true", help="ask for nothing, tell only what would be asked for")
    waiting = argparse.ArgumentParser(add_help=False)
    waiting.add_argument("--timeout", type=float, default=3600, help="seconds until all has to be done (%(default)s)")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", parents=[common, asking, waiting], help="make the clusters PREFIX-1 to PREFIX-COUNT; those that are there stay")
    create.add_argument("count", type=int)
    create.add_argument("--prefix", default="kaas", help="(%(default)s)")
    delete = actions.add_parser("delete", parents=[common, asking, waiting], help="remove all clusters PREFIX-1, PREFIX-2, ...")
    delete.add_argument("--prefix", default="kaas", help="(%(default)s)")
    delete.add_argument("--all", action="store_true", help="all that the token sees, whatever their names")
    wait_for = actions.add_parser("wait", parents=[common, waiting], help="wait for clusters that are under way")
    wait_for.add_argument("names", nargs="+")
    wait_for.add_argument("--gone", action="store_true", help="until they are gone, instead of ready")
    actions.add_parser("list", parents=[common], help="the service's clusters and their states")
    words = parser.parse_args(arguments)
    if words.action == "create" and words.count < 1:
        parser.error("count has to be 1 or more")
    return words


def run(words: argparse.Namespace, service: Service) -> list[Outcome]:
    if words.action == "list":
        return [Outcome(name, "", cluster["state"], cluster["job"], error=cluster["error"]) for name, cluster in service.clusters().items()]
    check = getattr(words, "check", False)
    if words.action == "create":
        outcomes = ask_to_create(service, names(words.prefix, words.count), check)
    elif words.action == "delete":
        outcomes = ask_to_delete(service, list if words.all else lambda found: of_prefix(words.prefix, found), check)
    else:
        outcomes = ask_nothing(service, words.names, words.gone)
    if not check and not getattr(words, "no_wait", False):
        with display(outcomes) as show:
            show()
            wait(service, outcomes, words.timeout, show)
            show()
    return outcomes


def result(outcomes: t.Sequence[Outcome]) -> dict[str, t.Any]:
    return {
        "changed": any(outcome.did in ("created", "deleted") for outcome in outcomes),
        "clusters": [{key: value for key, value in dataclasses.asdict(outcome).items() if key != "open"} for outcome in outcomes],
        "failed": [f"{outcome.name}: {outcome.error}" for outcome in outcomes if outcome.error],
        "error": "",
    }


def main(arguments: t.Sequence[str] | None = None, transport: httpx.BaseTransport | None = None) -> int:
    words = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        token = read_token(words.token_file, words.token_name) if words.token_file else ""
        outcomes = run(words, Service(words.url, token, words.ca, transport))
    except ServiceError as error:
        print(json.dumps({"changed": False, "clusters": [], "failed": [], "error": str(error)}) if words.json else f"kaas_mock_clusters: {error}")
        return 2
    except KeyboardInterrupt:
        print("kaas_mock_clusters: interrupted; the service goes on with what was asked for", file=sys.stderr)
        return 2
    if words.json:
        print(json.dumps(result(outcomes)))
    else:
        for outcome in outcomes:
            print(" ".join(part for part in (outcome.name, outcome.did, describe(outcome)) if part))
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed and not words.json:
        print(f"{len(failed)} of {len(outcomes)} failed", file=sys.stderr)
    return 1 if failed and words.action != "list" else 0


if __name__ == "__main__":
    sys.exit(main())
