"""Tests of image input: correct pixels or a helpful error, which leaves an explorer unchanged."""

from __future__ import annotations

import html
import io
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import made_files as made
from tests.explorers import on_canvas, problem, words
from tests.good_input import GOOD, PICTURE, RGB8, Good
from tests.refused_input import BOMBS, NAMES, REFUSED, Refused
from vgg_widget import FeatureExtractor, ImageError, LayerExplorer, compare, load_image
from vgg_widget.images import read_image


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_a_good_picture_gives_its_pixels(case: Good) -> None:
    source = case.make()
    kept = np.array(source) if isinstance(source, np.ndarray) else None
    loaded = load_image(source)
    assert loaded.dtype == np.uint8
    assert loaded.shape == case.expected.shape
    assert np.abs(loaded - case.expected.astype(float)).max() <= case.within
    assert loaded.flags.writeable
    assert loaded.flags.c_contiguous
    if kept is not None:
        assert not np.shares_memory(loaded, source)
        np.testing.assert_array_equal(source, kept)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_bad_picture_is_refused_in_a_sentence(
    case: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match=case.message) as caught:
        load_image(case.make(tmp_path))
    sentence = str(caught.value)
    assert re.fullmatch(r"image .+: .+\.", sentence)
    assert sentence.isprintable()


@pytest.mark.posix
def test_a_header_that_claims_gigabytes_takes_none(tmp_path: Path) -> None:
    for name, data in BOMBS.items():
        (tmp_path / name).write_bytes(data)
    code = (
        "import resource, sys; from pathlib import Path; from vgg_widget import load_image\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "load_image(bytes(Path(sys.argv[2]).read_bytes())); before = peak()\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try: load_image(path); print(path, 'was read')\n"
        "    except ValueError: pass\n"
        "print(peak() / before)"
    )
    good = tmp_path.parent / "good.png"
    good.write_bytes(made.png(PICTURE))
    command = [sys.executable, "-c", code, str(tmp_path), str(good)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert float(said) < 2, said  # Decoding one file would take 10 GB, a hundred times as much.


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_have_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(made.png(PICTURE))
    monkeypatch.chdir(tmp_path)
    for given in (path, str(path), f"./{name}", os.fsencode(path)):
        np.testing.assert_array_equal(load_image(os.fsdecode(given)), PICTURE)
        assert read_image(Path(os.fsdecode(given))).origin == str(path)


def test_a_file_name_may_be_invalid_unicode(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(path)).write_bytes(made.png(PICTURE))
    np.testing.assert_array_equal(load_image(Path(os.fsdecode(path))), PICTURE)


def test_a_lazy_picture_whose_file_is_deleted_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "gone.png"
    path.write_bytes(made.png(PICTURE))
    with Image.open(path) as image:
        path.unlink()
        np.testing.assert_array_equal(load_image(image), PICTURE)


def test_users_can_change_pillows_pixel_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, message in ((1000, "2080 pixels"), (1039, "2080 pixels")):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ImageError, match=rf"too many pixels .*{message}.*make it smaller"):
            load_image(made.png(PICTURE))
        with pytest.raises(ImageError, match=rf"40×52 .*limit of {2 * limit}.*make it smaller"):
            load_image(PICTURE)
    # Between once and twice the limit Pillow only warns, and the user could do nothing about it.
    for allowed in (1040, 2000, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", allowed)
        np.testing.assert_array_equal(load_image(made.png(PICTURE)), PICTURE)


def test_reading_on_many_threads_leaves_warnings_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = made.png(PICTURE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for loaded in pool.map(load_image, [data] * 64):
            np.testing.assert_array_equal(loaded, PICTURE)
    assert list(warnings.filters) == before
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data)).close()


# --- through an explorer


def test_a_bad_picture_leaves_an_explorer_as_it_was(
    explore: Callable[..., LayerExplorer], photo: RGB8, tmp_path: Path
) -> None:
    explorer = explore(layer="block1_conv2", channel=7)
    activations, rendering = explorer.activations, explorer.rendering
    shown, said = on_canvas(explorer), words(explorer)
    for case in REFUSED:
        with pytest.raises(ImageError, match=case.message):
            explorer.image = case.make(tmp_path)
        assert explorer.activations is activations, case.name
        assert explorer.rendering is rendering, case.name
        assert words(explorer) == said, case.name
    np.testing.assert_array_equal(explorer.image, photo)
    np.testing.assert_array_equal(on_canvas(explorer), shown)
    explorer.channel = 8
    assert explorer.rendering is not rendering


def test_no_explorer_is_made_of_a_bad_picture(extractor: FeatureExtractor, tmp_path: Path) -> None:
    for case in REFUSED:
        with pytest.raises(ImageError, match=case.message):
            LayerExplorer(case.make(tmp_path), extractor=extractor)


def test_the_name_of_a_file_is_escaped(extractor: FeatureExtractor, tmp_path: Path) -> None:
    comparison = compare(PICTURE, PICTURE, extractor=extractor)
    try:
        tags = set(re.findall(r"<(\w+)", words(comparison)))
        for name in NAMES:
            (tmp_path / name).write_bytes(made.png(PICTURE))
            comparison.images = (tmp_path / name, PICTURE)
            shown = words(comparison)
            assert set(re.findall(r"<(\w+)", shown)) <= tags
            assert f"first ({name})" in html.unescape(shown)
    finally:
        comparison.close()


def test_the_name_of_a_missing_file_is_escaped(
    explore: Callable[..., LayerExplorer], tmp_path: Path
) -> None:
    explorer = explore()
    for name in NAMES:
        path = tmp_path / name
        explorer.reporting_errors(partial(explorer.choose, image=path))()
        assert "<" not in problem(explorer)
        assert f"image {str(path)!r} was not found" in html.unescape(problem(explorer))
