"""The panel of the patches that activate the current channel most, over a set of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.atlas.patch_cards import (
    STATISTIC_WORDS,
    Patch,
    PatchCards,
    failed_words,
)
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.images import ImageError
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.portable import weights_digest
from vgg_widget.pictures.modes import find_mode
from vgg_widget.support.provenance import Provenance

if TYPE_CHECKING:
    # An explorer of a single image does not need that package.
    from vgg_widget.dataset.result import TopActivations
    from vgg_widget.explorer.layer_explorer import LayerExplorer


class TopImagesPanel(Panel):
    """Shows the strongest patches of the current channel.

    A card's button makes the patch's image the explorer's image, and marks the unit.
    """

    def __init__(self, explorer: LayerExplorer) -> None:
        super().__init__(explorer)
        self._digest = ""
        self._weights: Provenance | None = None
        self._shown: tuple[TopActivations, str, int] | None = None
        self._same_size = True
        self.patches = PatchCards(explorer, self._look_at)
        self.widget = self.patches.widget

    def show(self) -> None:
        """Show the patches of the current channel, after a short pause."""
        top, settings = self._explorer.top_images, self._explorer.settings
        if top is None:
            return
        try:
            extractor = self._explorer.extractor
        except ValueError as error:
            # Without a network, the weights cannot be compared.
            self.patches.say(str(error))
            return
        layer = self._layer_in(top)
        why_not = self._weights_advice(top, extractor) or _mode_advice(settings.mode)
        if layer is None or why_not:
            self.patches.say(why_not or self._missing_layer_advice(top))
            return
        words = f"{_set_words(top, layer, settings.channel)} Click on one to explore its image."
        self._shown = top, layer, settings.channel
        self._same_size = top.size == extractor.size
        if not self._same_size:
            words += (
                f" They were computed at size {top.size}, and this explorer's is "
                f"{extractor.size}: values differ."
            )
        self.patches.show(top, layer, settings.channel, words)

    def _look_at(self, patch: Patch) -> None:
        assert self._shown is not None
        top, layer, channel = self._shown
        if not patch.path:
            raise ImageError(patch.problem)
        if not self.patches.settled:
            # The faint patches are still those of the previous channel.
            self._explorer.look_at(patch.path, None)
            return
        if top[layer].boxes is not None:
            # Reads the image again, and reports whether it has changed.
            top.patch(layer, channel, patch.rank)
        self._explorer.look_at(patch.path, patch.location if self._same_size else None)

    def _weights_advice(self, top: TopActivations, extractor: FeatureExtractor) -> str:
        """Return a sentence if the set used other weights; "" if it used these."""
        # Cached for the current weights, since the digest of a user's model takes a moment.
        weights = self._explorer.activations.weights
        if self._weights != weights:
            self._weights, self._digest = weights, weights_digest(extractor)
        if top.weights.digest == self._digest:
            return ""
        if top.weights.label == extractor.weights.label:
            return (
                f"This set was computed with {top.weights.label}, but with other weights than this "
                "explorer's, whose channels differ: compute it with explorer.extractor."
            )
        return (
            f"This set was computed with {top.weights.label}, but this explorer's weights are "
            f"{extractor.weights.label}, whose channels differ: compute it with "
            "explorer.extractor."
        )

    def _layer_in(self, top: TopActivations) -> str | None:
        """Return the set's own name of the current layer, or of the other side of its ReLU."""
        activations: Activations = self._explorer.activations
        shown: str = self._explorer.rendering.layer
        for name in (shown, activations.after_relu(shown), activations.before_relu(shown)):
            if name is not None and name in top:
                return top.aliases.get(name, name)
        return None

    def _missing_layer_advice(self, top: TopActivations) -> str:
        names = list(top)
        held = ", ".join(names) if len(names) <= 8 else f"{len(names)} others, such as {names[-1]}"
        return (
            f"Layer {self._explorer.rendering.layer} is not in this set, which contains {held}: "
            "choose one of those, or compute it with top_activations."
        )


def _mode_advice(mode: str) -> str:
    """Return a sentence of advice for a mode of several channels; "" for other modes."""
    if find_mode(mode).takes == "one":
        return ""
    return (
        f"Mode {mode} shows several channels at once: choose mode channel to see the strongest "
        "patches of the current channel here."
    )


def _set_words(top: TopActivations, layer: str, channel: int) -> str:
    """Describe the strongest patches of a channel, and the set they come from."""
    strongest = top[layer]
    kept, counted = len(strongest.places(channel)), int(strongest.counted[channel])
    statistic = STATISTIC_WORDS[top.statistic]
    if not kept:
        return f"{layer} channel {channel} has a finite {statistic} on none of the images."
    if not strongest.values[channel, :kept].any():
        return (
            f"{layer} channel {channel} has no {statistic} above 0 on {counted} images"
            f"{failed_words(top)}; these are the first of them."
        )
    which = "strongest" if kept == 1 else f"{kept} strongest"
    return (
        f"{layer} channel {channel}: the {which} of {counted} images{failed_words(top)} by the "
        f"map's {statistic}. Each is cropped to what the unit at its peak sees, in the pixels that "
        "the network saw."
    )
