"""Lets Python and Ansible find this checkout as scs.observer, also where pytest is called without the Makefile."""

from __future__ import annotations

import os
import pathlib
import sysconfig
import typing as t

import pytest

TOP = pathlib.Path(__file__).parents[1]
TREE = TOP / ".cache" / "tree"

# tools/setup-python makes this link too; the plugin of pytest-ansible reads the variable after this file
(TREE / "ansible_collections" / "scs").mkdir(parents=True, exist_ok=True)
if not (TREE / "ansible_collections" / "scs" / "observer").exists():
    (TREE / "ansible_collections" / "scs" / "observer").symlink_to(TOP, target_is_directory=True)
os.environ["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join([str(TREE), sysconfig.get_path("purelib")])
os.environ["ANSIBLE_CONFIG"] = str(TOP / "ansible.cfg")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> t.Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything that tests need was made for them (make test), a skip hides something: it fails."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SCS_OBSERVER_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may be: {report.longrepr}"
    return report
