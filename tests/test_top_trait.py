"""An explorer's trait `top_images`: setting and removing it, errors, states, and closing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from traitlets import TraitError

from tests.explorers import control, made_panel, made_panels, patches_on_show, problem
from tests.made_pictures import LAYER, K
from vgg_widget import FeatureExtractor, LayerExplorer
from vgg_widget.dataset import TopActivations, top_activations

RGB8 = npt.NDArray[np.uint8]
Explore = Callable[..., LayerExplorer]


def test_it_can_be_set_replaced_and_removed_later(
    explore: Explore, noisy_top: TopActivations, extractor: FeatureExtractor, noisy_folder: Path
) -> None:
    explorer = explore(layer=LAYER)
    assert explorer.top_images is None
    assert control(explorer, "Strongest").layout.display == "none"
    with pytest.raises(TraitError, match="panel 'Strongest' is not known"):
        explorer.panel = "Strongest"
    explorer.top_images = noisy_top
    assert explorer.panel == "Strongest"
    assert control(explorer, "Strongest").value
    assert len(patches_on_show(explorer)) == K
    explorer.top_images = top_activations(
        extractor, noisy_folder, layers=LAYER, k=2, progress=False
    )
    assert len(patches_on_show(explorer)) == 2
    panel = made_panels(explorer)
    explorer.top_images = None
    assert (explorer.panel, explorer._switcher.opened) == ("", "")
    assert control(explorer, "Strongest").layout.display == "none"
    assert all(widget.comm is None for widget in panel)
    # Another panel that is open stays open.
    explorer.panel = "Circuit"
    explorer.top_images = noisy_top
    assert explorer.panel == "Circuit"
    with explorer.hold_trait_notifications():
        explorer.panel = ""
        explorer.top_images = None
    with explorer.hold_trait_notifications():
        explorer.panel = "Strongest"
        explorer.top_images = noisy_top
    assert explorer.panel == explorer._switcher.opened == "Strongest"
    assert problem(explorer) == ""


@pytest.mark.sampled
@pytest.mark.parametrize("wrong", [5, "top.npz", {}])
def test_other_values_are_refused(
    explore: Explore, noisy_top: TopActivations, wrong: object
) -> None:
    explorer = explore(layer=LAYER, top_images=noisy_top)
    with pytest.raises(TraitError, match=r"^top_images .* is not a TopActivations: set a result "):
        explorer.top_images = wrong
    assert explorer.top_images is noisy_top
    explorer.close()
    with pytest.raises(RuntimeError, match="explorer is closed"):
        explorer.top_images = None


def test_the_former_name_works_with_a_warning(explore: Explore, noisy_top: TopActivations) -> None:
    with pytest.warns(FutureWarning, match=r"predict=5 .* and top_images ") as warned:
        explorer = explore(layer=LAYER, top=noisy_top)
    assert [one.category for one in warned].count(FutureWarning) == 1
    assert explorer.top is explorer.top_images is noisy_top
    with pytest.warns(FutureWarning, match="top_images") as warned:
        explorer.top = None
    assert warned[0].filename == __file__
    assert explorer.top_images is None


def test_a_remembered_or_requested_panel_takes_precedence(
    explore: Explore, noisy_top: TopActivations, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert explore(top_images=noisy_top, panel="Display").panel == "Display"
    monkeypatch.setattr(LayerExplorer, "remembered_panel", "Play")
    assert explore(top_images=noisy_top).panel == "Play"
    # Remembered from another explorer, which had a set.
    monkeypatch.setattr(LayerExplorer, "remembered_panel", "Strongest")
    assert explore().panel == ""


def test_no_state_and_no_code_holds_the_set(
    explore: Explore, noisy_top: TopActivations, photo: RGB8, extractor: FeatureExtractor
) -> None:
    explorer = explore(top_images=noisy_top, layer=LAYER, channel=3)
    without = explore(layer=LAYER, channel=3)
    assert explorer.to_code() == without.to_code()
    state = explorer.state()
    assert not {"top", "panel"} & set(state)
    again = LayerExplorer.from_state(photo, state, extractor=extractor)
    assert (again.top_images, again.panel, again.channel) == (None, "", 3)
    again.close()
    again = LayerExplorer.from_state(photo, state, extractor=extractor, top_images=noisy_top)
    assert (again.top_images, again.panel) == (noisy_top, "Strongest")
    again.close()


def test_closing_stops_reading_images(
    explore: Explore,
    noisy_top: TopActivations,
    pictures_read: list[str],
    rest_for: Callable[[float], None],
) -> None:
    rest_for(600)
    explorer = explore(top_images=noisy_top, layer=LAYER)
    shown: Any = made_panel(explorer, "Strongest")
    explorer.close()
    assert shown.patches.wait(30)
    assert pictures_read == []
