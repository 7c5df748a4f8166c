"""Batches: what is in them, their order, and bad samples on the way."""

import gc
import os
import time
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch

from tests.data.sources import jsonl, picture, record
from vlfuse.data.answers import AnswerList
from vlfuse.data.cache import Cached
from vlfuse.data.collate import Collate
from vlfuse.data.loader import Loader
from vlfuse.data.mixture import Mixture
from vlfuse.data.problems import SampleError
from vlfuse.data.readers import JsonlDataset
from vlfuse.data.tokenizer import Tokenizer
from vlfuse.data.transforms import EvalTransform, TrainTransform
from vlfuse.types import ConfigError, DataError, Question, Sample, Statement

TOKENIZER = Tokenizer.load("scenes")
TRAIN = Collate(
    TOKENIZER,
    TrainTransform(16, flip=True),
    max_text=12,
    captions=1,
    questions=1,
    statements=1,
    answers=AnswerList(("no", "yes")),
    labels=("false", "true"),
)
EVAL = replace(TRAIN, transform=EvalTransform(16), captions=-1, questions=-1, statements=-1, mask_probability=0.0)


class Memory:
    """Samples in a list; an exception in it is raised when asked for."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def sample(number, **fields):
    return Sample(str(number), (np.asarray(picture(number)),), captions=(f"number {number}",), **fields)


def collate(collator, *samples, seed=0):
    return collator([(item, np.random.default_rng([seed, i])) for i, item in enumerate(samples)])


def content(batches):
    """All that a model could see of the batches, to compare runs bit by bit."""
    tensors = []
    for batch in batches:
        tensors += [batch.images.pixels, batch.images.sizes]
        for texts in (batch.captions, batch.questions, batch.statements):
            if texts is not None:
                tensors += [
                    texts.tokens.ids,
                    texts.tokens.mask,
                    texts.owner,
                    texts.target,
                    texts.masked_ids,
                    texts.mask_labels,
                ]
    return [None if t is None else t.numpy().tobytes() for t in tensors]


def ids(batches):
    return [[s.id for s in batch.samples] for batch in batches]


def flat(groups):
    return list(chain.from_iterable(groups))


# --- collation ---------------------------------------------------------------------------------------------------------


def test_evaluation_takes_every_text_in_order():
    questions = (Question("is it red?", ("no",) * 10, "q1"), Question("how many?", ("three",)))
    first = sample(1, questions=questions, statements=(Statement("it is red", "true"), Statement("it is blue")))
    second = replace(sample(2), captions=("one", "two things there"))
    batch = collate(EVAL, first, second)
    assert batch.images.pixels.shape == (2, 3, 16, 16) and batch.images.sizes.tolist() == [[16, 16]] * 2
    assert batch.captions.records == ("number 1", "one", "two things there")
    assert batch.captions.owner.tolist() == [0, 1, 1] and batch.captions.masked_ids is None
    assert batch.questions.owner.tolist() == [0, 0] and batch.questions.records == questions
    assert batch.questions.target.tolist() == [[1, 0], [0, 0]]
    assert batch.statements.target.tolist() == [1, -100]
    assert batch.captions.tokens.ids.shape[1] == batch.captions.tokens.mask.sum(1).max()
    assert [s.id for s in batch.samples] == ["1", "2"] and batch.samples[0].images == ("",)


def test_training_picks_texts_that_teach():
    questions = (Question("open?", ("something else",)), Question("closed?", ("yes",)))
    batch = collate(
        TRAIN, sample(1, questions=questions, statements=(Statement("a"), Statement("b", "false"))), sample(2)
    )
    assert [q.question for q in batch.questions.records] == ["closed?"]
    assert [s.text for s in batch.statements.records] == ["b"]
    assert collate(TRAIN, sample(1)).questions is None


def test_training_picks_at_random_up_to_k():
    many = replace(sample(1), captions=tuple(f"caption {i}" for i in range(5)))
    picked = [collate(replace(TRAIN, captions=2), many, seed=seed).captions.records for seed in range(20)]
    assert all(len(set(pair)) == 2 for pair in picked) and len({c for pair in picked for c in pair}) == 5
    assert collate(replace(TRAIN, captions=0), many).captions is None


def test_targets_are_absent_where_unknown():
    unknown = sample(1, statements=(Statement("a"),), questions=(Question("q?"),))
    batch = collate(replace(EVAL, answers=None), unknown)
    assert batch.statements.target is None and batch.questions.target is None
    with pytest.raises(SampleError, match="label 'neutral'; this task knows false, true"):
        collate(EVAL, sample(1, statements=(Statement("a", "neutral"),)))


def test_pairs_take_two_image_rows():
    pairs = [
        Sample(
            str(i), tuple(np.asarray(picture(10 * i + j)) for j in range(2)), statements=(Statement("both", "true"),)
        )
        for i in range(3)
    ]
    batch = collate(EVAL, *pairs)
    assert batch.images.pixels.shape[0] == 6
    assert batch.statements.owner.tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ConfigError, match="mixes samples of one picture and of two"):
        collate(EVAL, pairs[0], sample(1))


def test_a_sample_is_the_same_in_any_batch():
    one = sample(1, questions=(Question("is this so?", ("yes",)),))
    rng = partial(np.random.default_rng, 5)
    alone = TRAIN([(one, rng())])
    long = replace(sample(2), captions=("a longer text makes more padding for all others",))
    beside = TRAIN([(long, np.random.default_rng(1)), (one, rng())])
    width = alone.captions.tokens.ids.shape[1]
    assert torch.equal(alone.images.pixels[0], beside.images.pixels[1])
    assert torch.equal(alone.captions.masked_ids[0], beside.captions.masked_ids[1, :width])
    assert torch.equal(alone.captions.mask_labels[0], beside.captions.mask_labels[1, :width])
    assert (beside.captions.mask_labels[1, width:] == -100).all()


def test_fixed_shapes_and_long_captions():
    long = replace(sample(1), captions=("red circle " * 1000,))
    batch = collate(replace(TRAIN, pad_to_max=True, mask_probability=1.0), long, sample(2))
    assert batch.captions.tokens.ids.shape == batch.captions.masked_ids.shape == (2, 12)
    assert batch.captions.tokens.ids[0, -1] == TOKENIZER.eos_id and batch.captions.mask_labels[0, -1] == -100


# --- order ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path):
    return JsonlDataset(jsonl(tmp_path, 11))


def test_workers_change_nothing(dataset):
    alone = Loader(dataset, TRAIN, 3, seed=1)
    reference = [content(alone.iterate(epoch)) for epoch in (0, 1)]
    assert reference[0] != reference[1]
    helped = Loader(dataset, TRAIN, 3, seed=1, workers=2)
    before = torch.random.get_rng_state()
    assert [content(helped.iterate(epoch)) for epoch in (0, 1)] == reference
    assert torch.equal(before, torch.random.get_rng_state())
    assert content(helped.iterate(0, start_step=2)) == content(alone.iterate(0, start_step=2))


def test_an_abandoned_epoch_leaves_no_trace(dataset):
    loader = Loader(dataset, TRAIN, 2, workers=2)
    next(loader.iterate(0))
    assert content(loader.iterate(1)) == content(Loader(dataset, TRAIN, 2).iterate(1))


def test_any_step_is_reached_without_reading_what_came_before(dataset):
    read = []

    class Watched(Memory):
        def __getitem__(self, index):
            read.append(index)
            return dataset[index]

    loader = Loader(Watched([0] * 11), TRAIN, 3, seed=2)
    whole = ids(loader.iterate(4))
    read.clear()
    assert ids(loader.iterate(4, start_step=2)) == whole[2:]
    assert len(read) == 3
    assert len(loader) == 3 and flat(whole) != flat(ids(loader.iterate(5)))


def test_every_process_takes_its_part_of_the_same_batches(dataset):
    together = list(Loader(dataset, TRAIN, 4, seed=3).iterate(1))
    parts = [list(Loader(dataset, TRAIN, 4, seed=3, rank=rank, world_size=2).iterate(1)) for rank in range(2)]
    for whole, *halves in zip(together, *parts, strict=True):
        assert torch.equal(whole.images.pixels, torch.cat([half.images.pixels for half in halves]))
    with pytest.raises(ConfigError, match="batch_size 4 cannot be shared by 3 processes; use a multiple of 3"):
        Loader(dataset, TRAIN, 4, world_size=3)
    with pytest.raises(ConfigError, match="has 11 samples, fewer than one batch of 12; lower"):
        Loader(dataset, TRAIN, 12)


def test_evaluation_reads_all_in_order(dataset):
    loader = Loader(dataset, EVAL, 4, shuffle=False)
    assert len(loader) == 3
    assert ids(loader.iterate()) == [list("0123"), list("4567"), ["8", "9", "10"]]
    parts = [Loader(dataset, EVAL, 4, shuffle=False, rank=rank, world_size=4) for rank in range(4)]
    assert sorted(int(i) for part in parts for i in flat(ids(part.iterate()))) == list(range(11))


class ThreadCount(Collate):
    def join(self, prepared):
        batch = super().join(prepared)
        return replace(batch, samples=(torch.get_num_threads(), os.getpid()))


def test_workers_use_one_thread_each(dataset):
    collator = ThreadCount(TOKENIZER, EvalTransform(16), 12, captions=1)
    seen = [batch.samples for batch in Loader(dataset, collator, 2, workers=2).iterate()]
    assert {threads for threads, _ in seen} == {1}
    assert os.getpid() not in {process for _, process in seen}


# --- bad samples -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_training_replaces_a_bad_sample_and_counts_it_once(tmp_path, caplog, workers):
    path = jsonl(tmp_path, 8, {2: "{", 3: '{"image": "x.png", "what": 1}'})
    (tmp_path / "images" / "5.png").write_bytes(b"nothing")
    loader = Loader(JsonlDataset(path), TRAIN, 4, workers=workers)
    for epoch in range(2):
        got = ids(loader.iterate(epoch))
        assert [len(batch) for batch in got] == [4, 4]
        assert sorted(flat(got)) == list("01444667")  # 2, 3 and 5 each by the next that is usable
    assert len(loader.problems) == 3
    assert loader.problems.by_kind() == {"record": 2, "broken image": 1}
    assert sorted(caplog.text.count(f"{path}:{line}:") for line in (3, 4, 6)) == [1, 1, 1]


def test_evaluation_leaves_a_bad_sample_out(tmp_path):
    path = jsonl(tmp_path, 5, {1: "{", 4: "{"})
    loader = Loader(JsonlDataset(path), EVAL, 2, shuffle=False)
    assert ids(loader.iterate()) == [["0"], ["2", "3"]]
    assert len(loader.problems) == 2


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("shuffle", [True, False])
def test_strict_stops_and_names_the_line(tmp_path, workers, shuffle):
    path = jsonl(tmp_path, 4, {1: "{"})
    loader = Loader(JsonlDataset(path), TRAIN, 2, workers=workers, shuffle=shuffle, strict=True)
    with pytest.raises(DataError, match=r"^[^\n]*data.jsonl:2: not valid JSON[^\n]*$"):
        list(loader.iterate())


def test_a_dataset_without_a_usable_sample_stops():
    bad = Memory([SampleError("record", f"x:{i}", "no") for i in range(3)])
    with pytest.raises(DataError, match="x:"):
        list(Loader(bad, TRAIN, 2).iterate())


# --- several datasets, and memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_mixtures_keep_shares_and_resume_anywhere(workers):
    def mixture(workers=workers):
        small, large = Memory([sample(i) for i in range(4)]), Memory([sample(100 + i) for i in range(20)])
        return Mixture([Loader(small, TRAIN, 2, workers=workers), Loader(large, TRAIN, 4)], [1, 2.1], steps=9)

    mixed = mixture()
    assert len(mixed) == 9
    epochs = [ids(mixed.iterate(epoch)) for epoch in range(3)]
    for batches in epochs:
        assert sorted(map(len, batches)) == [2, 2, 2, 4, 4, 4, 4, 4, 4]
        assert all(len({int(i) >= 100 for i in batch}) == 1 for batch in batches)
    seen = [i for batches in epochs for batch in batches if len(batch) == 2 for i in batch]
    assert sorted(seen[:4]) == sorted(seen[4:8]) == list("0123")  # its own epochs go on through those of the mixture
    assert ids(mixture().iterate(2, start_step=5)) == epochs[2][5:]
    assert content(mixture(0).iterate(1)) == content(mixture(2).iterate(1))


def test_mixtures_refuse_weights_that_cannot_be():
    loader = Loader(Memory([sample(1)]), TRAIN, 1)
    with pytest.raises(ConfigError, match="as many weights above 0"):
        Mixture([loader], [0.0], steps=3)


def test_a_cache_gives_the_same_batches(tmp_path):
    path = jsonl(tmp_path, 6, {2: "{"})
    dataset = JsonlDataset(path)
    cached = Cached(dataset)
    for number in range(6):
        (tmp_path / "images" / f"{number}.png").unlink()
    assert cached.bytes == 5 * 12 * 10 * 3
    loader = Loader(cached, TRAIN, 3, workers=2)
    got = list(loader.iterate())
    assert len(loader.problems) == 1
    jsonl(tmp_path, 6, {2: "{"})
    assert content(got) == content(Loader(dataset, TRAIN, 3).iterate())
    with pytest.raises(ConfigError, match="do not cache this dataset"):
        Cached(dataset, limit=500)


def test_records_are_those_of_the_schema():
    assert {"id", "image", "captions", "questions", "statements"} == set(record(0))


def test_a_failed_run_stops_its_workers_at_once(tmp_path):
    """A traceback ties loader and workers into a cycle; collecting it must not wait for workers in vain."""
    loader = Loader(JsonlDataset(jsonl(tmp_path, 4, {1: "{"})), TRAIN, 2, workers=2, strict=True)
    try:
        list(loader.iterate())
    except DataError as error:
        kept = error  # noqa: F841  # frame -> error -> traceback -> frame
    del loader
    start = time.monotonic()
    gc.collect()
    assert time.monotonic() - start < 4
