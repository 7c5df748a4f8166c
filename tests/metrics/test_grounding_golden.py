"""Phrase recall and referring accuracy against the recorded results of the official tools."""

import json

import pytest

from tests.golden.vectors import vectors
from vlfuse.data.convert.flickr30k import parse_annotation, parse_sentence
from vlfuse.metrics.grounding import (
    PhraseResult,
    ReferringResult,
    pairwise_overlap,
    phrase_recall,
    referring_accuracy,
)


@pytest.mark.parametrize("path", vectors("metrics_flickr30k*.json"))
@pytest.mark.parametrize(("protocol", "key"), [("any", "any_box"), ("merged", "merged_boxes")])
def test_flickr_recall(path, protocol, key):
    meta = json.loads(path.read_text())
    given = meta["input"]
    things = {name: parse_annotation(xml) for name, xml in given["annotations_xml"].items()}
    results = []
    for row in given["predictions"]:
        boxes = things[row["image_id"]].boxes
        line = given["sentences_txt"][row["image_id"]].splitlines()[row["sentence_id"]]
        asked = [marked for marked in parse_sentence(line)[1] if marked.thing in boxes]
        for marked, found in zip(asked, row["boxes"], strict=True):
            results.append(PhraseResult(found, boxes[marked.thing], marked.kinds))
    found = phrase_recall(results, protocol, meta["topk"])
    for name, expected in meta["expected"][key].items():
        assert found[name] == pytest.approx(expected, abs=meta["tolerance"]), name


@pytest.mark.parametrize("path", vectors("metrics_flickr30k*.json"))
def test_flickr_parsing(path):
    meta = json.loads(path.read_text())
    expected = meta["expected_parsing"]
    for name, sentences in expected["sentences"].items():
        lines = meta["input"]["sentences_txt"][name].splitlines()
        for line, wanted in zip(lines, sentences, strict=True):
            text, phrases = parse_sentence(line)
            assert text == wanted["sentence"]
            assert [text[slice(*marked.span)] for marked in phrases] == [p["phrase"] for p in wanted["phrases"]]
            for marked, phrase in zip(phrases, wanted["phrases"], strict=True):
                assert marked.first_word == phrase["first_word_index"]
                assert (marked.thing, list(marked.kinds)) == (phrase["phrase_id"], phrase["phrase_type"])
    for name, wanted in expected["annotations"].items():
        things = parse_annotation(meta["input"]["annotations_xml"][name])
        assert (things.width, things.height, things.depth) == (wanted["width"], wanted["height"], wanted["depth"])
        assert {thing: [list(box) for box in boxes] for thing, boxes in things.boxes.items()} == wanted["boxes"]
        assert (things.nobox, things.scene) == (wanted["nobox"], wanted["scene"])


@pytest.mark.parametrize("path", vectors("metrics_refexp*.json"))
@pytest.mark.parametrize("overlap", ["iou", "giou"])
def test_referring(path, overlap):
    meta = json.loads(path.read_text())
    by_set = {}
    for item, row in zip(meta["input"], meta["expected"]["per_item"], strict=True):
        x, y, width, height = item["gt_bbox_xywh"]
        result = ReferringResult(item["boxes_xyxy"], item["scores"], [x, y, x + width, y + height])
        by_set.setdefault(item["dataset_name"], []).append(result)
        best = item["boxes_xyxy"][max(range(len(item["scores"])), key=item["scores"].__getitem__)]
        assert item["image_id"] == row["image_id"]
        overlaps = pairwise_overlap([best], [result.truth], overlap)[0, 0]
        assert overlaps == pytest.approx(row[f"top1_{overlap}"], abs=meta["tolerance"])
    for name, expected in meta["expected"][overlap].items():
        assert referring_accuracy(by_set[name], overlap) == pytest.approx(expected, abs=meta["tolerance"]), name
