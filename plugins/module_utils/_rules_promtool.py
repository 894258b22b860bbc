# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: promtool, the judge of what Prometheus loads, and the runner of tests of rules."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import typing as t

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError

_RULE = re.compile(r'(?:(\d+):(\d+): )?(?:\d+:\d+: )?group ("(?:[^"\\]|\\.)*"), rule (\d+), "(?:[^"\\]|\\.)*": (.*)', re.DOTALL)
_PLACE = re.compile(r"(?:yaml: )?(?:unmarshal errors:\s+)?(?:line )?(\d+)(?::(\d+))?: ")


@dataclasses.dataclass(frozen=True)
class Error:
    """What promtool says, and of which rule; rule is the number in its group."""

    message: str
    group: str | None = None
    rule: int = 0
    place: tuple[int, int] | None = None


def find(program: str) -> str | None:
    """The program's path; None when it was only looked for in PATH and is not there."""
    if not program:
        return None
    found = shutil.which(pathlib.Path(program).expanduser())
    if found is None and os.sep in program:
        raise ObserverError(f"promtool: {program} is no program that can be run. Correct the path, or leave promtool out to look for it in PATH.")
    return found


class RuleCheck(contextlib.AbstractContextManager["RuleCheck"]):
    """promtool check rules over texts, running while the caller does its own checks."""

    def __init__(self, program: str, texts: t.Sequence[str], features: t.Sequence[str]) -> None:
        self._stack = contextlib.ExitStack()
        folder = pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="scs-observer-rules-")))
        self._names = [f"{number:06}.yaml" for number in range(len(texts))]
        for name, text in zip(self._names, texts, strict=True):
            (folder / name).write_text(text, encoding="utf-8", newline="")
        command = [program, *_enabled(features), "check", "rules", "--lint=none", *self._names]
        with self._stack.pop_all() as stack:
            out, err = ((folder / name).open("w+b") for name in ("out", "err"))
            stack.callback(out.close)
            stack.callback(err.close)
            self._out, self._err = out, err
            self._process = _start(command, folder, out, err)
            stack.callback(self._end)
            self._stack = stack.pop_all()

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def errors(self, timeout: float) -> list[list[Error]]:
        """For each text what promtool found."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ObserverError(f"promtool was not done after {timeout:.0f} s. Check fewer files at once, or raise timeout.") from None
        lines = {}
        for stream in (self._out, self._err):
            stream.seek(0)
            lines[stream] = stream.read().decode(errors="replace")
        found = _by_file(lines[self._err], self._names)
        judged = len(re.findall(r"^Checking ", lines[self._out], re.MULTILINE))
        if judged != len(self._names) or (code != 0) != any(found):
            tail = " ".join(lines[self._err].split())[:300]
            raise ObserverError(
                f"promtool ended with {code} after {judged} of {len(self._names)} rule files: {tail or 'no message'}. Set promtool to a newer one."
            )
        return found


def _enabled(features: t.Sequence[str]) -> list[str]:
    return [f"--enable-feature={','.join(features)}"] if features else []


def _start(command: list[str], folder: pathlib.Path, out: t.Any, err: t.Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    except OSError as error:
        raise ObserverError(f"promtool ({command[0]}) can not be run: {error.strerror}. Correct promtool.") from error


def _by_file(text: str, names: t.Sequence[str]) -> list[list[Error]]:
    """A message begins with its file's name; what follows without one belongs to it."""
    known = {name: number for number, name in enumerate(names)}
    raw: list[list[str]] = [[] for _name in names]
    last: list[str] | None = None
    for line in text.splitlines():
        name, colon, rest = line.partition(": ")
        if line.startswith("time="):  # its log
            continue
        if colon and name in known:
            last = raw[known[name]]
            last.append(rest)
        elif line.strip() == "FAILED:":
            last = None
        elif last and line.strip():
            last[-1] += f"\n{line}"
    return [[_error(message) for message in messages] for messages in raw]


def _error(message: str) -> Error:
    match = _RULE.match(message)
    if match:
        line, column, group, number, text = match.groups()
        return Error(" ".join(text.split()), _unquoted(group), int(number), (int(line), int(column)) if line else None)
    match = _PLACE.match(message)
    place = (int(match.group(1)), int(match.group(2) or 1)) if match else None
    return Error(" ".join(message.split()), place=place)


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


@dataclasses.dataclass(frozen=True)
class TestRun:
    """A test file's result; message is empty when it passed."""

    __test__ = False

    file: str
    message: str


def test_rules(program: str, files: t.Sequence[str], features: t.Sequence[str], timeout: float) -> list[TestRun]:
    """promtool test rules, one run a file, so that each has its own verdict."""
    results = []
    for file in files:
        command = [program, *_enabled(features), "test", "rules", file]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            results.append(TestRun(file, f"promtool was not done with it after {timeout:.0f} s."))
            continue
        except OSError as error:
            raise ObserverError(f"promtool ({program}) can not be run: {error.strerror}. Correct promtool.") from error
        text = "\n".join(line for line in done.stderr.splitlines() if line.strip() and line.strip() != "FAILED:")
        results.append(TestRun(file, "" if done.returncode == 0 else (text.strip() or f"promtool ended with {done.returncode}.")))
    return results
