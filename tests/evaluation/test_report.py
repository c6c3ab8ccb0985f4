"""The report page, the tables and the files beside it."""

import csv
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxflow import files
from jaxflow.errors import InputError
from jaxflow.reports.page import Picture, write_report
from jaxflow.reports.tables import (
    ResultRow,
    ScoresFile,
    format_table,
    result_table,
    write_scores_csv,
)

ROWS = [
    ResultRow("last", "nll", {"image_auroc": 0.9126, "image_threshold": 1.23456}),
    ResultRow("last", "probability", {"image_auroc": 0.8}, {"pixel_auroc": "no masks"}),
    ResultRow("best on test", "nll", {"image_auroc": 0.95}, {"pixel_auroc": "no masks"}, True),
]


class Page(HTMLParser):
    """Collects the links, and the tags that are left open."""

    def __init__(self):
        super().__init__()
        self.links, self.open, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def write(folder, **changes):
    arguments = {"title": "a run", "protocol": {"seed": 0, "limit": None}, "rows": ROWS}
    return write_report(folder, **{**arguments, **changes}).read_text(encoding="utf-8")


def test_page_is_well_formed_and_links_only_to_its_own_pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a #1%.png").write_bytes(b"png")
    text = write(tmp_path, pictures=[Picture("pictures/a #1%.png", "one")])
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.links == ["pictures/a%20%231%25.png"]
    assert "http" not in text
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_everything_written_by_others_is_escaped(tmp_path):
    evil = '<script>alert("x")</script>&'
    (tmp_path / "a.png").write_bytes(b"png")
    row = ResultRow(evil, evil, {"image_auroc": 0.5}, {evil: evil})
    picture = Picture("a.png", evil)
    text = write(
        tmp_path,
        title=evil,
        protocol={evil: evil},
        rows=[row],
        pictures=[picture],
        curves=[picture],
        notes=[evil],
    )
    assert "<script" not in text
    assert 'alert("x")' not in text
    assert text.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;") == 13


def test_page_shows_figures_marks_the_oracle_and_gives_reasons(tmp_path):
    text = write(tmp_path)
    assert '<tr class="oracle"><th scope="row">best on test (oracle)</th>' in text
    assert text.count('class="oracle"') == 1
    assert ">0.913<" in text
    assert ">1.235<" in text
    assert text.count("<li>no masks: pixel_auroc</li>") == 1
    assert '<th scope="row">limit</th><td>–</td>' in text


def test_metric_that_no_row_has_gets_no_column(tmp_path):
    text = write(tmp_path)
    assert "image AUROC" in text
    assert "pixel AUPRO" not in text


def test_each_kind_of_defect_has_a_row_of_its_own(tmp_path):
    assert "By kind of defect" not in write(tmp_path)
    found = {"image_auroc": 0.8, "image_auroc/<bent>": 0.71, "pixel_aupimo/cut": 0.25}
    text = write(tmp_path, rows=[ResultRow("last", "nll", found)])
    section = text.partition("By kind of defect")[2].partition("</table>")[0]
    assert re.findall(r"<td>(.*?)</td>", section) == ["nll, &lt;bent&gt;", "nll, cut"]
    assert re.findall(r'<td class="number">(.*?)</td>', section) == ["0.710", "–", "–", "0.250"]


def test_worst_mistakes_come_first(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(b"png")
    pictures = [
        Picture("a.png", "A", severity=9.0),
        Picture("b.png", "B", mistake="missed", severity=0.1),
        Picture("c.png", "C", mistake="missed", severity=0.7),
        Picture("d.png", "D", severity=10.0),
    ]
    text = write(tmp_path, pictures=pictures)
    assert re.findall(r'src="(.)\.png"', text) == ["c", "b", "d", "a"]
    assert text.count(">missed:<") == 2


def test_pictures_that_are_missing_or_outside_are_refused(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (tmp_path / "a.png").write_bytes(b"png")
    for path in ("a.png", "../a.png", str(tmp_path / "a.png")):
        with pytest.raises(InputError, match="is not a file in"):
            write(folder, pictures=[Picture(path, "one")])
    with pytest.raises(InputError, match="does not exist"):
        write(tmp_path / "nowhere")
    assert list(folder.iterdir()) == []


def test_table_is_aligned_and_dashes_stand_for_missing_metrics():
    lines = format_table(result_table(ROWS)).splitlines()
    assert lines == [
        "selection              score        image_auroc  image_threshold",
        "last                   nll                0.913            1.235",
        "last                   probability        0.800                –",
        "best on test (oracle)  nll                0.950                –",
    ]


def test_markdown_table_has_rules_and_escaped_bars():
    text = format_table([{"name": "a|b", "value": 1.0}, {"name": "c", "value": None}], True)
    assert text.splitlines() == [
        "| name | value |",
        "|------|------:|",
        "| a\\|b | 1.000 |",
        "| c    |     – |",
    ]


def test_result_table_shows_the_metrics_asked_for_in_their_order():
    rows = result_table(ROWS[:1], ["pixel_auroc", "image_auroc"])
    assert rows == [
        {"selection": "last", "score": "nll", "pixel_auroc": None, "image_auroc": 0.9126}
    ]


def test_csv_gives_every_score_back_exactly(tmp_path):
    names = ["a,b.png", 'quote".png', "件.png"]
    scores = np.random.default_rng(0).normal(size=3).astype(np.float32)
    path = write_scores_csv(
        tmp_path / "scores.csv",
        names,
        [0, 1, 1],
        ["", "hole", "spot"],
        {"nll": scores, "probability": -scores},
        {"nll": scores >= 0},
    )
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    assert [row["label"] for row in rows] == ["0", "1", "1"]
    assert [row["defect"] for row in rows] == ["", "hole", "spot"]
    assert [np.float32(row["anomaly_score_nll"]) for row in rows] == list(scores)
    assert [row["decision_nll"] == "anomalous" for row in rows] == list(scores >= 0)


def test_csv_without_labels_leaves_their_columns_out(tmp_path):
    path = write_scores_csv(tmp_path / "s.csv", ["a"], None, None, {"nll": [0.5]})
    assert path.read_text() == "name,anomaly_score_nll\na,0.5\n"
    with pytest.raises(InputError, match="anomaly_score_nll: 2 values for 1 images"):
        write_scores_csv(path, ["a"], None, None, {"nll": [0.5, 0.6]})


def test_a_growing_csv_bears_our_mark_from_the_start_or_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"
    with ScoresFile(path, ["nll"]) as rows:
        assert path.read_text() == "name,anomaly_score_nll\n"
        rows.append(["a.png"], [np.array([1.5])])
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space"), ScoresFile(path, ["nll"]):
        pass
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
