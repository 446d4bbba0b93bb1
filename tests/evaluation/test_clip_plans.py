import threading
from dataclasses import replace

import pytest
import torch

from eval_fakes import NoiseSource
from videodiff.evaluation.plan import plan_clips, read_batches
from videodiff.evaluation.protocol import get_protocol

BASE = replace(get_protocol("styleganv", frames=4), num_real=6, num_generated=5)


def test_styleganv_takes_one_random_window_of_the_first_videos_in_order():
    source = NoiseSource(20, frames=50)
    plan = plan_clips(source, BASE, "real", seed=3)
    assert [video for video, _ in plan.windows] == [0, 1, 2, 3, 4, 5]
    starts = [start for _, start in plan.windows]
    assert len(set(starts)) > 2
    assert all(0 <= start <= 46 for start in starts)
    assert plan == plan_clips(source, BASE, "real", seed=3) != plan_clips(source, BASE, "real", seed=4)


def test_windows_reach_the_last_frame_and_no_further():
    source = NoiseSource(400, frames=6)
    starts = {s for _, s in plan_clips(source, BASE.changed(num_real=400), "real").windows}
    assert starts == {0, 1, 2}
    strided = BASE.changed(stride=2)  # 7 frames are needed: no room
    assert {s for _, s in plan_clips(NoiseSource(9, frames=7), strided, "real").windows} == {0}


def test_a_shuffled_protocol_draws_other_videos_with_another_seed():
    shuffled = BASE.changed(order="shuffled")
    one, two = (plan_clips(NoiseSource(50), shuffled, "real", seed).windows for seed in (0, 1))
    assert sorted(one) != sorted(two)
    assert len({video for video, _ in one}) == 6


def test_more_clips_per_video_come_after_every_video_gave_one():
    plan = plan_clips(NoiseSource(4, frames=60), BASE.changed(clips_per_video=2), "real")
    assert [video for video, _ in plan.windows] == [0, 1, 2, 3, 0, 1]
    assert plan.windows[0] != plan.windows[4]


def test_the_plan_for_fewer_clips_is_the_start_of_the_plan_for_more():
    source = NoiseSource(30, frames=40)
    for protocol in (BASE, BASE.changed(order="shuffled"), BASE.changed(clips_per_video=3)):
        more = plan_clips(source, protocol.changed(num_real=20), "real")
        assert plan_clips(source, protocol, "real") == more.first(6)


def test_generated_videos_give_their_first_frames():
    plan = plan_clips(NoiseSource(9, frames=40), BASE.changed(stride=3), "generated")
    assert plan.windows == tuple((i, 0) for i in range(5))
    assert plan.stride == 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_batches_hold_every_clip_once_in_order(batch_size, threads):
    source = NoiseSource(11)
    plan = plan_clips(source, BASE.changed(num_real=11), "real")
    batches = list(read_batches(source, plan, range(0, 11, 2), batch_size, [], threads))
    assert [p for b in batches for p in b.places] == list(range(0, 11, 2))
    assert max(len(b.clips) for b in batches) <= batch_size
    direct = torch.stack([source.read(v, s, 4, 1) for v, s in plan.windows[::2]])
    assert torch.equal(torch.cat([b.clips for b in batches]), direct)


def test_reading_runs_ahead_by_a_bounded_number_of_clips():
    source = NoiseSource(200)
    plan = plan_clips(source, BASE.changed(num_real=200), "real")
    ahead = []
    for number, batch in enumerate(read_batches(source, plan, range(200), 4, [], threads=2)):
        ahead.append(len(source.reads) - 4 * (number + 1))
        assert len(batch.clips) == 4
    assert max(ahead) <= 12
    assert not [t for t in threading.enumerate() if t.name.startswith("clips")]


def test_a_video_that_cannot_be_read_is_left_out_and_told():
    source = NoiseSource(6, bad=(2,))
    bad = []
    plan = plan_clips(source, BASE, "real")
    places = [p for b in read_batches(source, plan, range(6), 4, bad) for p in b.places]
    assert places == [0, 1, 3, 4, 5]
    assert bad == ["v2: broken"]


def test_subsample_reaches_the_network_with_every_nth_frame():
    source = NoiseSource(3, frames=16)
    protocol = get_protocol("styleganv:16:subsample=8", num_real=3)
    (batch,) = read_batches(source, plan_clips(source, protocol, "real"), range(3), 8, [])
    assert batch.clips.shape == (3, 2, 8, 8, 3)
    assert torch.equal(batch.clips[0], source.read(0, 0, 16, 1)[::8])
