import pytest

from videodiff.report.chart import Chart, Point, Series


@pytest.mark.parametrize(("count", "lines", "marks"), [(1, 0, 1), (3, 1, 0)])
def test_a_series_can_be_seen_however_few_its_points(count, lines, marks):
    series = Series("short", 0, [Point(x, x) for x in range(count)])
    figure = str(Chart("loss", "step", "loss", [series]).figure())
    assert (figure.count('class="line"'), figure.count('class="mark"')) == (lines, marks)
