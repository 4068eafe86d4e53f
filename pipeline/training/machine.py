"""What the machine has: its GPUs, its cores, and the other processes that train with this one under torchrun."""

import os
from typing import Any

import torch
from torch import distributed

from deploy.command import console

MAX_WORKERS = 8


def processes() -> int:
    """How many train together; 1 unless started by torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1))


def process() -> int:
    """Which of them this one is; 0 does all writing and talking."""
    return int(os.environ.get("RANK", 0))


def first_process_talks() -> None:
    """Let the others print nothing."""
    console.quiet = process() > 0


def join_processes() -> None:
    """Meet the other processes, if there are any; Lightning goes on with what is there."""
    if processes() > 1 and not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def told_by_first(value: str) -> str:
    """The first process's value, in all of them."""
    if processes() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def device() -> torch.device:
    """Where this process computes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def loader_workers() -> int:
    """Workers pay when a GPU does the arithmetic; on a CPU they would take the cores that train."""
    if not torch.cuda.is_available():
        return 0
    return max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


def trainer_options() -> dict[str, Any]:
    """Options of Lightning's Trainer: half precision where a GPU has it, all processes of torchrun, else one device."""
    options: dict[str, Any] = {"accelerator": "cpu", "precision": "32-true", "devices": 1}
    if torch.cuda.is_available():
        options |= {"accelerator": "gpu", "precision": "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"}
    if processes() > 1:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        # A phase leaves frozen layers without gradients, which DDP must not wait for.
        options |= {"devices": local, "num_nodes": processes() // local, "strategy": "ddp_find_unused_parameters_true"}
    return options
