"""What the doctor says of GPUs and of the torch build for them.

torch 2.11 to 2.14 carry Volta (sm_70) only in their CUDA 12.6 builds, which in turn end at Hopper (sm_90); the default
builds are CUDA 13 and begin at Turing (sm_75). A build serves a GPU when it has kernels of the same major and at most
the same minor compute capability; a trial on the GPU itself has the last word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from alpaca_tui.core.doctor_check import Check
from alpaca_tui.core.machine_facts import OK, GpuFacts, GpuTrial, MachineFacts

TORCH = "2.13.0"
DEFAULT_BUILD = f"pip install torch=={TORCH}"
CUDA_126_BUILD = f"pip install torch=={TORCH} --index-url https://download.pytorch.org/whl/cu126"
REMOVE_FIRST = "pip uninstall -y torch && "
"""The version alone does not tell the builds apart, so pip would leave the wrong one in place."""

TURING, AMPERE, BLACKWELL = (7, 5), (8, 0), (10, 0)
_OLDEST = (5, 0)  # of the CUDA 12.6 build
_DRIVER_FOR_CUDA = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
"""The least driver by CUDA's major version: NVIDIA's table of minor version compatibility."""
GIB = 2**30
_BUSY = 1 * GIB


def driver(facts: MachineFacts) -> Check:
    """The NVIDIA driver, and whether it is new enough for torch's CUDA."""
    if facts.driver is None:
        if facts.cards == 0:
            return Check("driver", "ok", "no NVIDIA card, so no driver")
        return Check(
            "driver",
            "fail",
            f"{facts.cards} NVIDIA cards, but the driver does not answer",
            "without it they cannot be used (in a container: docker run --gpus all …)",
            "sudo apt-get install nvidia-driver-580-server && sudo reboot (then nvidia-smi must list them)",
        )
    needed = _driver_needed(facts)
    if needed is not None and _version(facts.driver) < needed:
        return Check(
            "driver",
            "fail",
            f"{facts.driver}, torch {facts.torch.version} was built for CUDA {facts.torch.cuda}",
            f"CUDA {facts.torch.cuda} needs a driver from {needed[0]}.{needed[1]} on",
            REMOVE_FIRST + CUDA_126_BUILD
            if _version(facts.driver) >= _DRIVER_FOR_CUDA[12]
            else f"sudo apt-get install nvidia-driver-{needed[0]}-server && sudo reboot",
        )
    return Check("driver", "ok", facts.driver)


def _driver_needed(facts: MachineFacts) -> tuple[int, int] | None:
    if facts.torch.cuda is None:
        return None
    return _DRIVER_FOR_CUDA.get(_version(facts.torch.cuda)[0])


def _version(text: str) -> tuple[int, ...]:
    digits = [part for part in text.split(".") if part.isdigit()]
    return tuple(int(part) for part in digits[:2]) or (0,)


def gpus(facts: MachineFacts) -> Check:
    """Which GPUs there are, and whether they are alike: the smallest and slowest sets the pace."""
    found = facts.gpus
    if not found:
        if facts.hidden_gpus:
            return Check(
                "gpus", "warn", f"{facts.hidden_gpus} GPUs, all hidden by CUDA_VISIBLE_DEVICES",
                "everything runs on the CPU", "unset CUDA_VISIBLE_DEVICES",
            )  # fmt: skip
        return Check(
            "gpus",
            "warn",
            "none; everything runs on the CPU",
            "that is enough for the embedded model, not for LLaMA-7B",
            "alpaca-tui plan --model llama-7b",
        )
    kinds = Counter((gpu.name, round(gpu.memory_total / GIB), gpu.capability) for gpu in found)
    what = ", ".join(f"{count} × {name} {memory} GiB ({_dotted(cc)})" for (name, memory, cc), count in kinds.items())
    if facts.hidden_gpus:
        what += f"; {facts.hidden_gpus} hidden by CUDA_VISIBLE_DEVICES"
    if len(kinds) == 1:
        return Check("gpus", "ok", what)
    return Check(
        "gpus",
        "warn",
        what,
        "they differ: each gets the same share, so the smallest memory and the slowest GPU set the limits",
        f"to use equal ones only: export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={_equal_ones(found)}",
    )


def _dotted(capability: tuple[int, int]) -> str:
    return f"sm_{capability[0]}{capability[1]}"


