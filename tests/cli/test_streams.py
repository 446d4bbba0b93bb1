"""Output that cannot be written and signals cost no more than what they must: the work goes on, or leaves cleanly."""

import os
import signal
import subprocess
import sys

import pytest

import real_run
from videodiff import cli, stopping
from videodiff.checkpoints import newest_checkpoint
from videodiff.cli import main, streams


def pipe_without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


def closed():
    file = open(os.devnull, "w")  # noqa: SIM115
    file.close()
    return file


def full():
    return open("/dev/full", "w")


LOST = {"gone": pipe_without_reader, "full": full, "closed": closed}


@pytest.mark.parametrize("lost", LOST)
def test_a_stream_that_cannot_be_written_drops_what_it_is_given(lost):
    file = LOST[lost]()
    stream = streams.LastingStream(file)
    for _ in range(3):
        print("x" * 10_000, file=stream, flush=True)
    assert stream.lost is not None
    assert not stream.isatty()
    stream.silence()  # or closing the file would flush once more
    file.close()


def test_a_log_that_nobody_reads_ends_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", pipe_without_reader())
    monkeypatch.setattr(sys, "stdout", closed())
    words = real_run.words(tmp_path, 3, "--progress.every_seconds", "0")
    assert main(words) == 0
    assert newest_checkpoint(tmp_path / "run") is not None
    assert sorted(real_run.trace(tmp_path)) == [1, 2, 3]


def test_results_that_a_full_disk_swallowed_are_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", full())
    assert main(["models"]) == 1
    assert "standard output cannot be written: no space left on the device" in capsys.readouterr().err


def test_a_process_without_standard_streams_works(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["models"]) == 0
    assert main(["no-such-verb"]) == 2


def test_head_leaves_no_traceback_and_a_closed_log_takes_no_file():
    line = f'{sys.executable} -m videodiff models 2>&1 | head -1; echo "${{PIPESTATUS[0]}}"'
    shown = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert shown.stdout.splitlines()[1:] == ["0"]
    assert shown.stderr == ""
    code = (
        "import os; from videodiff.cli import streams\n"
        "with streams.lasting(): os._exit(os.open('/dev/null', os.O_RDONLY))"
    )
    assert subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" >&- 2>&-']).returncode > 2


KILLING = [n for n in stopping.SIGNALS if n != signal.SIGINT]


@pytest.fixture
def fresh_signals():
    """Signals as a new process has them: this one may run under nohup, or hold handlers of other tests."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in KILLING}
    yield
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


@pytest.mark.parametrize("number", KILLING, ids=lambda n: n.name)
def test_a_signal_ends_a_command_as_ctrl_c_does(number, fresh_signals, monkeypatch, capsys):
    cleaned = []

    def work(words):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            cleaned.append(True)
            raise
        return 0

    monkeypatch.setattr(cli, "_dispatch", work)
    assert main(["generate"]) == 143
    assert cleaned == [True]
    assert f"stopped by {number.name}" in capsys.readouterr().err
    assert signal.getsignal(number) == signal.SIG_DFL


def test_an_ignored_signal_stays_ignored(monkeypatch):
    monkeypatch.setattr(cli, "_dispatch", lambda words: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in stopping.heeded()
        assert main(["generate"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
