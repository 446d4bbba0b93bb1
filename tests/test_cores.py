"""The number of cores that a process may use: of its affinity, or a container's share of time."""

import os

import pytest

from videodiff import cores


@pytest.mark.parametrize(
    ("affinity", "files", "expected"),
    [
        (8, {}, 8),
        (8, {"cpu.max": "max 100000"}, 8),
        (8, {"cpu.max": "200000 100000"}, 2),
        (8, {"cpu.max": "150000 100000"}, 2),
        (8, {"cpu.max": "20000 100000"}, 1),
        (1, {"cpu.max": "400000 100000"}, 1),
        (8, {"cpu.max": "nonsense"}, 8),
        (8, {"quota": "-1", "period": "100000"}, 8),
        (8, {"quota": "300000", "period": "100000"}, 3),
        (8, {"quota": "300000", "period": "0"}, 8),
    ],
)
def test_cores_are_those_of_the_affinity_or_fewer_where_time_is_limited(
    affinity, files, expected, tmp_path, monkeypatch
):
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(cores, "CGROUP_2", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(cores, "CGROUP_1", (str(tmp_path / "quota"), str(tmp_path / "period")))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
    assert cores.cores() == expected
