"""Lets Python and Ansible find this checkout as scs.observer, also where pytest is called without the Makefile."""

from __future__ import annotations

import os
import pathlib
import sysconfig

TOP = pathlib.Path(__file__).parents[1]
TREE = TOP / ".cache" / "tree"

# tools/setup-python makes this link too; the plugin of pytest-ansible reads the variable after this file
(TREE / "ansible_collections" / "scs").mkdir(parents=True, exist_ok=True)
if not (TREE / "ansible_collections" / "scs" / "observer").exists():
    (TREE / "ansible_collections" / "scs" / "observer").symlink_to(TOP, target_is_directory=True)
os.environ["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join([str(TREE), sysconfig.get_path("purelib")])
os.environ["ANSIBLE_CONFIG"] = str(TOP / "ansible.cfg")
