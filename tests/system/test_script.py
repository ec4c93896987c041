"""How a script begins and ends: a sign of life, exit codes, the one line for programs."""

import dataclasses
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from alexnet_skip.system import script
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.script import print_json, run_script
from alexnet_skip.system.streams import READER_LEFT

BEGIN = "Starting: loading PyTorch …\n"


@dataclasses.dataclass
class Output:
    quiet: bool = False
    json: bool = False


def run(body, **output) -> int:
    return run_script(lambda: Output(**output), lambda settings: body())


def refuse():
    raise UserError("--epochs is 0, must be at least 1")


def test_a_script_shows_a_sign_of_life_and_ends_with_one_json_line(capsys):
    assert run(lambda: ({"top1": 0.5, "run": "runs/é"}, True)) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [{"top1": 0.5, "run": "runs/é"}]
    assert err == BEGIN


def test_a_process_that_does_not_speak_prints_nothing(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run(lambda: ({}, False)) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("output", "printed"), [({}, False), ({"json": True}, True), ({"quiet": True}, True)])
def test_on_a_terminal_the_json_line_comes_only_when_asked_for(monkeypatch, output, printed):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run(lambda: ({"a": 1}, True), **output) == 0
    assert terminal.getvalue() == '{"a": 1}\n' * printed


def test_the_sign_of_life_comes_before_what_takes_seconds(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(script.importlib, "import_module", lambda _: seen.append(capsys.readouterr().err))
    assert run(lambda: ({}, False)) == 0
    assert seen[0] == BEGIN


def test_a_users_mistake_is_a_message_and_exit_code_2(capsys, monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    assert run(refuse) == 2
    assert capsys.readouterr() == ("", f"{BEGIN}Error: --epochs is 0, must be at least 1\n")
    assert run_script(refuse, lambda _: ({}, True)) == 2
    assert capsys.readouterr() == ("", "Error: --epochs is 0, must be at least 1\n")


def test_below_the_launcher_an_error_says_whose_traceback_follows(capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert run(refuse) == 2
    assert "A traceback below is the launcher's own, as is its exit code 1" in capsys.readouterr().err


def test_ctrl_c_is_exit_code_130_and_our_own_mistakes_keep_their_traceback(capsys):
    def interrupted():
        raise KeyboardInterrupt

    def broken():
        raise RuntimeError("ours")

    assert run(interrupted, quiet=True) == 130
    assert capsys.readouterr() == ("", "Interrupted.\n")
    with pytest.raises(RuntimeError, match="ours"):
        run(broken)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGBREAK"])
def test_every_signal_that_ends_a_session_ends_a_script_with_its_number(capsys, name):
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")
    number = getattr(signal, name)
    before = signal.getsignal(number)
    assert run(lambda: signal.raise_signal(number), quiet=True) == 128 + number
    assert capsys.readouterr().err == "Terminated; what was finished is kept.\n"
    assert signal.getsignal(number) == before


def test_no_library_takes_a_signal_for_an_error_of_its_own(capsys):
    def read_like_a_library():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception as error:
            raise UserError("the file is damaged") from error

    assert run(read_like_a_library) == 128 + signal.SIGTERM
    assert "damaged" not in capsys.readouterr().err


def test_a_file_that_another_program_has_open_is_named_with_what_to_do(capsys):
    """As Windows says it of a table that Excel shows."""

    def replace():
        raise PermissionError(errno.EACCES, "Access is denied", "predictions.csv.tmp", 5, "predictions.csv")

    assert run(replace) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "Error: predictions.csv can't be replaced (Access is denied): most likely it is open in another" in told
    assert ".tmp" not in told


def test_json_has_no_word_for_not_a_number():
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"loss": float("nan")})


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "embed.py"])
def test_help_and_mistyped_flags_are_answered_without_torch(script):
    code = (
        "import sys, runpy; script, *arguments = sys.argv[1:]\n"
        "for argument in arguments:\n"
        "    sys.argv = [script, argument]\n"
        "    try: runpy.run_path(script, run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        print('ended', argument, end.code, {'torch', 'matplotlib', 'numpy'} & set(sys.modules))"
    )
    endings = {"--help": 0, "--version": 0, "--mistyped": 2}
    done = subprocess.run([sys.executable, "-c", code, script, *endings], capture_output=True, text=True, check=True)
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended")]
    assert ended == [f"ended {argument} {code} set()" for argument, code in endings.items()]


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        (["train.py"], ""),
        (["train.py"], "1"),
        (["evaluate.py"], ""),
        (["embed.py"], ""),
        (["-m", "alexnet_skip.runs"], ""),
    ],
)
def test_a_script_whose_reader_has_seen_enough_ends_without_a_word(command, unbuffered):
    """As in ``python train.py --help | head``."""
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open(write, "wb") as nobody_reads:
        done = subprocess.run(
            [sys.executable, *command, "--help"], stdout=nobody_reads, stderr=subprocess.PIPE, env=environment,
            check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (READER_LEFT, b"")


def test_a_program_without_streams_comes_to_its_end(tmp_path):
    """As below ``pythonw`` on Windows, where there is no console."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "sys.stdout = sys.stderr = None\n"
        "from tests_output import Output\n"
        "from alexnet_skip.system.script import run_script\n"
        "code = run_script(Output, lambda settings: ({'a': 1}, True))\n"
        "sys.exit(code + 40)\n",
        encoding="utf-8",
    )
    (tmp_path / "tests_output.py").write_text("class Output: quiet = json = False\n", encoding="utf-8")
    places = os.pathsep.join((os.getcwd(), str(tmp_path)))
    done = subprocess.run([sys.executable, str(program)], env=os.environ | {"PYTHONPATH": places}, check=False)
    assert done.returncode == 40


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has another signal for a closed window")
def test_a_closed_terminal_is_a_signal_that_ends_well_though_nothing_can_be_printed(tmp_path):
    import pty

    program = (
        "import os, sys, time; from alexnet_skip.system.interruption import Interruption\n"
        "from alexnet_skip.system.console import Console\n"
        "with Interruption() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop.signal_number: time.sleep(0.01)\n"
        "    Console().line('saving'); print('saved', flush=True)\n"
        f"    open({str(tmp_path / 'saved')!r}, 'w').write(str(stop.signal_number)); os._exit(0)\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    while b"ready" not in os.read(terminal, 1000):
        pass
    os.close(terminal)  # the window is closed: the system sends SIGHUP, and every write fails
    deadline = time.monotonic() + 30
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "saved").read_text() == str(int(signal.SIGHUP))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no nohup")
def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(lambda: (signal.raise_signal(signal.SIGHUP) or {}, False)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
