# /// script
# dependencies = ["nox>=2025.02.09", "antsibull-nox>=1.0"]
# ///
"""For a forge with Docker; its sessions stand in antsibull-nox.toml. On this machine "make test" does the work."""

import sys

try:
    import antsibull_nox
    import nox
except ImportError:
    print("pip install nox antsibull-nox")
    sys.exit(1)

antsibull_nox.load_antsibull_nox_toml()

if __name__ == "__main__":
    nox.main()