def _equal_ones(found: Sequence[GpuFacts]) -> str:
    """The largest group of equal GPUs; of equally large groups the one with more memory."""
    groups: dict[tuple[str, int], list[GpuFacts]] = {}
    for gpu in found:
        groups.setdefault((gpu.name, round(gpu.memory_total / GIB)), []).append(gpu)
    best = max(groups.items(), key=lambda item: (len(item[1]), item[0][1]))[1]
    return ",".join(str(gpu.index) for gpu in best)


def busy(facts: MachineFacts) -> Check:
    """Memory that other processes hold already."""
    taken = [gpu for gpu in facts.gpus if gpu.memory_used > _BUSY]
    if not taken:
        return Check("in use", "ok", "no GPU memory is taken" if facts.gpus else "no GPU")
    return Check(
        "in use",
        "warn",
        ", ".join(f"GPU {gpu.index}: {gpu.memory_used / GIB:.1f} GiB" for gpu in taken),
        "a plan counts on all of the memory",
        "nvidia-smi shows whose processes they are",
    )


def torch_build(facts: MachineFacts) -> Check:
    """Whether the installed torch carries kernels for every GPU."""
    torch = facts.torch
    if torch.error is not None or torch.version is None:
        return Check(
            "torch",
            "fail",
            torch.error or f"torch does not answer ({torch.died_in or 'no reason given'})",
            "nothing can be generated or trained without it",
            _install(facts)[1],
        )
    built = f"torch {torch.version}, " + (f"CUDA {torch.cuda}" if torch.cuda else "CPU only")
    if not facts.gpus:
        return Check("torch", "ok", built)
    if torch.cuda is None:
        why, do = _install(facts)
        return Check("torch", "fail", built, f"there are GPUs, and this build cannot use them; {why}", do)
    lacking = sorted({gpu.capability for gpu in facts.gpus if not _served(gpu.capability, torch.architectures)})
    # An empty list is no evidence, and a GPU may run what a newer compiler translates for it: the trial decides.
    if not lacking or not torch.architectures or _all_worked(torch.gpus, len(facts.gpus)):
        return Check("torch", "ok", f"{built}, kernels for {' '.join(torch.architectures) or 'these GPUs'}")
    why, do = _install(facts)
    named = ", ".join(_dotted(capability) for capability in lacking)
    return Check("torch", "fail", f"{built}, without kernels for {named}", why, do)


