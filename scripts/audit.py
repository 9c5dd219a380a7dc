"""Checks constraints.txt, the versions of all extras, against PyPI's database of known vulnerabilities.

    python scripts/audit.py

Exits with status 1 for a vulnerability that is not in IGNORED, and also if a package could not be checked: an
unreachable database is no clean result.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Id of an advisory -> why it does not concern vidpipe, and until when that holds. Remove it with the version.
IGNORED: dict[str, str] = {}


def main() -> int:
    for identifier, reason in IGNORED.items():
        print(f"audit: {identifier} is ignored: {reason}", flush=True)
    command = [sys.executable, "-m", "pip_audit", "--strict", "--progress-spinner", "off"]
    command += ["--requirement", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip"]
    command += [word for identifier in IGNORED for word in ("--ignore-vuln", identifier)]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
