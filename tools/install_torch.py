"""Install the torch build that works on this machine, unless one that fits is there already.

No NVIDIA GPU: the CPU build. Volta (compute capability 7.x): the CUDA 12.6 build, the only one of torch 2.11 to 2.14
that carries sm_70 kernels. Any other GPU: the default build. Uses only the standard library: it runs first.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

VERSION = "2.13.0"
INDEX = "https://download.pytorch.org/whl"


def capabilities() -> list[tuple[int, int]]:
    """The compute capability of each GPU that the driver shows; empty without a driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=compute_cap", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    found = []
    for line in answer.stdout.split():
        major, _, minor = line.partition(".")
        if answer.returncode == 0 and major.isdigit() and minor.isdigit():
            found.append((int(major), int(minor)))
    return found


def build_for(gpus: list[tuple[int, int]]) -> str:
    """'cpu', 'cu126' or 'default'."""
    if not gpus:
        return "cpu"
    return "cu126" if any(major == 7 and minor < 5 for major, minor in gpus) else "default"


def pip_arguments(build: str) -> list[list[str]]:
    """What to try, in order. ``--no-deps`` with a special index: torch's own needs come from the ordinary one."""
    plain = [f"torch=={VERSION}"]
    if build == "default":
        return [plain]
    special = ["--no-deps", "--retries", "0", "--index-url", f"{INDEX}/{build}", f"torch=={VERSION}"]
    # Without a way to the CPU index a mirror or a local wheel may still serve torch; on Volta anything but the
    # CUDA 12.6 build would be broken, so there is no second try.
    return [special, plain] if build == "cpu" else [special]


def main() -> int:
    gpus = capabilities()
    build = build_for(gpus)
    if importlib.util.find_spec("torch") is not None:
        probe = "import torch; print(torch.__version__.split('+')[0], torch.version.cuda)"
        version, _, cuda = subprocess.check_output([sys.executable, "-c", probe], text=True).strip().partition(" ")
        wanted = {"cpu": True, "cu126": cuda.startswith("12.6"), "default": cuda != "None"}[build]
        if version == VERSION and wanted:
            return 0
    shown = ", ".join(f"{major}.{minor}" for major, minor in gpus) or "none"
    print(f"installing torch {VERSION} ({build} build; GPUs by compute capability: {shown})", flush=True)
    for arguments in pip_arguments(build):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        if subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True).returncode == 0:
            return 0
    print(f"error: torch {VERSION} ({build} build) could not be installed; try it by hand:", file=sys.stderr)
    print("  " + " ".join([sys.executable, "-m", "pip", "install", *pip_arguments(build)[-1]]), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
