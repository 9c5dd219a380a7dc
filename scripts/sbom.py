"""Writes dist/vidpipe-VERSION.cdx.json: the packages of a base installation of the wheel in dist/, as CycloneDX.

    python scripts/sbom.py [PYTHON]

The wheel is installed into a temporary environment with the versions of constraints.txt, so that neither the tools of
development nor pip are in it. PYTHON names the interpreter of an environment that has the wheel already.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from vidpipe import __version__

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


def main(arguments: list[str]) -> int:
    if arguments:
        return write(arguments[0])
    wheel = DIST / f"vidpipe-{__version__}-py3-none-any.whl"
    if not wheel.is_file():
        print(f"{wheel} is missing. Run make dist.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, symlinks=True)
        python = str(Path(folder) / "bin" / "python")
        install = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "-q",
            "-c",
            str(ROOT / "constraints.txt"),
        ]
        subprocess.run([*install, str(wheel)], check=True)
        return write(python)


def write(python: str) -> int:
    DIST.mkdir(exist_ok=True)
    output = DIST / f"vidpipe-{__version__}.cdx.json"
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--output-reproducible", "--validate", "--output-file", str(output), python]
    if failed := subprocess.run(command, check=False).returncode:
        return failed
    bill = json.loads(output.read_text(encoding="utf-8"))
    bill["metadata"]["component"] |= {
        "version": __version__,
        "purl": f"pkg:pypi/vidpipe@{__version__}",
    }  # dynamic version
    output.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{output.relative_to(ROOT)} written: {len(bill['components'])} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
