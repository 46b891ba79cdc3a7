"""Trait types that ipywidgets and traitlets do not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.colors import Colormap
from traitlets import Int, TraitError, TraitType, Unicode

from vgg_widget.pictures.colormaps import registered_name
from vgg_widget.support.messages import briefly, nearest


class Name(Unicode[str, str]):
    """A text trait whose validator is also given what is no text, and says what to choose."""

    def validate(self, _: Any, value: Any) -> Any:
        """Return the value."""
        return value


class WholeNumber(Int[int, int]):
    """An int trait that also takes NumPy's integers, such as what `Activations.rank` gives."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return a plain int."""
        return super().validate(obj, int(value) if isinstance(value, np.integer) else value)


class ColormapName(Unicode[str, Any]):
    """A trait that holds a colormap's name and also takes a `Colormap` that is registered."""

    def validate(self, _: Any, value: Any) -> Any:
        """Return the name."""
        return as_trait_error(registered_name, value) if isinstance(value, Colormap) else value


class ChannelNumbers(TraitType[tuple[int, ...], Iterable[int]]):
    """A trait that holds a tuple of ints and takes any iterable of whole numbers."""

    info_text = "channel numbers, such as (0, 5, 12)"
    default_value = ()

    def validate(self, obj: Any, value: Any) -> tuple[int, ...]:
        """Return a tuple of plain ints."""
        try:
            numbers = tuple(value)
        except TypeError:
            self.error(obj, value)
        if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in numbers):
            self.error(obj, value)
        return tuple(int(number) for number in numbers)


class Location(TraitType[tuple[int, int] | None, Iterable[int] | None]):
    """A trait that holds None or a (row, column) pair of ints."""

    info_text = "None or a (row, column) pair of whole numbers, such as (12, 30)"
    default_value = None

    def validate(self, obj: Any, value: Any) -> tuple[int, int] | None:
        """Return a pair of plain ints, or None."""
        if value is None:
            return None
        pair = ChannelNumbers.validate(self, obj, value)  # type: ignore[arg-type]
        if len(pair) != 2:
            self.error(obj, value)
        return pair[0], pair[1]


class ImageSetResult(TraitType[Any, Any]):
    """A trait that holds None or a `TopActivations`."""

    info_text = "None or what vgg_widget.dataset.top_activations returned"
    default_value = None

    def validate(self, _: Any, value: Any) -> Any:
        """Return the value."""
        if value is not None and not is_top_activations(value):
            raise TraitError(
                f"{self.name} {briefly(value)} is no TopActivations: set what "
                "vgg_widget.dataset.top_activations returned, or None; for classes, make a new "
                "LayerExplorer with predict=5."
            )
        return value


def is_top_activations(value: object) -> bool:
    """Tell whether a value is a `TopActivations`."""
    # Who looks at one image loads none of its room.
    from vgg_widget.dataset.result import TopActivations

    return isinstance(value, TopActivations)


def as_trait_error(check: Any, *arguments: Any, **keywords: Any) -> Any:
    """Call a check, and raise its ValueError as the TraitError that traits are to raise."""
    try:
        return check(*arguments, **keywords)
    except ValueError as error:
        raise TraitError(str(error)) from error


def check_assignable(
    widget: Any, name: str, value: object, made_with: Iterable[str], words: tuple[str, str]
) -> None:
    """Raise AttributeError where an assignment to a widget's attribute would have no effect.

    `made_with` are the constructor's arguments that hold for good; the words say what the widget
    is called, and how another one is had.
    """
    kind, (what, instead) = type(widget), words
    found = getattr(kind, name, None)
    if isinstance(found, TraitType) or getattr(found, "fset", None) is not None:
        return
    if name in made_with:
        problem = f"is what this {what} was made with, and stays so: {instead} with {name}="
        raise AttributeError(f"{name} {problem}{briefly(value)}.")
    ours = str(getattr(found, "__module__", "")).startswith("vgg_widget.")
    if isinstance(found, property) or ours:
        raise AttributeError(f"{name} of this {what} cannot be set: set one of its traits instead.")
    if not hasattr(kind, name):
        near = nearest([one for one in dir(kind) if not one.startswith("_")], name)
        advice = f"did you mean {near!r}?" if near else f"see {kind.__name__}.class_traits()."
        raise AttributeError(f"{kind.__name__} has no trait {name!r}: {advice}")
