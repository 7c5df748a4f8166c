"""FIBER's fine stage: captions, prompts and transforms as the reference makes them."""

import json

import numpy as np
import pytest
import tokenizers
import torch
from PIL import Image

from tests.golden.vectors import Tolerance, assert_close, load, vectors
from vlfuse.data.collate import join_pictures
from vlfuse.data.prompts import Negatives, PromptMaker, class_prompts, clean_name, join_names
from vlfuse.data.scaling import ScaleTransform, inclusive_boxes, scaled_size
from vlfuse.data.spans import positive_map
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import stretch

LONG = 10**6
CAPTIONS = pytest.mark.parametrize("path", vectors("fiber_fine_captions*.json"))
TRANSFORMS = pytest.mark.parametrize("path", vectors("fiber_fine_transforms*.json"))


def captions_of(path):
    meta = json.loads(path.read_text())
    return meta, Tokenizer(tokenizers.Tokenizer.from_file(str(path.with_name(meta["tokenizer_file"]))))


def assert_rows(found, expected):
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert row.nonzero().flatten().tolist() == wanted["columns"]
        if wanted["columns"]:
            torch.testing.assert_close(row.max(), torch.tensor(wanted["value"]), rtol=0, atol=0)
            assert row.unique().numel() <= 2


@CAPTIONS
def test_positive_maps(path):
    meta, tokenizer = captions_of(path)
    for case in meta["positive_maps"]:
        width = case["positive_map_width"]
        encoded = tokenizer.encode_fully([case["caption"]], width)
        ids = encoded.tokens.ids[0]
        assert ids.tolist() == case["encoding"]["ids"]
        assert encoded.offsets[0].tolist() == case["encoding"]["offsets"]
        assert [tokenizer.backend.id_to_token(int(i)) for i in ids] == case["encoding"]["tokens"]
        groups = [[tuple(span) for span in spans] for spans in case["tokens_positive"]]
        found = positive_map(case["caption"], encoded.offsets[0], groups, width)
        assert found.shape[1] == width
        assert_rows(found, case["rows"])


@CAPTIONS
def test_detection_queries(path):
    meta, tokenizer = captions_of(path)
    for case in meta["detection_queries"]:
        settings = case["settings"]
        around, others = None, ()
        if settings.get("DATASETS.USE_CAPTION_PROMPT"):
            parts = settings["DATASETS.CAPTION_PROMPT"]
            assert [part["name"] for part in parts] == case["names"]
            around = [(part["prefix"], part["suffix"]) for part in parts]
        if settings.get("DATASETS.USE_SUPRESS_QUERY"):
            others = settings["DATASETS.SUPRESS_QUERY"]
        separator = case["separation_tokens"]
        if others:  # names that no score is asked for belong to one prompt
            names = [clean_name(name) for name in case["names"]]
            prompts = [join_names(names, None, separator, around, others)]
        else:
            size = settings.get("TEST.CHUNKED_EVALUATION", 0)
            prompts = class_prompts(case["names"], tokenizer, LONG, size, separator, around)
        for prompt, chunk in zip(prompts, case["chunks"], strict=True):
            assert prompt.text == chunk["query"]
            assert tokenizer.encode([prompt.text], LONG).ids[0].tolist() == chunk["ids"]
            columns = [row.nonzero().flatten().tolist() for row in prompt.map(tokenizer, LONG)]
            labels = [str(case["labels"][thing]) for thing in prompt.things]
            assert dict(zip(labels, columns, strict=True)) == chunk["label_to_tokens"]


@CAPTIONS
def test_boxes_with_classes_become_captions(path):
    meta, tokenizer = captions_of(path)
    for case in meta["od_to_caption_all_classes"]:
        labels, names = list(case["classes"]), list(case["classes"].values())
        parts = case["caption_prompt"]
        around = tuple((part["prefix"], part["suffix"]) for part in parts) if parts else ()
        maker = PromptMaker(tuple(names), tokenizer, LONG, None, False, case["separation_tokens"], around)
        prompt = maker.draw([], np.random.default_rng(0))
        if case["shuffled"]:
            shown = [clean_name(name) for name in names]
            order = [shown.index(piece) for piece in case["caption"].split(case["separation_tokens"])]
            prompt = join_names([shown[place] for place in order], order, case["separation_tokens"])
        assert prompt.text == case["caption"]
        spans = dict(zip((labels[thing] for thing in prompt.things), prompt.spans, strict=True))
        groups = [spans[str(label)] for label in case["gt_labels"]]
        assert [[list(span) for span in group] for group in groups] == case["tokens_positive"]
        offsets = tokenizer.encode_fully([prompt.text], LONG).offsets[0]
        assert_rows(positive_map(prompt.text, offsets, groups), case["rows"])


