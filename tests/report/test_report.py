"""The demo's page, with made-up content."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vlfuse.report import Asked, Curve, DemoReport, Judged, Pair, Plot, Retrieved, Row, write_report
from vlfuse.types import DataError

VOID = {"meta", "img", "br", "line", "polyline", "circle"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed in the wrong place, or never."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(tmp_path, report: DemoReport) -> tuple[str, Balanced]:
    write_report(report, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed = Balanced()
    parsed.feed(text)
    assert not parsed.open
    return text, parsed


@pytest.fixture
def picture():
    return np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)


def test_the_page_shows_everything_and_needs_nothing(tmp_path, picture):
    judged = (Judged("is it <red>?", "yes", "yes", 0.91), Judged("how many?", "2", "3", 0.4))
    text, parsed = page(
        tmp_path,
        DemoReport(
            "A & B",
            ("Two paragraphs.", "This is one."),
            rows=(Row("Questions", "accuracy", 0.653, 0.26, 0.43, 0.871), Row("Pairs", "accuracy", 0.6)),
            asked=(Asked(picture, judged),),
            retrieved=(Retrieved("a dog", (picture,) * 5, 1), Retrieved("a cat", (picture,) * 5, None)),
            pairs=(Pair(picture, Image.fromarray(picture), judged),),
            plots=(Plot("Loss", (Curve("mlm", [0, 1], [3, 2]),)),),
            commands=("make demo",),
        ),
    )
    images = [attributes for tag, attributes in parsed.seen if tag == "img"]
    assert len(images) == 1 + 10 + 2
    assert all(i["src"].startswith("data:image/png;base64,") and i["alt"] for i in images)
    assert not re.search(r"<script|<link|https?://|url\(|@import", text)
    assert "A &amp; B" in text and "is it &lt;red&gt;?" in text
    assert ">65.3<" in text and ">43.0<" in text and ">–<" in text
    assert text.count("should be 3") == 2 and "should be yes" not in text
    assert text.count(", the right one") == 1 and text.count("not among them") == 1


def test_empty_parts_and_columns_are_left_out(tmp_path):
    text, _ = page(tmp_path, DemoReport("Small", rows=(Row("Pairs", "accuracy", 0.6, chance=0.5),)))
    assert "text alone" not in text and "shipped</th>" not in text and "chance</th>" in text
    assert text.count("<h2>") == 1


def test_pictures_are_made_small(tmp_path):
    write_report(DemoReport("Large", asked=(Asked(Image.new("RGB", (4000, 3000)), ()),)), tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 50_000


def test_a_broken_picture_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.png"):
        write_report(DemoReport("Broken", asked=(Asked("nowhere.png", ()),)), tmp_path / "report.html")
