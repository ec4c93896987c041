"""What the launcher's environment variables do here: Accelerate reads them by itself, whatever was asked for.

The table is that of accelerate 1.15: every variable that its Accelerator or its state reads. One that is not in it is
left alone. Nothing here imports torch.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from alexnet_skip.system.commands import command_line
from alexnet_skip.system.errors import UserError

# As accelerate.utils.str_to_bool reads them; a variable that is set to nothing is as good as not set.
ON = frozenset(("1", "true", "t", "yes", "y", "on"))
OFF = frozenset(("", "0", "false", "f", "no", "n", "off"))

PRECISION = "ACCELERATE_MIXED_PRECISION"


@dataclass(frozen=True)
class Rule:
    """What is done about variables.

    Attributes:
        names: of variables; one that ends in ``*`` stands for all that begin so.
        treatment: ``refused`` is refused unless it has an allowed value; ``honoured`` is too, since Accelerate can't
            read others; ``pinned`` has no effect, whatever it says.
        allowed: values in lower case; any if empty.
        reason: why, and what to do instead.
        least: the smallest whole number that is allowed, where it must be one.
    """

    names: tuple[str, ...]
    treatment: Literal["honoured", "pinned", "refused"]
    allowed: frozenset[str]
    reason: str
    least: int | None = None

    def allows(self, value: str) -> bool:
        """Whether a variable may have a value."""
        value = value.strip().lower()
        if self.least is not None:
            return value.isascii() and value.isdigit() and int(value) >= self.least
        return not self.allowed or value in self.allowed

    def told_allowed(self) -> str:
        """The allowed values in words, the telling ones only."""
        if self.least is not None:
            return f"a whole number from {self.least}"
        if not self.allowed:
            return "any value"
        if self.allowed >= ON | OFF:
            return "true or false"
        return "false" if self.allowed == OFF else " or ".join(sorted(value for value in self.allowed if value))


# A rank is below the number that it counts to.
RANKS = (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
_PROCESSES = "which process this is, and of how many; `accelerate launch` and `torchrun` set it"

RULES = (
    Rule((PRECISION,), "honoured", frozenset(("", "no", "bf16", "fp16")),
         "`--mixed-precision auto` takes it where the device can; the launcher's `no` is its default and no wish; "
         "evaluation and embedding are fp32 always"),
    Rule(("ACCELERATE_USE_CPU",), "honoured", ON | OFF, "the CPU is used although there is a GPU"),
    Rule(("ACCELERATE_DEBUG_MODE",), "honoured", ON | OFF, "every exchange between processes is checked: slower"),
    Rule(("ACCELERATE_CPU_AFFINITY",), "honoured", ON | OFF, "each process keeps to the processors near its GPU"),
    Rule(("FORK_LAUNCHED",), "honoured", ON | OFF, "set by notebook launchers"),
    Rule(("RANK", "LOCAL_RANK"), "honoured", frozenset(), _PROCESSES, least=0),
    Rule(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "honoured", frozenset(), _PROCESSES, least=1),
    Rule(("ACCELERATE_GRADIENT_ACCUMULATION_STEPS",), "refused", frozenset(("", "1")),
         "an optimizer step is one batch of --batch-size images; give a larger --batch-size"),
    Rule(("ACCELERATE_DYNAMO_BACKEND",), "refused", frozenset(("", "no")),
         "the model is not compiled; leave --dynamo_backend out"),
    Rule(("ACCELERATE_USE_FSDP",), "refused", OFF, "the head fits every device; use --multi_gpu"),
    Rule(("ACCELERATE_USE_DEEPSPEED",), "refused", OFF, "the head fits every device; use --multi_gpu"),
    Rule(("ACCELERATE_USE_MEGATRON_LM",), "refused", OFF, "the head fits every device; use --multi_gpu"),
    Rule(("ACCELERATE_USE_PARALLELISM_CONFIG",), "refused", OFF,
         "tensors and sequences are not split over devices; use --multi_gpu"),
    Rule(("ACCELERATE_USE_SAGEMAKER",), "refused", OFF, "its collectives are not supported; use torchrun there"),
    Rule(("ACCELERATE_TORCH_DEVICE",), "refused", frozenset(("",)),
         "choose a GPU with --gpu_ids or CUDA_VISIBLE_DEVICES, the CPU with ACCELERATE_USE_CPU=1"),
    Rule(("ACCELERATE_DYNAMO_*", "FSDP_*", "ACCELERATE_DEEPSPEED_*", "MEGATRON_LM_*", "PARALLELISM_CONFIG_*",
          "ACCELERATE_FP8_*", "ACCELERATE_ALLOW_CP_STANDALONE", "ACCELERATE_CONFIG_DS_FIELDS",
          "ACCELERATE_GRADIENT_CLIPPING", "ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE"), "pinned", frozenset(),
         "details of what is refused above: without it they have no effect"),
    Rule(("ACCELERATE_DOWNCAST_BF16", "ACCELERATE_BYPASS_DEVICE_MAP"), "pinned", frozenset(),
         "for TPUs and for models spread over devices, neither of which there is here"),
)  # fmt: skip


def check_environment(environment: Mapping[str, str] | None = None) -> None:
    """Refuse what the launcher asks for and these scripts can't do.

    Args:
        environment: this process's own if None.

    Raises:
        UserError: naming the variable, its value, what is allowed and what to do.
    """
    found = os.environ if environment is None else environment
    for rule in RULES:
        # The precision is looked at where it is wanted: an explicit --mixed-precision overrules any.
        for name in rule.names if rule.names != (PRECISION,) else ():
            if name in found and not rule.allows(found[name]):
                raise _refusal(name, found[name], rule.told_allowed(), rule.reason)
    for rank, count in RANKS:
        if rank in found and count in found and int(found[rank]) >= int(found[count]):
            raise _refusal(rank, found[rank], f"below {count} ({found[count]})", _PROCESSES)


def _refusal(name: str, value: str, allowed: str, reason: str) -> UserError:
    return UserError(
        f"{name} is {value or 'empty'} in the environment (`accelerate launch` and its config file set such "
        f"variables), but must be {allowed} or unset: {reason}"
    )


def wanted_precision(environment: Mapping[str, str] | None = None) -> Literal["bf16", "fp16"] | None:
    """The launcher's wish for a precision, or None; its ``no`` is what it sets when nothing was asked for.

    Raises:
        UserError: for a precision that there is not here.
    """
    value = (os.environ if environment is None else environment).get(PRECISION, "").strip().lower()
    if value not in RULES[0].allowed:
        raise UserError(
            f"{PRECISION} is {value} (the launcher's --mixed_precision), but must be no, bf16 or fp16; give the "
            "launcher one of them, or decide with the script's own --mixed-precision"
        )
    return cast(Literal["bf16", "fp16"], value) if value in ("bf16", "fp16") else None


def lone_process(environment: Mapping[str, str] | None = None) -> str:
    """What to say where one process was started although the launcher was asked for several; empty elsewhere.

    ``accelerate launch`` starts several on GPUs only: on CPUs (``MULTI_CPU``, ``--num_processes``) it names the place
    where they were to meet, and starts one. To be asked by a process that Accelerate takes for the only one.
    """
    found = os.environ if environment is None else environment
    if not found.get("MASTER_ADDR") or found.get("WORLD_SIZE"):
        return ""
    return (
        "Several processes were asked for, and this one was started alone: on CPUs `accelerate launch` starts no more. "
        "It goes on, with all processors; several are started, with ACCELERATE_USE_CPU=1 in the environment, by"
        f"{command_line('torchrun', '--standalone', '--nproc_per_node', 2, 'train.py')}"
    )


def as_table() -> str:
    """The rules as the table in docs/running.md."""
    rows = ["| Variable | Here | Allowed | Why, and what to do |", "|---|---|---|---|"]
    for rule in RULES:
        names = ", ".join(f"`{name}`" for name in rule.names)
        rows.append(f"| {names} | {rule.treatment} | {rule.told_allowed()} | {rule.reason} |")
    return "\n".join(rows)
