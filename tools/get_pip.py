"""Stands in for the get-pip.py that ansible-test fetches from a host of its own: pip from ensurepip, then the asked version from the usual index."""

from __future__ import annotations

import subprocess
import sys

wanted = [arg for arg in sys.argv[1:] if arg not in ("--no-setuptools", "--no-wheel")]
# ensurepip in a process of its own: it points PIP_CONFIG_FILE at /dev/null for whatever follows.
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *wanted]))
