import xml.etree.ElementTree as xml

import pytest

from vlfuse.report.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve, Plot, draw, log_ticks, read_curve, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.13, 0.71, [0, 0.2, 0.4, 0.6, 0.8]),
        (0, 4900, [0, 1000, 2000, 3000, 4000, 5000]),
        (-3, 7, [-4, -2, 0, 2, 4, 6, 8]),
    ],
)
def test_ticks_are_round_and_enclose_the_data(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 5.0, -2e-7, 1e12])
def test_a_constant_still_has_a_scale(value):
    found = ticks(value, value)
    assert found[0] < value < found[-1] and len(found) < 12


@pytest.mark.parametrize(("low", "high"), [(0.03, 7), (1, 1), (2e-9, 5), (0.2, 0.21)])
def test_log_ticks_enclose_the_data(low, high):
    found = log_ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) < 16


def coordinates(figure: str, tag: str) -> list[tuple[float, float]]:
    root = xml.fromstring(figure)
    lines = [line for line in root.iter(tag) if "raw" not in line.get("class", "")]
    return [tuple(map(float, p.split(","))) for line in lines for p in line.get("points", "").split()]  # type: ignore


@pytest.mark.parametrize("log", [False, True])
def test_curves_lie_inside_the_axes(log):
    noisy = Curve("loss <a&b>", range(1000), [10 / (1 + i) + 0.01 * (i % 7) for i in range(1000)])
    figure = draw(Plot("a <title>", (noisy, Curve("chance", [0, 999], [0.5, 0.5], dashed=True)), log=log))
    points = coordinates(figure, "polyline")
    assert len(points) > 100
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in points)
    assert "loss &lt;a&amp;b&gt;" in figure


def test_what_cannot_be_drawn_is_left_out():
    inf, nan = float("inf"), float("nan")
    figure = draw(
        Plot("odd", (Curve("a", [0, 1, 2, 3], [1, nan, inf, 2]), Curve("b", [5], [1.5]), Curve("none", [], [])))
    )
    assert len(coordinates(figure, "polyline")) == 2 and "circle" in figure and "none" not in figure
    assert "nothing was logged" in draw(Plot("empty", (Curve("zero", [1], [0.0]),), log=True))


def test_curves_are_read_from_logs(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n{"note": "x"}\n{"step": 2, "loss": 2.5}\n{"step": 3, "lo'
    )
    curve = read_curve(log, "loss", name="training")
    assert (curve.name, curve.x, curve.y) == ("training", (1, 2), (3.0, 2.5))
    log.write_text('{"step": 1, "loss": 3.0}\n{"step": 5, "scores": {"vqa/accuracy": 0.4}}\n')
    assert read_curve(log, "vqa/accuracy").points(log=False) == [(5, 0.4)]