def _served(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    for name in architectures:
        digits = name.removeprefix("sm_").rstrip("af")
        if name.startswith("sm_") and len(digits) >= 2 and digits.isdigit():
            major, minor = int(digits[:-1]), int(digits[-1])
            if major == capability[0] and minor <= capability[1]:
                return True
    return False


def _all_worked(trials: Sequence[GpuTrial], count: int) -> bool:
    return len(trials) == count and all(trial.matmul == OK and trial.attention == OK for trial in trials)


def _install(facts: MachineFacts) -> tuple[str, str]:
    """Why which build, and the command for it."""
    capabilities = [gpu.capability for gpu in facts.gpus]
    remove = "" if facts.torch.version is None and facts.torch.error is None else REMOVE_FIRST
    if any(capability < TURING for capability in capabilities):
        if any(capability >= BLACKWELL for capability in capabilities):
            equal = _equal_ones(facts.gpus)
            return (
                "no build carries both Volta and Blackwell",
                f"export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={equal}, then alpaca-tui doctor",
            )
        if any(capability < _OLDEST for capability in capabilities):
            return "GPUs before Maxwell have no build any more", "use other GPUs: export CUDA_VISIBLE_DEVICES=…"
        return "of torch 2.13 only the CUDA 12.6 build carries GPUs before Turing (sm_75)", remove + CUDA_126_BUILD
    too_old = facts.driver is not None and _version(facts.driver) < _DRIVER_FOR_CUDA[13]
    if capabilities and too_old and not any(capability >= BLACKWELL for capability in capabilities):
        return f"driver {facts.driver} is too old for the default CUDA 13 build", remove + CUDA_126_BUILD
    return "the default build serves it", remove + DEFAULT_BUILD


def arithmetic(facts: MachineFacts) -> Check:
    """What really happened on each GPU: an fp16 matrix product, attention forward and backward."""
    torch = facts.torch
    if not facts.gpus or torch.version is None or torch.cuda is None:
        return Check("arithmetic", "ok", "no GPU to try" if not facts.gpus else "not tried: torch cannot use the GPUs")
    faults = []
    for index, trial in enumerate(torch.gpus):
        for name, answer in (("matrix product", trial.matmul), ("attention", trial.attention)):
            if answer not in (OK, None):
                faults.append(f"GPU {index}: {name}: {answer}")
    if torch.died_in is not None:
        faults.append(f"the process ended in {torch.died_in}")
    elif not torch.gpus:
        faults.append("torch sees no GPU")
    elif len(torch.gpus) < len(facts.gpus):
        faults.append(f"torch sees {len(torch.gpus)} of {len(facts.gpus)} GPUs")
    if not faults:
        return Check("arithmetic", "ok", f"fp16 product and attention backward are right on {len(torch.gpus)} GPUs")
    wrong_build = torch_build(facts)
    if wrong_build.level == "fail":
        do = wrong_build.do
    elif driver(facts).level == "fail":
        do = driver(facts).do
    else:
        do = "sudo dmesg | grep -i -E 'nvrm|xid' shows what the driver saw; then sudo reboot"
    return Check("arithmetic", "fail", "; ".join(faults), "training would fail in the same way", do)


def precision(facts: MachineFacts) -> Check:
    """fp16 or bf16: below compute capability 8.0 bf16 is only emulated, whatever torch reports as supported."""
    if not facts.gpus:
        return Check("precision", "ok", "the CPU's: bf16 where it multiplies it, else fp32")
    native = [gpu.capability >= AMPERE for gpu in facts.gpus]
    if all(native):
        return Check("precision", "ok", "bf16")
    if not any(native):
        return Check("precision", "ok", "fp16 with loss scaling; bf16 is only emulated below sm_80")
    return Check(
        "precision",
        "warn",
        "some GPUs multiply bf16, some do not",
        "every rank must compute in the same type",
        f"export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={_equal_ones(facts.gpus)}",
    )


def nccl(facts: MachineFacts) -> Check:
    """The collectives between several GPUs."""
    torch = facts.torch
    if len(facts.gpus) < 2:
        return Check("nccl", "ok", "not needed with fewer than two GPUs")
    if torch.version is None or torch.cuda is None:
        return Check("nccl", "ok", "not tried: torch cannot use the GPUs")
    if torch.nccl is None:
        return Check("nccl", "fail", "this torch has no NCCL", "ranks could not share gradients", _install(facts)[1])
    if torch.collective == OK:
        return Check("nccl", "ok", f"{torch.nccl}; a sum over all GPUs is right")
    hung = torch.died_in is not None and "NCCL" in torch.died_in
    if torch.collective is None and not hung:
        return Check("nccl", "ok", f"{torch.nccl}; not tried, see arithmetic")
    return Check(
        "nccl",
        "fail",
        f"{torch.nccl}: {torch.collective or 'the sum over all GPUs did not come back'}",
        "ranks could not share gradients",
        "try once with NCCL_P2P_DISABLE=1 alpaca-tui doctor; if it helps, export it",
    )


def bitsandbytes(facts: MachineFacts) -> Check:
    """4-bit weights for QLoRA; optional. Its builds for CUDA 13 leave Volta out."""
    torch = facts.torch
    if torch.bitsandbytes is None:
        return Check("bitsandbytes", "ok", "not installed; only QLoRA needs it: pip install bitsandbytes")
    name = f"bitsandbytes {torch.bitsandbytes}"
    if torch.nf4 == OK:
        return Check("bitsandbytes", "ok", f"{name}; NF4 there and back is right")
    volta = any(gpu.capability < TURING for gpu in facts.gpus)
    died = torch.died_in is not None and "bitsandbytes" in torch.died_in
    if torch.nf4 is None and not died:
        return Check("bitsandbytes", "ok", f"{name}; not tried")
    return Check(
        "bitsandbytes",
        "warn",
        f"{name}: {torch.nf4 or 'the process ended in it'}",
        "QLoRA will not work; LoRA and full tuning do not need it",
        REMOVE_FIRST + CUDA_126_BUILD if volta and _version(torch.cuda or "0") >= (13,) else
        "pip install --upgrade bitsandbytes",
    )  # fmt: skip
