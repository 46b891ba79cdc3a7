"""What follows from a choice: channels that a layer has, the place that a location becomes."""

from __future__ import annotations

from dataclasses import replace

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer.scene import Choice
from vgg_widget.pictures.modes import find_mode
from vgg_widget.pictures.rendering import nearest_channels

DIVERGING = "coolwarm"
"""The colormap for activations of both signs, where another kind was chosen."""

# What matplotlib's documentation lists as diverging.
_DIVERGING_NAMES = {
    *("PiYG", "PRGn", "BrBG", "PuOr", "RdGy", "RdBu", "RdYlBu", "RdYlGn", "Spectral"),
    *("coolwarm", "bwr", "seismic", "berlin", "managua", "vanimo"),
}


def fitted(
    choice: Choice, before: Choice | None, activations: Activations, usual_cmap: str
) -> Choice:
    """Return a choice that the layer and mode can show, and the nearest thing to what was asked.

    Parameters
    ----------
    choice : Choice
        What was asked for, each field by itself in order.
    before : Choice or None
        What is on show; None at first.
    activations : Activations
        Of the image.
    usual_cmap : str
        The colormap of what was last on show after its ReLU.
    """
    choice = _side(choice, before, activations)
    choice = _coloured(choice, before, activations, usual_cmap)
    choice = placed(choice, before, activations)
    count = activations.info(choice.layer).channels
    channel, channels = nearest_channels(
        find_mode(choice.mode), count, choice.channel, choice.channels
    )
    order = choice.order if choice.location is not None or choice.order != "location" else "index"
    return replace(choice, channel=channel, channels=channels, order=order)


def _side(choice: Choice, before: Choice | None, activations: Activations) -> Choice:
    """Keep the layer's name and the side of its ReLU together.

    The names of torchvision and the papers say on which side they are. Keras names a convolution,
    whose maps are shown on the side that was chosen last, unless another name chose it.
    """
    layer = choice.layer
    pre = activations.before_relu(layer)
    named_before = says_before(layer, activations)
    named_after = not named_before and layer != activations.info(layer).name
    if before is None or layer != before.layer:
        left = before is not None and says_before(before.layer, activations)
        if left or named_before or (named_after and pre):
            asked = before is not None and choice.before_relu != before.before_relu
            if not asked or pre is None or choice.before_relu == named_before:
                return replace(choice, before_relu=named_before)
            return replace(choice, layer=_name_on_side(choice, activations))
    elif pre is None:
        return choice
    elif named_after if choice.before_relu else named_before:
        return replace(choice, layer=_name_on_side(choice, activations))
    return choice


def _name_on_side(choice: Choice, activations: Activations) -> str:
    """Return the layer's name on the chosen side of its ReLU, in the same naming scheme."""
    names = _names_of_kind(choice.layer, choice.layer, activations)
    return names[0] if choice.before_relu else names[-1]


def named_alike(layer: str, choice: Choice, activations: Activations) -> str:
    """Return a layer's name in the naming scheme of the one on show, on the same side of its ReLU.

    A name that is not Keras's is returned as it is.
    """
    if layer != activations.info(layer).name:
        return layer
    names = _names_of_kind(layer, choice.layer, activations)
    if not names:
        return layer
    return names[0] if choice.before_relu else names[-1]


def _names_of_kind(layer: str, like: str, activations: Activations) -> tuple[str, ...]:
    """Return a layer's names in the naming scheme that another name is of."""
    return activations.names_in(activations.scheme_of(like), layer)


def says_before(layer: str, activations: Activations) -> bool:
    """Tell whether a name is that of activations before a ReLU."""
    return activations.plain_name(layer) != activations.info(layer).name


def _coloured(
    choice: Choice, before: Choice | None, activations: Activations, usual: str
) -> Choice:
    """Give maps before a ReLU a colormap with a middle, and take it back after."""
    signed = _shows_before(choice, activations)
    if before is None:
        # The default is nobody's choice.
        start = signed and choice.cmap == "viridis"
        return replace(choice, cmap=DIVERGING) if start else choice
    if choice.cmap != before.cmap or signed == _shows_before(before, activations):
        return choice
    if signed and choice.cmap.removesuffix("_r") not in _DIVERGING_NAMES:
        return replace(choice, cmap=DIVERGING)
    if not signed and choice.cmap == DIVERGING:
        return replace(choice, cmap=usual)
    return choice


def _shows_before(choice: Choice, activations: Activations) -> bool:
    return choice.before_relu and activations.before_relu(choice.layer) is not None


def placed(choice: Choice, before: Choice | None, activations: Activations) -> Choice:
    """Keep a location where it is on the image when the layer is another one.

    Parameters
    ----------
    choice : Choice
        What was asked for.
    before : Choice or None
        What is on show; None where the location is meant as it is.
    activations : Activations
        Of the image, on which the location is in any case.
    """
    if choice.location is None:
        return choice
    rows, columns, _ = activations.shape(choice.layer)
    row, column = choice.location
    if before and choice.layer != before.layer and choice.location == before.location:
        y, x = activations.info(before.layer).field_center(row, column)
        row, column = activations.info(choice.layer).unit_at(y, x, (rows, columns))
    return replace(choice, location=(min(row, rows - 1), min(column, columns - 1)))