@CAPTIONS
def test_sampled_prompts_have_the_recorded_form(path):
    """The draws are the reference's own; what holds for all of them must hold for ours."""
    meta, tokenizer = captions_of(path)
    for case in meta["od_to_caption_sampled"]:
        known = {int(label) for label in case["label_to_positions"]} | set(case["positives"])
        query = next(query for query in meta["detection_queries"] if known <= set(query["labels"]))
        names, labels = [clean_name(name) for name in query["names"]], query["labels"]
        order = [labels.index(int(label)) for label in case["label_to_positions"]]
        recorded = join_names([names[place] for place in order], order)
        assert recorded.text == case["caption"]
        assert [list(spans[0]) for spans in recorded.spans] == list(case["label_to_positions"].values())
        negatives = Negatives(case["random_sample_negative"], one=0, none=0, full=1)
        maker = PromptMaker(tuple(names), tokenizer, case["max_query_len"], negatives)
        present = [labels.index(label) for label in case["positives"]]
        assert int(maker.lengths[present].sum()) == case["positive_caption_length_tokens"]
        for seed in range(5):
            prompt = maker.draw(present, np.random.default_rng(seed))
            assert set(present) <= set(prompt.things) and len(set(prompt.things)) == len(prompt.things)
            assert len(prompt.things) - len(present) <= case["random_sample_negative"]
            assert [prompt.text[slice(*spans[0])] for spans in prompt.spans] == [names[i] for i in prompt.things]
            assert int(tokenizer.encode([prompt.text], LONG).mask.sum()) <= case["max_query_len"]


@TRANSFORMS
def test_sizes(path):
    golden = load(path)
    columns = golden.meta["resize_table_columns"]
    for values in golden.meta["resize_table"]:
        row = dict(zip(columns, values, strict=True))
        assert scaled_size((row["w"], row["h"]), row["min"], row["max"]) == (row["out_w"], row["out_h"]), row


@TRANSFORMS
def test_pictures_and_boxes(path):
    golden = load(path)
    config, tolerance = golden.meta["config"], golden.tolerance
    image = Image.fromarray(golden["in/image_hwc_uint8"].numpy())
    given, shown = golden["in/boxes_xywh"], []
    boxes = torch.cat([given[:, :2], given[:, :2] + given[:, 2:]], dim=1)
    for route in ("detection", "grounding"):
        tidy, keep = inclusive_boxes(boxes, image.size)
        assert_close(tidy[keep], golden[f"out/boxes_route_{route}"], tolerance, route)
        assert (keep.nonzero().flatten() + 1).tolist() == golden[f"out/labels_route_{route}"].tolist()
    height, width = golden["out/resized_uint8"].shape[:2]
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    assert_close(torch.from_numpy(np.array(small)), golden["out/resized_uint8"], Tolerance(1.0), "resized")
    transform = ScaleTransform(
        (config["min_size"],),
        config["max_size"],
        mean=tuple(value / 255 for value in config["mean_bgr"][::-1]),
        std=tuple(value / 255 for value in config["std_bgr"][::-1]),
        bgr=True,
        inclusive=True,
    )
    for mirrored in (False, True):
        pixels, moved, keep = transform(image, boxes, np.random.default_rng(0), mirrored)
        assert_close(pixels, golden[f"out/image_flip{int(mirrored)}"], tolerance, f"flip {mirrored}")
        assert_close(moved[keep], golden[f"out/boxes_flip{int(mirrored)}"], tolerance, f"flip {mirrored}")
        shown.append(pixels)
    padded = golden["out/padded_batch"]
    seen = [padded[1].any(0).any(dim).sum() for dim in (1, 0)]  # the second picture is a part of the first
    batch = join_pictures([shown[0], shown[0][:, : seen[0], : seen[1]]], multiple=32)
    assert_close(batch.pixels, padded, tolerance, "padded")


@TRANSFORMS
def test_boxes_go_back(path):
    golden = load(path)
    height, width = golden["out/resized_uint8"].shape[:2]
    stored = golden["in/image_hwc_uint8"].shape[1::-1]
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [3.5, 2.25, 30.0, 20.0]])
    back = stretch(boxes, (width, height), *stored)
    assert_close(back, golden["out/back_to_original"], golden.tolerance, "back")
    rows = torch.cat([back[:, :2], back[:, 2:] - back[:, :2] + 1], dim=1)
    assert_close(rows, golden["out/back_to_original_xywh_plus1"], golden.tolerance, "as rows")
