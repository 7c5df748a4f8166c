"""Converters of data sets of captions, questions and statements, on extracts in their layout."""

import json
import os
from pathlib import Path

import pytest

from tests.data.sources import picture, png
from vlfuse.data.answers import AnswerList
from vlfuse.data.check import check
from vlfuse.data.convert import CONVERTERS
from vlfuse.data.readers import JsonlDataset, open_dataset
from vlfuse.types import DataError, Question, Statement

DATA = Path(os.environ.get("VLFUSE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        picture().save(folder / name)


def counts(report):
    return report.read, report.kept, dict(report.dropped)


def samples(path: Path):
    """All samples of a file, whose records must all be usable."""
    dataset = open_dataset(str(path))
    assert check(dataset).usable == len(dataset)
    return [dataset[i] for i in range(len(dataset))]


def test_karpathy(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    pictures(source / "val2014", "COCO_val2014_000000000042.jpg", "b.jpg", "c.jpg")

    def row(name, split, *texts, **more):
        return {"filename": name, "split": split, "sentences": [{"raw": text} for text in texts], **more}

    images = [
        row("COCO_val2014_000000000042.jpg", "test", "A dog. ", "Two dogs", cocoid=42),
        row("b.jpg", "restval", "a cat"),
        row("c.jpg", "train", " "),
        row("gone.jpg", "train", "nothing"),
    ]
    (source / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    report = CONVERTERS["karpathy"](source, out)
    assert counts(report) == (4, 2, {"picture is missing": 1, "it has no caption": 1})
    (test,) = samples(out / "test.jsonl")
    assert (test.id, test.captions, test.split) == ("42", ("A dog.", "Two dogs"), "test")
    assert samples(out / "restval.jsonl")[0].id == "b"


def test_visual_genome(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    pictures(source / "VG_100K", "1.jpg")
    regions = [{"phrase": text} for text in ("a dog", "a dog", " ", "the sky")]
    described = [{"id": 1, "regions": regions}, {"id": 2, "regions": regions[:1]}]
    (source / "region_descriptions.json").write_text(json.dumps(described))
    report = CONVERTERS["vg-captions"](source, out / "captions")
    dropped = {"phrase comes twice for its picture": 1, "phrase is blank": 1, "picture is missing": 1}
    assert counts(report) == (5, 2, dropped)
    assert samples(out / "captions" / "train.jsonl")[0].captions == ("a dog", "the sky")
    asked = [
        {"qa_id": 5, "question": "What is it?", "answer": "Brown dog."},
        {"qa_id": 6, "question": "Where?", "answer": "New York."},
        {"qa_id": 7, "question": "Who?", "answer": ""},
    ]
    (source / "question_answers.json").write_text(json.dumps([{"id": 1, "qas": asked}]))
    report = CONVERTERS["vg-qa"](source, out / "qa")
    assert counts(report) == (3, 2, {"question or answer is blank": 1})
    questions = samples(out / "qa" / "train.jsonl")[0].questions
    assert questions == (Question("What is it?", ("brown dog",), "5"), Question("Where?", ("New York",), "6"))


def test_conceptual_captions(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    lines = ["a red car\thttp://x/1.jpg", "http://x/2.jpg\ttwo cars", "nothing here", "late car\thttp://x/4.jpg"]
    (source / "Train_GCC-training.tsv").write_text("\n".join(lines) + "\n")
    report = CONVERTERS["conceptual-captions"](source, out)
    assert counts(report) == (4, 3, {"line has no caption and address": 1})
    kept = JsonlDataset(str(out / "Train_GCC-training.jsonl"))
    assert [kept[i].images[0] for i in range(3)] == ["http://x/1.jpg", "http://x/2.jpg", "http://x/4.jpg"]
    assert kept[1].captions == ("two cars",)
    pictures(source / "images" / "Train_GCC-training", "000000001.jpg", "0.jpg")
    report = CONVERTERS["conceptual-captions"](source, out)
    assert counts(report) == (4, 2, {"line has no caption and address": 1, "picture was not downloaded": 1})
    assert [s.captions[0] for s in samples(out / "Train_GCC-training.jsonl")] == ["a red car", "two cars"]


def test_sbu(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "SBU_captioned_photo_dataset_urls.txt").write_text("http://x/1.jpg\nhttp://x/2.jpg\n")
    with pytest.raises(DataError, match="belong together"):
        CONVERTERS["sbu"](source, out)
    (source / "SBU_captioned_photo_dataset_captions.txt").write_text("my boat\n\n")
    assert counts(CONVERTERS["sbu"](source, out)) == (2, 1, {"line has no caption and address": 1})
    (source / "SBU_captioned_photo_dataset_urls.txt").unlink()
    (source / "sbu.tsv").write_text("url\tcaption\nhttp://x/1.jpg\tmy boat\n")
    assert counts(CONVERTERS["sbu"](source, out)) == (1, 1, {})
    (source / "images").mkdir()
    with pytest.raises(DataError, match="no pictures named by line number"):
        CONVERTERS["sbu"](source, out)


def test_snli_ve(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    pictures(source / "flickr30k-images", "7.jpg")

    def row(image, label):
        return {"Flickr30K_ID": image, "gold_label": label, "sentence2": "A dog runs. "}

    rows = [row("7", "entailment"), row("7", "neutral"), row("7", "-"), row("7", "maybe"), row("8", "neutral")]
    (source / "snli_ve_dev.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    report = CONVERTERS["snli-ve"](source, out)
    reasons = {"annotators did not agree on a label": 1, "picture is missing": 1}
    assert counts(report)[:2] == (5, 2) and reasons.items() <= report.dropped.items()
    assert any("'maybe' is none of" in reason for reason in report.dropped)
    (sample,) = samples(out / "dev.jsonl")
    assert sample.statements == (Statement("A dog runs.", "entailment"), Statement("A dog runs.", "neutral"))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set VLFUSE_DATA to the folder of public data sets")
def test_snli_ve_as_published(tmp_path):
    given = (DATA / "formats" / "snli_ve" / "snli_ve_dev_sample.jsonl").read_text()
    (tmp_path / "snli_ve_dev.jsonl").write_text(given)
    names = {json.loads(line)["Flickr30K_ID"] for line in given.splitlines()}
    pictures(tmp_path / "images", *(f"{name}.jpg" for name in names))
    report = CONVERTERS["snli-ve"](tmp_path, tmp_path / "out")
    assert counts(report) == (60, 60, {}) and report.written == {str(tmp_path / "out" / "dev.jsonl"): len(names)}


def test_gqa(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    pictures(source / "images", "n1.jpg")
    asked = {
        "01": {"imageId": "n1", "question": "Is it red? ", "answer": "yes", "types": {}},
        "02": {"imageId": "gone", "question": "What?", "answer": "dog"},
    }
    (source / "val_balanced_questions.json").write_text(json.dumps(asked))
    (source / "train_all_questions").mkdir()
    part = {"9": {"imageId": "n1", "question": "Who?"}}
    (source / "train_all_questions" / "train_all_questions_0.json").write_text(json.dumps(part))
    assert counts(CONVERTERS["gqa"](source, out)) == (3, 2, {"picture is missing": 1})
    assert samples(out / "val_balanced.jsonl")[0].questions == (Question("Is it red?", ("yes",), "01"),)
    assert samples(out / "train_all_0.jsonl")[0].questions == (Question("Who?", (), "9"),)


def write_arrow(path: Path, **columns) -> None:
    arrow = pytest.importorskip("pyarrow")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = arrow.table(columns)
    with arrow.OSFile(str(path), "wb") as sink, arrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def test_arrow(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    names = ["COCO_a.jpg", "b", "c"]
    captions = [["a dog", "a dog", "two"], [], ["x"]]
    write_arrow(
        source / "coco.arrow", image=[png(0), png(1), b""], caption=captions, image_id=names, split=["test"] * 3
    )
    write_arrow(
        source / "vqav2_val.arrow",
        image=[png(2)],
        questions=[["What?", "How many?"]],
        answers=[[["net", "racket"], ["2"]]],
        answer_scores=[[[1.0, 0.3], [0.9]]],
        question_id=[[420, 421]],
        image_id=[42],
    )
    write_arrow(
        source / "nlvr2_dev.arrow",
        image_0=[png(3)],
        image_1=[png(4)],
        questions=[["one", "two"]],
        answers=[["True", "False"]],
        identifier=[["dev-1-0-0", "dev-1-0-1"]],
    )
    report = CONVERTERS["arrow"](source, out)
    assert counts(report) == (5, 3, {"it has no texts": 1, "picture is empty": 1})
    (coco,) = samples(out / "coco.jsonl")
    assert (coco.id, coco.captions, coco.split) == ("COCO_a.jpg", ("a dog", "two"), "test")
    (asked,) = samples(out / "vqav2_val.jsonl")
    assert [q.id for q in asked.questions] == ["420", "421"]
    target = AnswerList(("net", "racket", "2")).target
    assert target(asked.questions[0].answers).tolist() == pytest.approx([1.0, 0.3, 0])
    assert target(asked.questions[1].answers).tolist() == pytest.approx([0, 0, 0.9])
    assert AnswerList.from_samples([asked]).answers == ("net", "2")
    (pair,) = samples(out / "nlvr2_dev.jsonl")
    assert pair.id == "dev-1-0" and len(pair.images) == 2
    assert pair.statements == (Statement("one", "true"), Statement("two", "false"))


def test_arrow_of_another_kind(tmp_path):
    write_arrow(tmp_path / "x.arrow", depth=[1])
    with pytest.raises(DataError, match="neither caption nor questions, but depth"):
        CONVERTERS["arrow"](tmp_path, tmp_path / "out")
    (tmp_path / "x.arrow").write_bytes(b"no")
    with pytest.raises(DataError, match="is no Arrow file"):
        CONVERTERS["arrow"](tmp_path, tmp_path / "out")
