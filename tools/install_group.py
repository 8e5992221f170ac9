"""Install a dependency group of pyproject.toml; any pip will do (``pip install --group`` needs 25.1)."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    manifest = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    sys.exit(subprocess.run([*command, *manifest["dependency-groups"][sys.argv[1]]], check=False).returncode)
