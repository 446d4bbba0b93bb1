import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videodiff.cli import main
from videodiff.data import BouncingDigits, video_io
from videodiff.evaluation.results import read_result

RANDOM = ["--protocol", "random", "--frames", "4"]


def clips(split, count, frames=4, size=16):
    source = BouncingDigits(split, count, frames, size)
    return [source.read(i, 0, frames, 1) for i in range(count)]


def write_videos(folder, videos):
    folder.mkdir(parents=True)
    for i, video in enumerate(videos):
        video_io.write_lossless(folder / f"{i}.mkv", video)
    return folder


def write_frames(folder, videos, suffix="png"):
    for i, video in enumerate(videos):
        (folder / f"{i}").mkdir(parents=True)
        for k, frame in enumerate(video.numpy()):
            Image.fromarray(frame).save(folder / f"{i}" / f"{k}.{suffix}")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    real = clips("test", 20)
    noisy = [
        (v.int() + torch.randint(0, 40, v.shape)).clamp(0, 255).to(torch.uint8) for v in clips("val", 20)
    ]
    return {
        "real": write_videos(root / "real", real),
        "other": write_videos(root / "other", clips("val", 18)),
        "noisy": write_videos(root / "noisy", noisy),
        "png": write_frames(root / "png", clips("val", 18)),
    }


