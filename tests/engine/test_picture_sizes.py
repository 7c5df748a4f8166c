"""Sources and evaluations whose pictures have another size than the run's, such as trays beside square scenes."""

import json
from dataclasses import replace

import pytest
import torch

from tests.engine.test_build import DATA, run_of
from tests.engine.test_loaders import HEAD, SCENES, regions_run
from vlfuse.checkpoints.folder import Preprocessing
from vlfuse.data.scenes import SceneDataset
from vlfuse.data.transforms import normalise
from vlfuse.engine import build as building
from vlfuse.engine.build import build
from vlfuse.engine.run import Boxes, Evaluation, Source, load_run, save_run
from vlfuse.engine.train import train
from vlfuse.types import ConfigError

TRAYS = "scenes:8,trays=1,size=100"
SQUARES = Source(DATA, {"mlm": 1.0}, 4, captions=1)
WIDE = Source(TRAYS, {"nlvr": 1.0}, 4, statements=2, image_size=128)


def wide_run(out, **changes):
    return run_of(out, **{"sources": (SQUARES, WIDE), "keep_aspect": True, **changes})


@pytest.fixture
def loaders(monkeypatch):
    """Those of the evaluations that are built."""
    made, plain = [], building.evaluation_loader
    monkeypatch.setattr(building, "evaluation_loader", lambda *a, **k: made.append(plain(*a, **k)) or made[-1])
    return made


def shape(loader):
    """[height, width] of its pictures, all of which fill their batch."""
    images = next(loader.iterate()).images
    assert (images.sizes == torch.tensor(images.pixels.shape[-2:])).all()
    return list(images.pixels.shape[-2:])


def test_a_source_has_pictures_of_its_own_size(tmp_path):
    built = build(wide_run(tmp_path))
    assert [shape(loader) for loader in built.loaders] == [[64, 64], [64, 256]]
    assert built.preprocessing.size == 64, "what is saved with the model is the run's"
    plain = build(wide_run(tmp_path, sources=(SQUARES, replace(WIDE, image_size=0))))
    assert [shape(loader) for loader in plain.loaders] == [[64, 64], [32, 128]], "as many pixels as a square has"
    for loader, source in zip(built.loaders, (SQUARES, WIDE), strict=True):
        results = built.model(next(loader.iterate()), tuple(source.heads))
        assert all(result["loss"].isfinite() for result in results.values())


def test_trays_of_that_height_are_shown_as_drawn(tmp_path):
    data = TRAYS.replace("100", "64")
    batch = next(build(wide_run(tmp_path, sources=(SQUARES, replace(WIDE, data=data)))).loaders[1].iterate())
    drawn = SceneDataset(8, trays=True, size=64)
    pictures = {sample.id: sample.images[0] for sample in (drawn[i] for i in range(8))}
    given = Preprocessing(64, 40)
    for pixels, sample in zip(batch.images.pixels, batch.samples, strict=True):
        torch.testing.assert_close(pixels, normalise(pictures[sample.id], given.mean, given.std))


@pytest.mark.parametrize("augment", ["none", "crop"])
def test_squares_and_parts_have_the_size_too(tmp_path, augment):
    sources = (SQUARES, replace(WIDE, augment=augment))
    built = build(wide_run(tmp_path, sources=sources, keep_aspect=False))
    assert [shape(loader) for loader in built.loaders] == [[64, 64], [128, 128]]


def test_an_evaluation_has_pictures_of_its_own_size(tmp_path, loaders):
    evaluations = (
        Evaluation("nlvr", TRAYS + ",split=val", image_size=128, name="wide"),
        Evaluation("nlvr", TRAYS + ",split=val", name="plain"),
        Evaluation("nlvr", "scenes:8,size=64,split=val", name="squares"),
    )
    run = wide_run(tmp_path, evaluations=evaluations)
    built = build(run)
    assert [shape(loader) for loader in loaders] == [[64, 256], [32, 128], [64, 64]]
    train(run, built.model, built.loaders, built.evaluators)
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert scores["wide/count"] == scores["plain/count"] == 16


def test_what_looks_for_regions_is_scored_at_the_short_side_asked(tmp_path, loaders):
    data = "scenes:3,size=64,split=test"
    evaluations = (
        Evaluation("referring", data, image_size=96, name="large"),
        Evaluation("referring", data, name="as trained"),
    )
    build(regions_run(tmp_path, heads=HEAD, evaluations=evaluations))
    assert [shape(loader) for loader in loaders] == [[96, 96], [64, 64]]


def test_sizes_come_back_as_saved(tmp_path):
    run = wide_run(tmp_path, evaluations=(Evaluation("nlvr", TRAYS, image_size=128),))
    save_run(run)
    again = load_run(tmp_path)
    assert again == run and (again.sources[1].image_size, again.evaluations[0].image_size) == (128, 128)


def test_preprocessing_at_another_size_is_otherwise_the_same():
    given = Preprocessing(64, 40, keep_aspect=True)
    assert given.at(0) == given and given.at(128) == replace(given, size=128)
    assert (given.at(128).transform().size, given.size) == (128, 64)


def test_sizes_that_cannot_serve_are_refused():
    with pytest.raises(ConfigError, match=r"source\.image_size is -8; it must be a number of pixels, or 0"):
        replace(WIDE, image_size=-8)
    with pytest.raises(ConfigError, match=r"evaluation\.image_size is -1; it must be a number of pixels, or 0"):
        Evaluation("nlvr", TRAYS, image_size=-1)
    with pytest.raises(ConfigError, match=r"source\.image_size is set but would be ignored: boxes\.scales"):
        Source(SCENES + "regions", {"grounding": 1.0}, 4, boxes=Boxes("regions"), image_size=128)
