"""What other libraries raise is told on one line, whole, with the file and the way out."""

import errno

import pytest
import torch

from videodiff.cli.errors import FAILED, exit_code, one_line
from videodiff.config.jsonargparse_errors import explain
from videodiff.reasons import reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a cause\n\n  and a trace"), "a cause"),
        (RuntimeError("Errors in loading X:\n\tmismatch of a\n\tmore"), "Errors in loading X: mismatch of a"),
        (KeyError(), "KeyError"),
        (
            RuntimeError("Weights only load failed.\nWeightsUnpickler error: Unsupported global: os.system. Please use "
            "torch.load with weights_only=False"),
            "Unsupported global: os.system.",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a.txt"), "a.txt: permission denied"),
    ],
)  # fmt: skip
def test_the_reason_is_the_first_thing_that_says_something(error, said):
    assert reason(error) == said


def test_a_long_reason_is_told_to_its_end():
    long = "the first stage 'runs/a' is missing; make it with: " + 60 * "videodiff fit " + "--name the-end"
    assert reason(ValueError(long)) == long
    assert explain(f'Parser key "model":\n  {long}').endswith("--name the-end")


@pytest.mark.parametrize("kind", [OSError, type("Writer", (OSError,), {})])
def test_a_full_disk_is_told_with_file_room_and_way_out(kind, tmp_path):
    error = kind(errno.ENOSPC, "No space left on device", str(tmp_path / "gone" / "clip.mkv"))
    line = one_line(error)
    assert line.startswith(f"{tmp_path}/gone/clip.mkv: no space left on the device, ")
    assert line.endswith(
        "bytes free (free some space and repeat the command to resume, or name another place)"
    )
    assert exit_code(error) == FAILED
    of_rust = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert one_line(of_rust).startswith("no space left on the device (free")
    assert "quota" in one_line(OSError(errno.EDQUOT, "Disk quota exceeded", str(tmp_path)))
    assert one_line(OSError(errno.ENOSPC, "No space left on device")).startswith(
        "no space left on the device (free"
    )


def test_memory_that_is_used_up_is_told_with_what_was_asked_for():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert one_line(caught.value) == (
        "not enough memory, 144115188075855872 bytes were asked for at once (a smaller batch size, resolution or "
        "network takes less)"
    )
    assert one_line(MemoryError()).startswith("not enough memory (a smaller")
    cuda = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")
    assert one_line(cuda).startswith("not enough GPU memory, 2.50 GiB were asked for at once")


def test_memory_that_a_constructor_lacks_is_told_through_the_parser_that_called_it():
    class ParserError(Exception):
        """As jsonargparse's."""

    def wrapped():
        try:
            raise MemoryError
        except MemoryError as error:
            raise ParserError('Parser key "model": ') from error

    with pytest.raises(ParserError) as caught:
        wrapped()
    assert one_line(caught.value).startswith("not enough memory")
