import pytest

from videodiff.diffusion import Window, autoregressive, interpolation


def check(windows, start=()):
    """Each frame is written once, and seen only after it was written."""
    written = list(start)
    for window in windows:
        assert window.new
        assert set(window.context) <= set(written)
        assert list(window.context) == sorted(window.context)
        written += window.new
    assert len(written) == len(set(written))
    return sorted(written)


def test_128_frames_from_a_16_frame_model():
    windows = autoregressive(128, 16, 8)
    assert check(windows) == list(range(128))
    assert windows[0] == Window(tuple(range(16)))
    assert windows[1] == Window(tuple(range(16, 24)), tuple(range(8, 16)))
    assert len(windows) == 15


@pytest.mark.parametrize("num_frames", [1, 15, 16, 17, 20, 31, 100])
@pytest.mark.parametrize(("overlap", "stride"), [(0, 1), (1, 1), (8, 1), (15, 1), (8, 4), (3, 5)])
def test_every_frame_is_written_once_and_windows_have_the_length_of_a_clip(num_frames, overlap, stride):
    windows = autoregressive(num_frames, 16, overlap, stride)
    keys = check(windows)
    assert keys == list(range(0, num_frames, stride))
    if overlap and len(keys) >= 16:
        assert all(len(window.new) + len(window.context) == 16 for window in windows)
    assert all(len(window.context) >= overlap for window in windows[1:])


@pytest.mark.parametrize("num_frames", [1, 2, 5, 16, 17, 61, 64])
@pytest.mark.parametrize(("stride", "clip"), [(1, None), (2, None), (4, None), (4, 16), (5, 7), (3, 16)])
def test_key_frames_and_interpolation_write_every_frame(num_frames, stride, clip):
    windows = interpolation(num_frames, stride, clip)
    assert check(windows, range(0, num_frames, stride)) == list(range(num_frames))
    assert all(len(window.new) + len(window.context) <= (clip or stride + 1) for window in windows)
    assert all(window.context for window in windows)


def test_a_gap_is_seen_from_both_sides():
    assert interpolation(9, 4) == [Window((1, 2, 3), (0, 4)), Window((5, 6, 7), (4, 8))]
    assert interpolation(16, 4, clip=16)[0].context == (0, 4, 8, 12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: autoregressive(0, 16, 8), "num_frames must be at least 1, got 0"),
        (lambda: autoregressive(64, 0, 0), "clip must be at least 1, got 0"),
        (lambda: autoregressive(64, 16, 16), r"overlap must lie in 0 ... clip - 1 \(15\), got 16"),
        (lambda: autoregressive(64, 16, -1), "overlap must lie in"),
        (lambda: autoregressive(64, 16, 8, 0), "stride must be at least 1"),
        (lambda: interpolation(64, 0), "stride must be at least 1"),
        (lambda: interpolation(64, 4, 4), "clip must be at least 5, got 4"),
    ],
)
def test_a_wrong_number_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
