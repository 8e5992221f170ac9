"""The doctor: decisions on recorded machines, and facts that are gathered whatever is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from alpaca_tui.backends import gpu_probe
from alpaca_tui.core.doctor import CHECKS, examine, verdict
from alpaca_tui.core.doctor_check import Check
from alpaca_tui.core.machine_facts import (
    OK,
    GpuFacts,
    GpuTrial,
    MachineFacts,
    SessionFacts,
    StorageFacts,
    TerminalFacts,
    TorchFacts,
)
from alpaca_tui.jobs import machine

GIB = 2**30
CU126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CU130 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
VOLTA_COMMAND = "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cu126"
NO_KERNEL = "AcceleratorError: CUDA error: no kernel image is available for execution on the device"

V100 = GpuFacts(0, "Tesla V100-SXM2-32GB", (7, 0), 32 * GIB)
A100 = GpuFacts(0, "NVIDIA A100-SXM4-40GB", (8, 0), 40 * GIB)
T4 = GpuFacts(0, "Tesla T4", (7, 5), 15 * GIB)
B200 = GpuFacts(0, "NVIDIA B200", (10, 0), 180 * GIB)


def numbered(*gpus: GpuFacts) -> tuple[GpuFacts, ...]:
    return tuple(replace(gpu, index=index) for index, gpu in enumerate(gpus))


def worked(gpus: tuple[GpuFacts, ...], answer: str = OK) -> tuple[GpuTrial, ...]:
    return tuple(GpuTrial(gpu.name, gpu.capability, answer, answer) for gpu in gpus)


FOUR_V100 = numbered(V100, V100, V100, V100)
FOUR_A100 = numbered(A100, A100, A100, A100)
SOUND_V100 = MachineFacts(
    driver="570.86.15",
    cards=4,
    gpus=FOUR_V100,
    torch=TorchFacts("2.13.0+cu126", "12.6", CU126, "2.27.5", worked(FOUR_V100), OK),
    ram_total=384 * GIB,
    ram_available=360 * GIB,
    shm_free=190 * GIB,
    storage=StorageFacts("/data/project", "ext4", 900 * 10**9, OK),
    terminal=TerminalFacts(True, "xterm-256color", "truecolor", "UTF-8"),
    session=SessionFacts(True, False, False),
    clock_synchronised=True,
)
V100_CU130 = replace(
    SOUND_V100,
    driver="580.65.06",
    torch=TorchFacts(
        "2.13.0+cu130", "13.0", CU130, "2.28.3", worked(FOUR_V100, NO_KERNEL), "RuntimeError: NCCL Error 1"
    ),
)
SOUND_A100 = replace(
    SOUND_V100,
    driver="580.65.06",
    gpus=FOUR_A100,
    torch=TorchFacts("2.13.0+cu130", "13.0", CU130, "2.28.3", worked(FOUR_A100), OK),
)
NO_GPU = replace(
    SOUND_V100, driver=None, cards=0, gpus=(), torch=TorchFacts("2.13.0+cpu"), ram_total=8 * GIB, shm_free=64 * 2**20
)
MIXED = numbered(V100, T4, V100)
MIXED_GPUS = replace(SOUND_V100, cards=3, gpus=MIXED, torch=replace(SOUND_V100.torch, gpus=worked(MIXED)))


def lines(facts: MachineFacts) -> dict[str, Check]:
    return {check.name: check for check in examine(facts)}


def levels(facts: MachineFacts, level: str) -> set[str]:
    return {check.name for check in examine(facts) if check.level == level}


def test_v100_with_the_cuda_126_build_is_sound() -> None:
    assert levels(SOUND_V100, "fail") | levels(SOUND_V100, "warn") == set()
    assert verdict(examine(SOUND_V100)) == "ok"
    assert "fp16" in lines(SOUND_V100)["precision"].what


def test_v100_with_the_cuda_13_build_names_the_exact_command() -> None:
    found = lines(V100_CU130)
    assert levels(V100_CU130, "fail") == {"torch", "arithmetic", "nccl"}
    assert found["torch"].do.endswith(VOLTA_COMMAND)
    assert found["arithmetic"].do.endswith(VOLTA_COMMAND)
    assert "sm_70" in found["torch"].what
    assert "no kernel image" in found["arithmetic"].what
    assert verdict(examine(V100_CU130)) == "fail"


def test_a_plain_pip_install_would_keep_the_wrong_build_so_it_is_removed_first() -> None:
    assert lines(V100_CU130)["torch"].do == f"pip uninstall -y torch && {VOLTA_COMMAND}"


def test_a100_computes_in_bf16() -> None:
    assert verdict(examine(SOUND_A100)) == "ok"
    assert lines(SOUND_A100)["precision"].what == "bf16"


def test_a_machine_without_a_gpu_warns_and_fails_nothing() -> None:
    assert levels(NO_GPU, "fail") == set()
    assert levels(NO_GPU, "warn") == {"gpus"}


def test_mixed_gpus_name_the_equal_ones() -> None:
    found = lines(MIXED_GPUS)
    assert levels(MIXED_GPUS, "warn") == {"gpus"}
    assert found["gpus"].do.endswith("CUDA_VISIBLE_DEVICES=0,2")
    assert "smallest memory" in found["gpus"].why


def test_gpus_on_both_sides_of_bf16_are_warned_of() -> None:
    both = numbered(V100, A100, A100)
    facts = replace(SOUND_V100, gpus=both, torch=replace(SOUND_V100.torch, gpus=worked(both)))
    assert levels(facts, "warn") == {"gpus", "precision"}
    assert lines(facts)["precision"].do.endswith("CUDA_VISIBLE_DEVICES=1,2")


def test_no_build_carries_volta_and_blackwell() -> None:
    both = numbered(V100, V100, B200)
    facts = replace(SOUND_V100, gpus=both, torch=replace(V100_CU130.torch, gpus=worked(both, NO_KERNEL)))
    check = lines(facts)["torch"]
    assert check.level == "fail"
    assert "both Volta and Blackwell" in check.why
    assert "CUDA_VISIBLE_DEVICES=0,1" in check.do


def test_a_cpu_build_beside_gpus_fails() -> None:
    for facts, command in ((SOUND_V100, VOLTA_COMMAND), (SOUND_A100, "pip install torch==2.13.0")):
        check = lines(replace(facts, torch=TorchFacts("2.13.0+cpu")))["torch"]
        assert check.level == "fail"
        assert check.do.endswith(command)


def test_a_missing_torch_is_installed_without_removing_it() -> None:
    facts = replace(SOUND_V100, torch=TorchFacts(died_in="starting the probe (exit code 1: No module named torch)"))
    assert lines(facts)["torch"].do == VOLTA_COMMAND
    broken = replace(SOUND_V100, torch=TorchFacts(error="ImportError: libcudart.so.12: cannot open shared object file"))
    assert "libcudart" in lines(broken)["torch"].what


def test_a_driver_that_is_too_old_for_the_build() -> None:
    facts = replace(SOUND_A100, driver="550.54.14", torch=TorchFacts("2.13.0+cu130", "13.0", CU130, "2.28.3"))
    found = lines(facts)
    assert {"driver", "arithmetic"} <= levels(facts, "fail")
    assert found["driver"].do == found["arithmetic"].do == f"pip uninstall -y torch && {VOLTA_COMMAND}"
    ancient = replace(facts, driver="470.82.01")
    assert "nvidia-driver-580" in lines(ancient)["driver"].do


def test_cards_without_a_driver() -> None:
    facts = replace(NO_GPU, cards=4)
    assert levels(facts, "fail") == {"driver"}
    assert "4 NVIDIA cards" in lines(facts)["driver"].what


def test_hidden_gpus_are_said_to_be_hidden() -> None:
    facts = replace(NO_GPU, driver="580.65.06", cards=4, hidden_gpus=4)
    assert lines(facts)["gpus"].do == "unset CUDA_VISIBLE_DEVICES"


def test_a_gpu_that_works_although_the_list_does_not_name_it_is_let_be() -> None:
    h100 = numbered(GpuFacts(0, "H100", (9, 0), 80 * GIB))
    facts = replace(
        SOUND_A100, gpus=h100, torch=TorchFacts("2.13.0", "13.0", ("sm_80", "compute_80"), "2", worked(h100))
    )
    assert lines(facts)["torch"].level == "ok"
    failing = replace(facts, torch=replace(facts.torch, gpus=worked(h100, NO_KERNEL)))
    assert lines(failing)["torch"].level == "fail"


def test_a_kernel_of_a_higher_minor_does_not_serve() -> None:
    a100 = numbered(A100)
    torch = TorchFacts("2.13.0", "13.0", ("sm_86", "sm_90a"), "2", worked(a100, NO_KERNEL))
    assert lines(replace(SOUND_A100, gpus=a100, torch=torch))["torch"].level == "fail"


def test_a_probe_that_died_says_where() -> None:
    hung = replace(SOUND_V100.torch, collective=None, died_in="the sum over all GPUs (NCCL) (it hung)")
    found = lines(replace(SOUND_V100, torch=hung))
    assert found["nccl"].level == "fail"
    assert "NCCL_P2P_DISABLE=1" in found["nccl"].do
    assert "it hung" in found["arithmetic"].what


def test_gpus_that_torch_does_not_see() -> None:
    torch = replace(SOUND_V100.torch, gpus=SOUND_V100.torch.gpus[:3])
    check = lines(replace(SOUND_V100, torch=torch))["arithmetic"]
    assert (check.level, check.what) == ("fail", "torch sees 3 of 4 GPUs")


def test_bitsandbytes_without_volta_kernels() -> None:
    torch = replace(SOUND_V100.torch, bitsandbytes="0.49.0", nf4=NO_KERNEL, cuda="13.0")
    check = lines(replace(SOUND_V100, torch=torch))["bitsandbytes"]
    assert check.level == "warn"
    assert check.do.endswith(VOLTA_COMMAND)
    assert lines(replace(SOUND_V100, torch=replace(torch, nf4=OK)))["bitsandbytes"].level == "ok"


def test_memory_in_use_by_others() -> None:
    gpus = (replace(V100, memory_used=20 * GIB), *FOUR_V100[1:])
    assert "GPU 0: 20.0 GiB" in lines(replace(SOUND_V100, gpus=gpus))["in use"].what


@pytest.mark.parametrize(
    ("change", "name", "level", "do"),
    [
        ({"ram_total": 32 * GIB}, "memory", "warn", "alpaca-tui plan"),
        ({"ram_total": 1 * GIB}, "memory", "fail", "micro-batch 1"),
        ({"shm_free": 64 * 2**20}, "/dev/shm", "fail", "--shm-size=8g"),
        ({"shm_free": None}, "/dev/shm", "warn", ""),
        ({"storage": StorageFacts("/p", "ext4", 10**8, OK)}, "disk", "fail", "--project"),
        ({"storage": StorageFacts("/p", "ext4", 30 * 10**9, OK)}, "disk", "warn", "--project"),
        ({"storage": StorageFacts("/home/me", "nfs4", 10**12, OK)}, "project", "warn", "local disk"),
        ({"storage": StorageFacts("/scratch", "lustre", 10**12, OK)}, "project", "warn", "local disk"),
        ({"storage": StorageFacts("/p", "cifs", 10**12, "SQLite: locking protocol")}, "project", "fail", "local"),
        ({"model": "the embedded model is not here yet"}, "model", "warn", "alpaca-tui models add smollm2-135m"),
        ({"terminal": TerminalFacts(True, "dumb", "", "UTF-8")}, "terminal", "warn", "export TERM=xterm-256color"),
        ({"terminal": TerminalFacts(True, "linux", "", "UTF-8")}, "terminal", "warn", "export TERM=xterm-256color"),
        ({"terminal": TerminalFacts(True, "xterm-256color", "", "")}, "characters", "warn", "export LANG=C.UTF-8"),
        (
            {"terminal": TerminalFacts(True, "tmux-256color", "", "UTF-8", True, "external")},
            "clipboard", "warn", "tmux set-option -g set-clipboard on",
        ),
        ({"session": SessionFacts(True, True, False)}, "logout", "warn", "loginctl enable-linger"),
        ({"session": SessionFacts(True, None, False)}, "logout", "warn", "loginctl enable-linger"),
        ({"clock_synchronised": False}, "clock", "warn", "timedatectl set-ntp true"),
        ({"clock_behind": 86_400.0}, "clock", "warn", "timedatectl set-ntp true"),
    ],
)  # fmt: skip
def test_each_weakness_of_the_host_is_named_alone(change: dict, name: str, level: str, do: str) -> None:
    facts = replace(SOUND_V100, **change)
    check = lines(facts)[name]
    assert check.level == level
    assert check.why
    assert do in check.do
    assert levels(facts, "fail") | levels(facts, "warn") == {name}


def test_lingering_outlives_logout_whatever_logind_does() -> None:
    assert lines(replace(SOUND_V100, session=SessionFacts(True, True, True)))["logout"].level == "ok"


def test_every_line_that_is_not_ok_says_why_and_names_are_unique() -> None:
    for facts in (SOUND_V100, V100_CU130, SOUND_A100, NO_GPU, MIXED_GPUS):
        found = examine(facts)
        assert len({check.name for check in found}) == len(CHECKS)
        assert all(check.what and (check.level == "ok" or (check.why and check.do)) for check in found)


# Gathering


def test_this_machine_is_described(tmp_path: Path) -> None:
    facts = machine.collect(tmp_path / "not" / "there")
    assert facts.torch.version is not None
    assert facts.torch.died_in is None
    assert facts.ram_total >= facts.ram_available > 0
    assert facts.storage.directory == str(tmp_path)
    assert facts.storage.sqlite == OK
    assert list(tmp_path.iterdir()) == []
    json.dumps(asdict(facts))


def test_an_empty_environment_crashes_nothing(tmp_path: Path) -> None:
    facts = machine.collect(tmp_path, environment={"PATH": "/nowhere"})
    assert facts.terminal.term == ""
    assert examine(facts)


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("raise ImportError('libcudart.so.12: cannot open shared object file')", "libcudart.so.12"),
        ("import os; os.abort()", "SIGABRT"),
        ("raise SystemExit(7)", "exit code 7"),
    ],
)
def test_a_broken_torch_is_an_answer(tmp_path: Path, source: str, where: str) -> None:
    (tmp_path / "torch.py").write_text(source, "utf-8")
    facts = machine.torch_facts(environment=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert facts.version is None
    assert where in (facts.error or facts.died_in or "")
    assert "importing torch" in (facts.died_in or "importing torch")


def test_a_torch_that_hangs_is_ended(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time; time.sleep(600)", "utf-8")
    facts = machine.torch_facts(environment=os.environ | {"PYTHONPATH": str(tmp_path)}, seconds=2.0)
    assert (facts.died_in or "").endswith("(it hung)")


def test_an_interpreter_that_is_not_there() -> None:
    assert "cannot be started" in (machine.torch_facts("/no/such/python").error or "")


def test_the_trials_run_for_real_on_the_cpu() -> None:
    import torch

    assert gpu_probe.tried(lambda: gpu_probe.matmul(torch, "cpu")) == OK
    assert gpu_probe.tried(lambda: gpu_probe.attention(torch, "cpu")) == OK
    assert gpu_probe.tried(lambda: gpu_probe.collective(torch, 2)) != OK  # no NCCL here, and it says so


def test_file_systems_are_found_by_the_longest_mount_point(tmp_path: Path) -> None:
    text = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"30 22 0:40 / {tmp_path.parent} rw shared:1 - nfs4 server:/home rw\n"
        f"31 30 0:41 / {tmp_path}/with\\040blank rw - fuse.sshfs host: rw\n"
        "garbage\n"
    )
    (tmp_path / "with blank").mkdir()
    assert machine.filesystem(tmp_path, text) == "nfs4"
    assert machine.filesystem(tmp_path / "with blank", text) == "fuse.sshfs"
    assert machine.filesystem(Path("/usr"), text) == "ext4"
    assert machine.filesystem(tmp_path, "") == ""


def test_sqlite_where_nothing_can_be_written() -> None:
    assert machine.sqlite_trial(Path("/proc")).startswith("cannot write there")


def test_logind_settings_and_their_drop_ins(tmp_path: Path) -> None:
    conf = tmp_path / "logind.conf"
    assert machine.kills_users(conf) is None
    conf.write_text("[Login]\n#KillUserProcesses=no\n", "utf-8")
    assert machine.kills_users(conf) is None
    (tmp_path / "logind.conf.d").mkdir()
    (tmp_path / "logind.conf.d" / "10-site.conf").write_text("[Login]\nKillUserProcesses=yes\n", "utf-8")
    assert machine.kills_users(conf) is True
    conf.write_text("no section\n", "utf-8")
    assert machine.kills_users(conf) is True


def test_nvidia_cards_are_counted_on_the_bus(tmp_path: Path) -> None:
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x10de", "0x040300"), ("c", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    (tmp_path / "d").mkdir()
    assert machine.cards(tmp_path) == 1


def test_the_doctor_itself_loads_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path; import alpaca_tui.jobs.machine, alpaca_tui.core.doctor, "
        "alpaca_tui.cli.machine, alpaca_tui.backends.gpu_probe; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
