"""What this machine has: GPUs as the driver reports them, cores, memory, disk. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pynvml

CPU_RECIPE = "cpu"
SINGLE_GPU_RECIPE = "single-gpu"
MULTI_GPU_RECIPE = "v100x4-lora"

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. ``index`` follows the PCI order; memory in bytes, utilisation in per cent, temperature in °C.

    What the driver doesn't report (some laptops, virtual GPUs) is None, or 0 bytes.
    """

    index: int
    uuid: str
    name: str
    memory_total: int
    memory_used: int
    utilisation: int | None
    temperature: int | None
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Host:
    """The machine as this process may use it; sizes in bytes."""

    cores: int
    ram_total: int
    ram_available: int
    disk_free: int


def gpus() -> list[Gpu]:
    """All GPUs that the NVIDIA driver reports; empty without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        found = [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return [gpu for gpu in found if gpu is not None]


def _gpu(index: int) -> Gpu | None:
    # A GPU that has fallen off the bus answers with an error; the others still count.
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    except pynvml.NVMLError:
        return None
    memory = _asked(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    rates = _asked(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    return Gpu(
        index=index,
        uuid=_asked(lambda: pynvml.nvmlDeviceGetUUID(handle)) or "",
        name=_asked(lambda: pynvml.nvmlDeviceGetName(handle)) or "unknown GPU",
        memory_total=int(memory.total) if memory else 0,
        memory_used=int(memory.used) if memory else 0,
        utilisation=int(rates.gpu) if rates else None,
        temperature=_asked(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
        capability=(int(major), int(minor)),
    )


def _asked(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except pynvml.NVMLError:
        return None


def visible_gpus(found: Sequence[Gpu] | None = None, environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs left by ``CUDA_VISIBLE_DEVICES``, in its order; as CUDA does, it is read up to the first unknown one."""
    found = gpus() if found is None else found
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return list(found)
    visible: list[Gpu] = []
    for entry in (e.strip() for e in chosen.split(",")):
        match = next((g for g in found if entry and (str(g.index) == entry or g.uuid.startswith(entry))), None)
        if match is None:
            break
        visible.append(match)
    return visible


def accelerate_recipe(found: Sequence[Gpu]) -> str:
    """The accelerate recipe for these GPUs."""
    if not found:
        return CPU_RECIPE
    return SINGLE_GPU_RECIPE if len(found) == 1 else MULTI_GPU_RECIPE


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host(project: Path | None = None) -> Host:
    """Cores and memory within the limits of the process's affinity and container, and the free disk at ``project``."""
    memory = psutil.virtual_memory()
    limit = _bytes_in(_CGROUP / "memory.max")
    used = _bytes_in(_CGROUP / "memory.current") or 0
    total, available = memory.total, memory.available
    if limit is not None and limit < total:
        total, available = limit, max(0, min(available, limit - used))
    return Host(cores(), total, available, psutil.disk_usage(str(project or Path.cwd())).free)


def cpu_use() -> int:
    """Per cent of all cores in use since the last call, in steps of 5; 0 at the first."""
    return round(psutil.cpu_percent(None) / 5) * 5


def _bytes_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return None