def evaluate(capsys, *words):
    code = main(["evaluate", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def record_of(capsys, *words):
    code, out, err = evaluate(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out), err


def test_noise_is_further_away_than_other_real_clips(folders, capsys):
    good, err = record_of(capsys, folders["real"], folders["other"], *RANDOM)
    bad, _ = record_of(capsys, folders["real"], folders["noisy"], *RANDOM)
    assert bad["metrics"]["rand_fd"]["value"] > good["metrics"]["rand_fd"]["value"] > 0
    assert (good["num_real"], good["num_fake"], good["name"]) == (20, 18, "random_4f_n20-18")
    assert good["metrics"]["rand_fd"]["reduced"] is True
    assert "wants 512 real and 512 generated clips, 20 and 18 were used" in err
    assert good["detector"]["sha256"]
    assert good["data"]["videos"] == 20


def test_frames_in_png_folders_are_the_same_clips_as_lossless_video(folders, capsys):
    video, _ = record_of(capsys, folders["real"], folders["other"], *RANDOM)
    frames, err = record_of(capsys, folders["real"], folders["png"], *RANDOM)
    assert frames["metrics"]["rand_fd"]["value"] == video["metrics"]["rand_fd"]["value"]
    assert "lossily" not in err


def test_lossy_files_are_told(folders, tmp_path, capsys):
    (tmp_path / "mp4").mkdir()
    for i, video in enumerate(clips("val", 3)):
        video_io.write_mp4(tmp_path / "mp4" / f"{i}.mp4", video)
    jpeg = write_frames(tmp_path / "jpg", clips("val", 3), "jpg")
    assert (
        "generated videos are stored lossily (h264)"
        in evaluate(capsys, folders["real"], tmp_path / "mp4", *RANDOM)[2]
    )
    _, _, err = evaluate(capsys, jpeg, folders["other"], *RANDOM)
    assert "real videos are stored lossily (jpg)" in err
    assert "generated videos are stored" not in err


def test_a_folder_against_itself_is_zero_with_a_warning(folders, capsys):
    record, err = record_of(capsys, folders["real"], folders["real"], *RANDOM)
    assert record["metrics"]["rand_fd"]["value"] == pytest.approx(0, abs=1e-6)
    assert "20 of the 20 different generated clips are real ones" in err


def test_the_second_run_reads_no_real_clip(folders, capsys, monkeypatch):
    from videodiff.data.clips import FolderSource

    reads = []
    read = FolderSource.read
    monkeypatch.setattr(
        FolderSource, "read", lambda self, i, *a: reads.append(self.name(i)) or read(self, i, *a)
    )
    first, _ = record_of(capsys, folders["real"], folders["other"], *RANDOM)
    assert len([r for r in reads if "/real/" in r]) == 20
    reads.clear()
    second, _ = record_of(capsys, folders["real"], folders["other"], *RANDOM)
    assert [r for r in reads if "/real/" in r] == []
    assert len(reads) == 18
    assert second == first


def test_cached_statistics_stand_for_the_real_folder(folders, capsys, tmp_path):
    first, _ = record_of(capsys, folders["real"], folders["other"], *RANDOM)
    (cached,) = (tmp_path / "cache").rglob("*.npz")
    second, _ = record_of(capsys, cached, folders["other"], *RANDOM)
    assert second["metrics"] == first["metrics"]
    assert second["data"]["listing"] == first["data"]["listing"]
    code, _, err = evaluate(capsys, cached, folders["other"], "--protocol", "random:4:window=start")
    assert code == 2
    assert "switches.window is random, start is asked for" in err


def test_statistics_of_clips_read_otherwise_are_refused(folders, capsys, tmp_path):
    record_of(capsys, folders["real"], folders["other"], *RANDOM, "--resolution", 16)
    (cached,) = (tmp_path / "cache").rglob("*.npz")
    for words, says in (
        (["--resolution", 32], "data.resolution is 16, 32 is asked for"),
        (["--resolution", 16, "--resize", "letterbox"], "data.resize is None, whole frame scaled to fit"),
        (["--protocol", "random:4:fps=4"], "switches.fps is None, 4.0 is asked for"),
    ):
        code, _, err = evaluate(capsys, cached, folders["other"], *RANDOM, *words)
        assert (code, err.count("error:")) == (2, 1)
        assert says in err


def test_real_videos_are_read_at_the_rate_of_the_protocol(folders, capsys):
    words = ["--protocol", "random:4:fps={}:window=start"]
    same, _ = record_of(capsys, folders["real"], folders["real"], *(w.format(8) for w in words))
    assert same["metrics"]["rand_fd"]["value"] == pytest.approx(0, abs=1e-6)  # stored at 8
    code, _, err = evaluate(capsys, folders["real"], folders["other"], *(w.format(4) for w in words))
    assert code == 2
    assert "has 2 frames at 4 fps, 4 needed" in err


def test_a_record_stands_beside_another_only_if_measured_alike(folders, capsys, tmp_path):
    first = tmp_path / "first.json"
    assert evaluate(capsys, folders["real"], folders["other"], *RANDOM, "--out", first)[0] == 0
    code, out, err = evaluate(capsys, folders["real"], folders["png"], *RANDOM, "--against", first)
    assert code == 0, err
    row = out.strip().splitlines()[-1].split()
    assert (row[0], row[-1]) == ("rand_fd", "touch")
    for real, words, says in (
        ("real", ["--resolution", 16], "resolution 16 against as stored"),
        ("real", ["--resolution", "24x16"], "resolution 24x16 against as stored"),
        ("real", ["--protocol", "random:4:fps=8"], "fps 8 against every frame"),
        ("noisy", [], f"other videos ({folders['noisy']} against {folders['real']})"),
        ("real", ["--num_clips", 9], "num_real 9 against 20; num_generated 9 against 18"),
    ):
        code, _, err = evaluate(capsys, folders[real], folders["other"], *RANDOM, *words, "--against", first)
        assert (code, err.count("error:")) == (2, 1)
        assert f"cannot be compared with {first}: {says}; measure both" in err


def test_results_are_written_whole_under_the_protocols_name(folders, capsys, tmp_path):
    out = tmp_path / "scores"
    code, text, _ = evaluate(capsys, folders["real"], folders["other"], *RANDOM, "--out", out)
    assert code == 0
    assert "rand_fd" in text
    (path,) = out.glob("random_4f_n20-18_other_seed0_*.json")
    result = read_result(path)
    assert result.metrics["rand_fd"]["count"] == 18
    file = tmp_path / "x.json"
    assert evaluate(capsys, folders["real"], folders["other"], *RANDOM, "--out", file)[0] == 0
    assert read_result(file).metrics == result.metrics


def test_no_record_replaces_one_of_other_clips_or_switches(folders, capsys, tmp_path):
    out, file = tmp_path / "scores", tmp_path / "x.json"
    pairs = [(folders["real"], folders["other"]), (folders["real"], folders["noisy"])]
    calls = [(*pairs[0], *RANDOM), (*pairs[1], *RANDOM), (*pairs[0], *RANDOM, "--seed", 1),
             (*pairs[0], *RANDOM, "--num_clips", 8), (*pairs[0], *RANDOM, "--resolution", 16),
             (*pairs[0], "--protocol", "random:4:ddof=1")]  # fmt: skip
    for words in (*calls, calls[0]):
        assert evaluate(capsys, *words, "--out", out)[0] == 0
    assert len(list(out.iterdir())) == len(calls)
    assert evaluate(capsys, *calls[0], "--out", file)[0] == 0
    kept = file.read_text()
    for words in calls[1:]:
        code, _, err = evaluate(capsys, *words, "--out", file)
        assert (code, file.read_text()) == (2, kept)
        assert f"--out {file} holds another measurement (" in err.splitlines()[-1]
    assert evaluate(capsys, *calls[0], "--out", file)[0] == 0
    file.write_text("mine")
    code, _, err = evaluate(capsys, *calls[0], "--out", file)
    assert (code, file.read_text()) == (2, "mine")
    assert "is no record of evaluate; nothing is overwritten" in err
    for both in ("random:4,random:4:ddof=1", "random:4,random:4:window=start"):
        assert evaluate(capsys, *pairs[0], "--protocol", both, "--out", tmp_path / "two")[0] == 0
    assert len(list((tmp_path / "two").glob("explanation_*.json"))) == 2


def test_what_generate_recorded_travels_with_the_number(folders, capsys, tmp_path):
    fake = write_videos(tmp_path / "generate", clips("val", 6))
    record = {"clips": [f"{i}.mkv" for i in range(5)], "sampler": "DDIMSampler", "steps": 50, "ema": True}
    (fake / "samples.json").write_text(json.dumps(record))
    video_io.write_mp4(fake / "sheet.mp4", clips("val", 1, size=48)[0])
    found, err = record_of(capsys, folders["real"], fake, *RANDOM)
    assert (found["num_fake"], found["sampler"], found["steps"], found["ema"]) == (5, "DDIMSampler", 50, True)
    assert "lossily" not in err
    (fake / "4.mkv").unlink()
    assert (
        "samples.json lists 5 clips, of which 4 can be found"
        in evaluate(capsys, folders["real"], fake, *RANDOM)[2]
    )


def test_the_batch_size_changes_nothing(folders, capsys):
    one, _ = record_of(capsys, folders["real"], folders["other"], *RANDOM, "--batch_size", 1)
    many, _ = record_of(capsys, folders["real"], folders["other"], *RANDOM, "--batch_size", 7)
    assert many["metrics"] == one["metrics"]


def test_two_protocols_are_explained_switch_by_switch(folders, capsys):
    both = "random:4,random:4:ddof=1:window=start:rounding=truncate"
    code, out, err = evaluate(
        capsys, folders["real"], folders["other"], "--protocol", both, "--num_clips", 8, "--json"
    )
    assert code == 0, err
    record = json.loads(out)
    told = record["explanation"]
    assert [s["switch"] for s in told["steps"]] == ["rounding", "ddof", "window"]
    values = [r["metrics"]["rand_fd"]["value"] for r in record["results"]]
    assert [told["start_value"], told["end_value"]] == pytest.approx(values, rel=1e-12)
    changes = [s["change"] for s in told["steps"]]
    assert changes[0] is None
    assert sum(changes[1:]) == pytest.approx(values[1] - values[0], rel=1e-9)
    assert "ddof: 0 -> 1" in err


def test_sizes_may_differ_and_can_be_made_equal(folders, capsys, tmp_path):
    large = write_videos(tmp_path / "large", clips("val", 4, size=24))
    record, err = record_of(capsys, folders["real"], large, *RANDOM)
    assert "frame sizes differ (real 16x16, generated 24x24)" in err
    assert record["resolution"] == {"real": [[16, 16]], "fake": [[24, 24]]}
    record, err = record_of(capsys, folders["real"], large, *RANDOM, "--resolution", 16)
    assert "frame sizes differ" not in err
    assert record["resolution"] == {"real": [[16, 16]], "fake": [[16, 16]]}
    assert "resize" not in record["data"]
    size = ["--resolution", "24x16"]
    record, _ = record_of(capsys, folders["real"], large, *RANDOM, *size, "--resize", "letterbox")
    assert record["resolution"] == {"real": [[24, 16]], "fake": [[24, 16]]}
    assert record["data"]["resolution"] == [24, 16]
    assert record["data"]["resize"].startswith("whole frame scaled to fit, black bars")
    cropped, _ = record_of(capsys, folders["real"], large, *RANDOM, *size)
    assert cropped["metrics"]["rand_fd"]["value"] != record["metrics"]["rand_fd"]["value"]


def test_short_and_broken_videos_are_left_out_and_told(folders, capsys, tmp_path):
    fake = write_videos(tmp_path / "fake", clips("val", 4))
    video_io.write_lossless(fake / "short.mkv", clips("val", 1, frames=2)[0])
    (fake / "broken.mkv").write_bytes(b"no video")
    record, err = record_of(capsys, folders["real"], fake, *RANDOM)
    assert record["num_fake"] == 4
    assert "2 generated videos left out" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{real}", "/nowhere"], "GENERATED /nowhere: no such folder"),
        (["{real}", "{file}"], "is a file; give a folder"),
        (["{real}", "{empty}"], "no videos"),
        (["{real}", "{single}", *RANDOM], "at least 2 generated clips are needed, got 1"),
        (["{real}", "{other}", "--protocol", "random"], "too short"),
        (["{real}", "{other}", "--protocol", "styleganv:1"], "i3d needs clips of at least 9 frames"),
        (["{real}", "{other}", "--protocol", "styleganv:4"], "i3d needs clips of at least 9 frames"),
        (["{real}", "{other}", "--protocol", "styleganv:9"], "i3d_pretrained_400"),
        (["{real}", "{other}", "--protocol", "fvd"], "no protocol 'fvd'"),
        (["{real}", "{other}", "--resize", "letterbox"], "--resize needs --resolution"),
        (["{real}", "{other}", "--resolution", "16", "--resize", "pad"], "resize must be one of antialias"),
        (["{real}", "{other}", "--resolution", "16x"], "--resolution must be N for a square or HEIGHTxWIDTH"),
        (["{real}", "{other}", "--protocol", "evaluator"], "use videodiff test"),
        (["{real}", "{other}", "--protocol", "random,styleganv"], "different networks"),
        (["{real}", "{other}", "--protocol", "pvdm,lvdm,tats"], "takes one protocol, or two"),
        (["{real}", "{other}", "--num_clips", "1"], "--num_clips must be at least 2, got 1"),
        (["{real}", "{other}", "--frames", "0"], "--frames must be at least 1"),
        (["{real}", "{other}", "--weights", "/nowhere"], "--weights /nowhere: no such file"),
        (["{real}", "{other}", "--protcol", "random"], "did you mean '--protocol'"),
        (["{real}"], "GENERATED"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folders, capsys, tmp_path, words, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    single = write_videos(tmp_path / "single", clips("val", 1))
    places = {**folders, "empty": tmp_path / "empty", "file": tmp_path / "file", "single": single}
    code, out, err = evaluate(capsys, *[word.format(**places) for word in words])
    assert (code, out) == (2, "")
    errors = [line for line in err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert says in errors[0]


def test_constant_clips_are_a_number_with_a_warning(folders, capsys, tmp_path):
    black = write_videos(tmp_path / "black", [torch.zeros(4, 16, 16, 3, dtype=torch.uint8)] * 3)
    record, err = record_of(capsys, folders["real"], black, *RANDOM)
    assert record["metrics"]["rand_fd"]["value"] > 0
    assert "3 generated clips of one single colour" in err


def test_a_usage_error_needs_no_torch():
    code = (
        "import sys\nfrom videodiff.cli import main\n"
        "assert main(['evaluate', '.', '.', '--protocol', 'fvd']) == 2\n"
        "assert main(['evaluate', '.', '/nowhere']) == 2\n"
        "assert main(['evaluate', '--help']) == 0\n"
        "assert not {'torch', 'numpy', 'av', 'pytorch_lightning'} & {m.split('.')[0] for m in sys.modules}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    "VIDEODIFF_TEST_ASSETS" not in os.environ, reason="VIDEODIFF_TEST_ASSETS names no folder of weights"
)
def test_fvd_of_two_protocols_with_the_real_network(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEODIFF_WEIGHTS", str(Path(os.environ["VIDEODIFF_TEST_ASSETS"]) / "weights"))
    real = write_videos(tmp_path / "real", clips("test", 2, frames=9, size=32))
    fake = write_videos(tmp_path / "fake", [v.flip(0) for v in clips("test", 2, frames=9, size=32)])
    code, out, err = evaluate(
        capsys, real, fake, "--protocol", "styleganv,styleganv:resize=tf1:ddof=1", "--frames", 9, "--json"
    )
    assert code == 0, err
    record = json.loads(out)
    told = record["explanation"]
    assert told["metric"] == "fvd"
    assert [s["switch"] for s in told["steps"]] == ["resize", "ddof"]
    assert all(s["change"] != 0 for s in told["steps"])
    assert np.isfinite(told["end_value"])
    assert {"fvd", "kvd", "is_k400_splits1"} <= set(record["results"][0]["metrics"])
    assert record["results"][0]["protocol"]["network_sha256"]
