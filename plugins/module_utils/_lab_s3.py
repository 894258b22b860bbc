# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: a lab machine with an S3 server (versitygw) that keeps its objects as files."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
import typing as t
from pathlib import Path

from ansible_collections.scs.observer.plugins.module_utils._errors import ObserverError
from ansible_collections.scs.observer.plugins.module_utils._lab_machine import Machine, Program, check_machine, lock, sweep, write_whole
from ansible_collections.scs.observer.plugins.module_utils._lab_pki import Authority
from ansible_collections.scs.observer.plugins.module_utils._lab_programs import find_build

NAME = "s3"
INDEX = 0
PORT = 7070


def _machine(root: Path) -> Machine:
    return Machine(root, NAME, INDEX)


def ensure_absent(root: Path, check_mode: bool) -> dict[str, t.Any]:
    check_machine(root / NAME)
    with lock(NAME):
        machine = _machine(root)
        there = machine.state.exists()
        if there and not check_mode:
            machine.remove()
        left = sweep(root, check_mode)
    return {"changed": there or bool(left)}


def ensure_present(root: Path, source: Path, cache: Path, check_mode: bool) -> dict[str, t.Any]:
    check_machine(root / NAME)
    machine = _machine(root)
    facts = machine.state / "ready.json"
    build = find_build("versitygw", source / "versitygw", cache)
    with lock(NAME):
        if machine.pid is not None and facts.exists():
            connected = machine.is_connected()
            if not connected and not check_mode:
                machine.connect(())
            return {"changed": not connected, **json.loads(facts.read_text())}
        if check_mode:
            return {"changed": True}
        program = build.output / "versitygw"
        if not program.is_file():
            raise ObserverError(f"lab S3 server: {program} is missing; build it first with the role lab_cluster's entry point programs")
        machine.check_place()
        machine.remove()
        return {"changed": True, **_create(machine, program, facts)}


def _create(machine: Machine, program: Path, facts: Path) -> dict[str, str]:
    for folder in ("pki", "data", "accounts"):
        (machine.state / folder).mkdir(parents=True)
    authority = Authority.create("lab-s3")
    authority.write(machine.state / "pki", "ca")
    authority.issue("s3", dns_names=["s3.lab"], ip_addresses=[machine.address]).write(machine.state / "pki", "server")
    keys = {"access_key": secrets.token_hex(8), "secret_key": secrets.token_urlsafe(24)}
    credentials = machine.state / "credentials.json"
    with os.fdopen(os.open(credentials, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        json.dump(keys, handle)
    machine.start([_program(machine, program, keys)])
    _wait_for_port(machine)
    result = {
        "endpoint": f"https://{machine.address}:{PORT}",
        "ca_certificate": authority.certificate_pem.decode(),
        "credentials": str(credentials),
        "data": str(machine.state / "data"),
    }
    write_whole(facts, json.dumps(result))
    return result


def _program(machine: Machine, program: Path, keys: t.Mapping[str, str]) -> Program:
    pki = machine.state / "pki"
    command = (str(program), "--port", f":{PORT}", "--cert", f"{pki}/server.crt", "--key", f"{pki}/server.key")
    command += ("--iam-dir", f"{machine.state}/accounts", "posix", f"{machine.state}/data")
    return Program("versitygw", command, environment={"ROOT_ACCESS_KEY": keys["access_key"], "ROOT_SECRET_KEY": keys["secret_key"]})


def _wait_for_port(machine: Machine) -> None:
    for _attempt in range(150):
        try:
            socket.create_connection((machine.address, PORT), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise ObserverError(f"lab S3 server does not answer at {machine.address}:{PORT}; last of its log:\n{machine.log_tail('versitygw')}")
