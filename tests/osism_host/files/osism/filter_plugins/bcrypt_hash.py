"""kolla-ansible's filter of this name, by the machine's libxcrypt."""

from __future__ import annotations

import crypt


class FilterModule:
    def filters(self):
        return {"bcrypt_hash": lambda password, salt: crypt.crypt(password, f"$2b$12${salt}")}
