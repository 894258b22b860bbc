"""What kolla-ansible's action of this name does: each source rendered with the host's variables, then merged; lists are extended."""

from __future__ import annotations

import os
import shutil
import tempfile

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
    return base


class ActionModule(ActionBase):
    TRANSFERS_FILES = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        merged = {}
        for path in self._task.args["sources"]:
            # Like kolla's, it opens the file itself: an overlay that is encrypted by ansible-vault is not decrypted.
            with open(path) as handle:
                text = handle.read()
            if text.startswith("$ANSIBLE_VAULT"):
                raise AnsibleError(f"merge_yaml reads {path} as it is, and it is encrypted")
            merge(merged, yaml.safe_load(self._templar.copy_with_new_env(searchpath=[os.path.dirname(path)], available_variables=task_vars).template(text, convert_data=False)) or {})
        folder = tempfile.mkdtemp()
        try:
            source = os.path.join(folder, "merged.yml")
            with open(source, "w") as handle:
                yaml.safe_dump(merged, handle, sort_keys=False)
            task = self._task.copy()
            task.args = {"src": source, "dest": self._task.args["dest"], "mode": self._task.args["mode"]}
            copy = self._shared_loader_obj.action_loader.get(
                "ansible.builtin.copy", task=task, connection=self._connection, play_context=self._play_context, loader=self._loader, templar=self._templar, shared_loader_obj=self._shared_loader_obj
            )
            result.update(copy.run(task_vars=task_vars))
        finally:
            shutil.rmtree(folder)
        return result
