"""The launcher's environment is input like any other: honoured, without effect, or refused by name."""

import os
import re
from pathlib import Path

import accelerate
import pytest
import torch
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DynamoBackend
from accelerate.utils.launch import prepare_simple_launcher_cmd_env

import embed
import evaluate
import train
from alexnet_skip.devices import environment, launch
from alexnet_skip.devices.environment import RULES, check_environment, lone_process, wanted_precision
from alexnet_skip.devices.precision import Device, choose_precision
from alexnet_skip.system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

CPU = Device("cpu", "CPU", False)
T4 = Device("cuda", "Tesla T4", False)
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", True)

REFUSED = [
    *[("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", value) for value in ("4", "0", "-1", "auto", "1.5")],
    *[("ACCELERATE_DYNAMO_BACKEND", backend.value) for backend in DynamoBackend if backend.value != "NO"],
    ("ACCELERATE_DYNAMO_BACKEND", "inductor"), ("ACCELERATE_DYNAMO_BACKEND", "nonsense"),
    *[(f"ACCELERATE_USE_{what}", value) for value in ("true", "1", "True", "maybe")
      for what in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG", "SAGEMAKER")],
    ("ACCELERATE_TORCH_DEVICE", "meta"), ("ACCELERATE_TORCH_DEVICE", "cuda:1"),
    *[(name, value) for value in ("one", "1.5", "-1", "", "²")
      for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")],
    ("WORLD_SIZE", "0"), ("LOCAL_WORLD_SIZE", "0"),
    *[(name, "perhaps") for name in ("ACCELERATE_USE_CPU", "ACCELERATE_DEBUG_MODE", "ACCELERATE_CPU_AFFINITY")],
]  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_", "FSDP_", "MEGATRON_LM_"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_the_scripts_cannot_do_is_refused_by_name_with_its_value_and_a_way_out(name, value):
    with pytest.raises(
        UserError, match=rf"^{name} is {re.escape(value) or 'empty'} in the environment .*, but must be .+: .+"
    ):
        check_environment({name: value})


@pytest.mark.parametrize(("rank", "count"), [("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")])
def test_a_rank_that_does_not_exist_is_refused_instead_of_waited_for(rank, count):
    check_environment({rank: "1", count: "2"})
    with pytest.raises(UserError, match=rf"^{rank} is 2 in the environment .* must be below {count} \(2\) or unset"):
        check_environment({rank: "2", count: "2"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ACCELERATE_USE_FSDP", "true"), ("LOCAL_RANK", "first"), ("WORLD_SIZE", "two"), ("RANK", "x")],
)
@pytest.mark.parametrize("script", [train, evaluate, embed], ids=lambda s: s.__name__)
def test_every_script_refuses_it_before_it_looks_for_images_or_runs(
    script, variable, value, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    arguments = ["--dataset", "nowhere"] if script is train else ["--run", "nowhere"]
    assert script.main(arguments) == 2
    told = capsys.readouterr()
    assert f"{variable} is {value}" in told.err
    assert "nowhere" not in told.err
    assert "Traceback" not in told.err
    assert not list(tmp_path.iterdir())


def test_what_the_launcher_sets_by_default_and_what_nobody_knows_is_left_alone():
    check_environment(
        {
            "ACCELERATE_USE_CPU": "True", "ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO",
            "ACCELERATE_DYNAMO_MODE": "default", "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1", "ACCELERATE_USE_FSDP": "false", "FSDP_VERSION": "2",
            "ACCELERATE_SOMETHING_NEW": "4", "ACCELERATE_DEBUG_MODE": "", "OMP_NUM_THREADS": "3",
        }
    )  # fmt: skip


def test_every_variable_that_accelerate_reads_when_it_starts_has_a_rule():
    folder = Path(accelerate.__file__).parent
    text = "".join((folder / name).read_text() for name in ("accelerator.py", "state.py", "utils/dataclasses.py"))
    read = set(re.findall(r"(?:environ\.get|_from_env)\(\s*\"((?:ACCELERATE|FSDP|FORK)_\w+)\"", text))
    assert len(read) > 20
    names = [name for rule in RULES for name in rule.names]
    known = {n for n in read for name in names if n == name or (name.endswith("*") and n.startswith(name[:-1]))}
    assert read - known == set()


def test_the_page_holds_the_table_of_the_code():
    assert environment.as_table() in (ROOT / "docs/running.md").read_text(encoding="utf-8")


def test_details_of_what_is_refused_reach_nothing_even_if_they_make_no_sense(monkeypatch):
    for name in ("USE_FULLGRAPH", "USE_DYNAMIC", "USE_REGIONAL_COMPILATION", "MODE"):
        monkeypatch.setenv(f"ACCELERATE_DYNAMO_{name}", "nonsense")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "")
    accelerator, _ = launch.start("no")
    assert accelerator.gradient_accumulation_steps == 1
    assert accelerator.state.dynamo_plugin.backend == DynamoBackend.NO


def test_what_accelerate_itself_refuses_is_the_users_to_mend(monkeypatch):
    def refuse(**_):
        raise ImportError("CPU affinity needs a package\nthat is not there")

    monkeypatch.setattr(launch, "Accelerator", refuse)
    monkeypatch.setenv("ACCELERATE_CPU_AFFINITY", "1")
    with pytest.raises(UserError, match=r"does not start \(CPU affinity needs a package\).*ACCELERATE_CPU_AFFINITY"):
        launch.start("no")


def passes(_) -> None:
    return None


def fails(_) -> str:
    return "the output holds NaN"


@pytest.mark.parametrize(
    ("wish", "device", "self_test", "taken", "told"),
    [
        ("bf16", CPU, passes, "bf16", "the launcher asked for it"),
        ("bf16", H100, passes, "bf16", "the launcher asked for it"),
        ("bf16", T4, passes, "bf16", "the launcher asked for it; Tesla T4 only emulates it, which is slow"),
        ("fp16", H100, passes, "fp16", "the launcher asked for it; the self-test passed"),
        ("fp16", CPU, passes, "no", "fp32 on CPU; the launcher's fp16 is not possible: CPU is no GPU"),
        ("fp16", H100, fails, "bf16", "the launcher's fp16 is not possible: the output holds NaN"),
        ("fp16", T4, fails, "no", "the launcher's fp16 is not possible: the output holds NaN"),
    ],
)
def test_auto_takes_the_launchers_precision_where_the_device_can_and_says_why_not(wish, device, self_test, taken, told):
    precision = choose_precision("auto", device, self_test, launcher=wish)
    assert precision.mixed_precision == taken
    assert told in precision.reason


def test_an_explicit_precision_overrules_the_launchers_and_says_so_where_they_differ():
    overruled = choose_precision("no", H100, passes, launcher="bf16")
    assert overruled.mixed_precision == "no"
    assert "--mixed-precision overrules the launcher's bf16" in overruled.reason
    for launcher in ("bf16", "no", "", None):
        assert "launcher" not in choose_precision("bf16", H100, passes, launcher=launcher).reason


def test_a_start_takes_the_launchers_wish_only_for_auto(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "BF16")
    accelerator, precision = launch.start("no")
    assert accelerator.mixed_precision == precision.mixed_precision == "no"


def test_the_launchers_bf16_is_what_training_runs_in(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    accelerator, precision = launch.start("auto")
    assert accelerator.mixed_precision == precision.mixed_precision == "bf16"


@pytest.mark.parametrize("value", ["fp8", "fp32", "tf32", "true"])
def test_a_precision_that_there_is_not_is_refused_by_name_and_overruled_by_ours(value, monkeypatch):
    with pytest.raises(UserError, match=f"ACCELERATE_MIXED_PRECISION is {value} .*must be no, bf16 or fp16"):
        wanted_precision({"ACCELERATE_MIXED_PRECISION": value})
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", value)
    _, precision = launch.start("no")
    assert value in precision.reason


def test_the_cpu_is_what_precision_is_decided_for_where_the_launcher_chose_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: pytest.fail("the GPU was asked"))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    accelerator, precision = launch.start("auto")
    assert accelerator.device.type == "cpu"
    assert precision.reason == "fp32 on CPU"


def launched(tmp_path, monkeypatch, *flags, **changes):
    """The environment that ``accelerate launch`` gives to the one process it starts, with our config file changed."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    config = yaml.safe_load((ROOT / "accelerate_config.yaml").read_text(encoding="utf-8")) | changes
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ["--config_file", str(tmp_path / "config.yaml"), *flags, "train.py"]
    arguments = _validate_launch_command(launch_command_parser().parse_args(words))[0]
    return prepare_simple_launcher_cmd_env(arguments)[1]


def test_fewer_processes_than_the_launcher_was_asked_for_are_told(tmp_path, monkeypatch):
    cpus = {"distributed_type": "MULTI_CPU", "num_processes": 2, "use_cpu": True}
    assert "this one was started alone" in lone_process(launched(tmp_path, monkeypatch, **cpus))
    assert "torchrun --standalone --nproc_per_node 2" in lone_process(
        launched(tmp_path, monkeypatch, "--num_processes", "3", use_cpu=True)
    )
    assert lone_process(launched(tmp_path, monkeypatch)) == "", "the config file as it stands"


def test_processes_that_a_launcher_has_numbered_are_not_alone():
    assert lone_process({"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}) == ""
    assert lone_process({}) == ""


def test_a_lone_process_says_so_before_anything_else(monkeypatch, capsys):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for count, told in ((1, True), (2, False)):
        accelerator = type("Started", (), {"num_processes": count, "is_main_process": True})()
        launch.open_console(False, accelerator)
        assert ("started alone" in capsys.readouterr().err) is told
