"""Two real processes give the numbers of one, for uneven shares, repeated clips and a process without any."""

import json

import pytest

import distributed_metrics
from fault_harness import Job


@pytest.mark.parametrize(("how", "batch"), [("shared", 1), ("shared", 3), ("padded", 16), ("first", 4)])
def test_two_processes_give_the_numbers_of_one(how, batch, tmp_path):
    one = distributed_metrics.values(0, 1, 16, "shared")
    kwargs = {"folder": str(tmp_path), "batch": batch, "how": how}
    with Job(distributed_metrics.rank_of_job, kwargs, tmp_path, world=2) as job:
        assert job.wait(120) == [0, 0], job.text()
    for rank in (0, 1):
        two = json.loads((tmp_path / f"values{rank}.json").read_text())
        one_of = {name: one[name] for name in two}
        assert two == pytest.approx(one_of, rel=1e-9)
