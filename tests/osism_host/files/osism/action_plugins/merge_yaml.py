"""What kolla-ansible's action of this name does: each source rendered with the host's variables, then merged; lists are extended."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase


def merge(base, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        elif isinstance(value, list) and isinstance(base.get(key), list):
            base[key] = base[key] + value
        else:
            base[key] = value


class ActionModule(ActionBase):
    TRANSFERS_FILES = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        merged = {}
        for source in self._task.args["sources"]:
            # Like kolla's, it opens the file itself: an overlay that is encrypted by ansible-vault is not decrypted.
            text = Path(source).read_text()
            if text.startswith("$ANSIBLE_VAULT"):
                raise AnsibleError(f"merge_yaml reads {source} as it is, and it is encrypted")
            templar = self._templar.copy_with_new_env(searchpath=[str(Path(source).parent)], available_variables=task_vars)
            merge(merged, yaml.safe_load(templar.template(text, convert_data=False)) or {})
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as handle:
            yaml.safe_dump(merged, handle, sort_keys=False)
            handle.flush()
            task = self._task.copy()
            task.args = {"src": handle.name, "dest": self._task.args["dest"], "mode": self._task.args["mode"]}
            names = ("connection", "play_context", "loader", "templar", "shared_loader_obj")
            settings = {name: getattr(self, f"_{name}") for name in names}
            copy = self._shared_loader_obj.action_loader.get("ansible.builtin.copy", task=task, **settings)
            result.update(copy.run(task_vars=task_vars))
        return result
