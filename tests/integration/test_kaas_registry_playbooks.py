# Copyright: (c) 2026, Sovereign Cloud Stack
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kaas_registry_backup and kaas_registry_restore with ansible-playbook, against a real API server."""

from __future__ import annotations

import os
import pathlib
import re
import stat
import subprocess
import sys

import pytest
import yaml
from _programs import find_program

ODD = {
    "bare": "",
    "full": '{"description":"Größe \U0001f600","labels":{"tier":"gold"},"manager":"kaas_mock","role":"kaas","unknown":[1,{"a":null}]}',
    "spaced": '{"role": "kaas",  "manager": "ansible"} ',
    "quoted": 'it\'s "so"',
    "template": "{{ 1 + 1 }}{% raw %}",
    "lines": "one\n\n  two \nthree\n",
    "separators": "a\u2028b\x85c\td\ufeff",
    "Old_Key.1": "x",
    "1e3": "1e3",
    "12": "12",
    "true": "yes",
    "null": "~",
    "2026-01-01": "0x10",
}


class Site:
    """The Observer's registry and an inventory for it."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder, self.namespace = cluster, folder, cluster.namespace()
        self.path = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.file = folder / "backup.yml"
        variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        variables |= {"observer_kubeconfig": cluster.kubeconfig, "observer_namespace": self.namespace}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"observer": {"hosts": {"observer": variables}}}))
        assert cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})[0] == 201

    def write(self, data):
        self.delete()
        assert self.cluster.request("POST", self.path, {"metadata": {"name": "kaas-clusters"}, "data": data})[0] == 201

    def delete(self):
        self.cluster.request("DELETE", f"{self.path}/kaas-clusters")

    def read(self):
        """None when there is no registry."""
        status, found = self.cluster.request("GET", f"{self.path}/kaas-clusters")
        return found.get("data", {}) if status == 200 else None

    def run(self, playbook, *flags, file="backup.yml"):
        flags = [*flags, *(["-e", f"kaas_registry_backup_file={file}"] if file else [])]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"}
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", f"scs.observer.{playbook}", *flags]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.folder, timeout=200, check=False)
        return done.returncode, done.stdout + done.stderr

    def backup(self, *flags, **options):
        return self.run("kaas_registry_backup", *flags, **options)

    def restore(self, *flags, **options):
        return self.run("kaas_registry_restore", *flags, **options)


@pytest.fixture(name="site")
def fixture_site(cluster, tmp_path):
    site = Site(cluster, tmp_path)
    yield site
    cluster.request("DELETE", f"/api/v1/namespaces/{site.namespace}")


def changed(output):
    return int(re.search(r"^observer +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)[1])


def test_backup_and_restore_of_a_deleted_registry(site):
    site.write(ODD)
    code, output = site.backup("--check", "--diff")
    assert (code, changed(output), site.file.exists()) == (0, 1, False), output
    code, output = site.backup()
    assert (code, changed(output)) == (0, 1), output
    assert f"13 clusters: {site.file}" in output
    assert stat.S_IMODE(site.file.stat().st_mode) == 0o600
    saved = yaml.safe_load(site.file.read_text())
    assert saved == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kaas-clusters", "namespace": site.namespace, "labels": {}}, "data": ODD}
    assert """\n  'quoted': 'it''s "so"'\n""" in site.file.read_text()
    code, output = site.backup()
    assert (code, changed(output)) == (0, 0), output

    site.delete()
    code, output = site.restore("--check", "--diff")
    assert (code, changed(output), site.read()) == (0, 1, None), output
    assert "Would be put back: 12, 1e3" in output
    assert '+  "manager": "kaas_mock"' in output
    code, output = site.restore()
    assert (code, changed(output)) == (0, 1), output
    assert site.read() == ODD
    code, output = site.restore()
    assert (code, changed(output)) == (0, 0), output


def test_kubectl_takes_the_backup(site):
    """Whose YAML is another one."""
    site.write(ODD)
    assert site.backup()[0] == 0
    site.delete()
    command = [find_program("kubectl"), "--kubeconfig", site.cluster.kubeconfig, "create", "-f", str(site.file)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert site.read() == ODD


def test_restore_leaves_alone_what_is_there(site):
    site.write({"a": '{"manager":"x","role":"kaas"}', "b": "", "c": ""})
    assert site.backup()[0] == 0
    site.write({"a": '{"role":"infrastructure"}', "c": "", "new": ""})
    code, output = site.restore()
    assert (code, changed(output)) == (0, 1), output
    assert "Put back: b. Overwritten: none. Left as they are: 2." in output
    assert site.read() == {"a": '{"role":"infrastructure"}', "b": "", "c": "", "new": ""}

    code, output = site.restore("-e", "kaas_registry_restore_overwrite=true", "--diff")
    assert (code, changed(output)) == (0, 1), output
    assert "Put back: none. Overwritten: a. Left as they are: 2." in output
    assert site.read() == {"a": '{"manager":"x","role":"kaas"}', "b": "", "c": "", "new": ""}
    assert changed(site.restore("-e", "kaas_registry_restore_overwrite=true")[1]) == 0


@pytest.mark.parametrize(("data", "reason"), [(None, "does not exist"), ({}, "holds no cluster")])
def test_empty_backup_is_not_written_over_a_full_one(site, data, reason):
    site.write({"a": ""})
    assert site.backup()[0] == 0
    before = site.file.read_text()
    site.delete() if data is None else site.write(data)
    code, output = site.backup()
    assert code != 0
    assert f"Registry {site.namespace}/kaas-clusters {reason}, so nothing was written to {site.file}" in " ".join(output.split())
    assert site.file.read_text() == before
    assert site.backup("-e", "kaas_registry_backup_allow_empty=true")[0] == 0
    assert yaml.safe_load(site.file.read_text())["data"] == {}
    code, output = site.restore()
    assert code != 0
    assert "The backup holds no cluster" in output
    assert site.read() == data


def test_default_file_lies_in_the_current_folder_and_is_dated(site):
    site.write({"a": ""})
    assert site.backup(file=None)[0] == 0
    (file,) = site.folder.glob("kaas-clusters-*.yml")
    assert re.fullmatch(r"kaas-clusters-\d{8}T\d{6}Z\.yml", file.name)
    assert yaml.safe_load(file.read_text())["data"] == {"a": ""}


@pytest.mark.parametrize(
    ("text", "file", "message"),
    [
        (None, None, "Give a file that kaas_registry_backup wrote: -e kaas_registry_backup_file=FILE"),
        (None, "backup.yml", "/backup.yml. Give a file that kaas_registry_backup wrote"),
        ("a: 1\n b: 2", "backup.yml", "The backup is no YAML (line 2: mapping values are not allowed here)"),
        ("{not json", "backup.yml", "The backup is no YAML"),
        ("apiVersion: v1\nkind: Secret\ndata: {x: y}", "backup.yml", "The backup is no ConfigMap"),
        ("apiVersion: v1\nkind: ConfigMap\ndata: {x: {role: kaas}}", "backup.yml", "The backup: the entry x is no text"),
    ],
    ids=["no file", "missing file", "no YAML", "no JSON", "Secret", "no text"],
)
def test_broken_backup_changes_nothing(site, text, file, message):
    site.write({"a": ""})
    if text is not None:
        site.file.write_text(text)
    code, output = site.restore(file=file)
    assert code != 0
    assert message in " ".join(output.split())
    assert output.count("fatal:") + output.count("[ERROR]") >= 1
    assert "Traceback" not in output
    assert site.read() == {"a": ""}
