"""What a VGG takes a picture for: its most probable classes, by the dense layers on top of it."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.activations.mapping import Activations
from vgg_widget.images import RGB8, resize, target_size
from vgg_widget.layers import is_index
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.support.messages import briefly, unknown_choice
from vgg_widget.support.provenance import Provenance
from vgg_widget.weights import Classifier, imagenet, resolve_classifier
from vgg_widget.weights.arrays import CLASSIFIER_INPUT
from vgg_widget.weights.imagenet import Name

Floats = npt.NDArray[np.float32]

MOST = 1000
"""The most classes that can be asked for, which are all of ImageNet's."""

_SIDE = 224
_STRIDE = 32
_POOL = "block5_pool"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class, and how probable the network finds it.

    Parameters
    ----------
    index : int
        The class's number, from 0.
    wordnet_id : str
        WordNet's number, such as ``"n02123394"``; empty where the classes are not ImageNet's.
    label : str
        Keras's name of it, such as ``"Persian_cat"``; ``"class 3"`` where the classes are not
        ImageNet's.
    probability : float
        0 to 1; those of all classes add up to 1.
    """

    index: int
    wordnet_id: str
    label: str
    probability: float


class Predictor:
    """The classifier on top of an extractor's VGG; `predictor_for` makes it.

    Parameters
    ----------
    extractor : FeatureExtractor
        Of a VGG, for images of any size.
    classifier : Classifier
        The dense layers that belong to its weights.
    names : tuple of (str, str)
        WordNet's number and the name of each class.
    """

    def __init__(
        self, extractor: FeatureExtractor, classifier: Classifier, names: tuple[Name, ...]
    ) -> None:
        self._extractor = extractor.at_size(None)
        self._classifier = classifier
        self._names = names
        # The explorer asks again whenever another channel of the same picture is shown.
        self._known: weakref.WeakKeyDictionary[Activations, Floats] = weakref.WeakKeyDictionary()

    @property
    def classes(self) -> int:
        """How many classes there are to choose from."""
        return self._classifier.classes

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what it remembers of pictures.
        return type(self), (self._extractor, self._classifier, self._names)

    def __repr__(self) -> str:
        return f"<Predictor of {self.classes} classes, {self._extractor.weights.label}>"

    def predict(self, picture: object, top: int = 5) -> tuple[Prediction, ...]:
        """Return the most probable classes, the most probable first.

        Parameters
        ----------
        picture : Activations or object
            What the network made of a picture, or anything that `load_image` takes. What is looked
            at are 224×224 pixels; see `looked_at`.
        top : int
            How many, 1 to 1000; all there are where there are fewer.

        Raises
        ------
        ImageError
            If the image cannot be used.
        ValueError
            If `top` is no such number, the activations are those of other weights, or they lead to
            NaN.
        """
        top = checked_top(top)
        probabilities = self.probabilities(picture)
        # Of equal ones the first, as nobody else would choose either.
        order = np.argsort(-probabilities, kind="stable")[:top]
        return tuple(
            Prediction(index, *self._names[index], float(probabilities[index]))
            for index in map(int, order)
        )

    def probabilities(self, picture: object) -> Floats:
        """Return the probability of every class: float32 of shape (classes,), read-only.

        Takes and raises what `predict` does.
        """
        if not isinstance(picture, Activations):
            return self._computed(self._seen(self._extractor.read(picture).pixels))
        if picture not in self._known:
            self._known[picture] = self._computed(self._last_pool(picture))
        return self._known[picture]

    def index_of(self, target: str | int) -> int:
        """Return the number of a class, which may be given by its name or WordNet's number.

        Raises
        ------
        ValueError
            If there is no such class, or several of that name.
        """
        if is_index(target, self.classes):
            return int(target)
        found = [number for number, names in enumerate(self._names) if target in names]
        if not found and not isinstance(target, str):
            raise ValueError(
                f"target {briefly(target)} is none of the {self.classes} classes: pass a name such "
                f"as {self._names[0][1]!r}, or a number from 0 to {self.classes - 1}."
            )
        if not found:
            raise ValueError(unknown_choice("target", target, [name for _, name in self._names]))
        if len(found) > 1:
            raise ValueError(
                f"target {target!r} is the name of {len(found)} classes: pass one of the numbers "
                f"{', '.join(map(str, found))}."
            )
        return found[0]

    def label_of(self, index: int) -> str:
        """Return the name of the class of that number."""
        return self._names[index][1]

    def score(self, maps: Floats, index: int, shuffled: int | None = None) -> tuple[float, Floats]:
        """Return a class's score, and its gradient with respect to the last pool.

        Parameters
        ----------
        maps : ndarray of float32, shape (7, 7, 512)
            The last pool of what the classifier looks at.
        index : int
            The class's number.
        shuffled : int, optional
            A seed, to put the inputs and the outputs of each dense layer into a random order.

        Returns
        -------
        score : float
            Before the softmax.
        gradient : ndarray of float32, shape (7, 7, 512)
        """
        first = self._classifier.channels_first
        values = (maps.transpose(2, 0, 1) if first else maps).reshape(-1)
        # The order of hundreds of millions of weights would take their memory once more; that of
        # what goes in and what comes out is enough to connect everything with something else.
        orders = [
            tuple(
                np.arange(size)
                if shuffled is None
                else np.random.default_rng([shuffled, place, axis]).permutation(size)
                for axis, size in enumerate(kernel.shape)
            )
            for place, (kernel, _) in enumerate(self._classifier.layers)
        ]
        *hidden, last = zip(self._classifier.layers, orders, strict=True)
        active = []
        for (kernel, bias), (rows, columns) in hidden:
            values = (values[rows] @ kernel + bias)[columns]
            active.append(values > 0)
            values = np.maximum(values, 0)
        (kernel, bias), (rows, columns) = last
        column = columns[index]
        score = float(values[rows] @ kernel[:, column] + bias[column])
        # An order is undone by giving each number to the place that it was taken from.
        slope = np.empty_like(values)
        slope[rows] = kernel[:, column]
        for ((kernel, _), (rows, columns)), on in zip(hidden[::-1], active[::-1], strict=True):
            out = np.empty_like(slope)
            out[columns] = slope * on
            slope = np.empty(kernel.shape[0], slope.dtype)
            slope[rows] = kernel @ out
        shape = maps.shape
        if first:
            return score, slope.reshape(shape[2], *shape[:2]).transpose(1, 2, 0).copy()
        return score, slope.reshape(shape)

    def picture_seen(
        self, activations: Activations
    ) -> tuple[RGB8, tuple[float, float, float, float]]:
        """Return what the classifier looks at of a picture, and where that lies.

        Returns
        -------
        pixels : ndarray of uint8, shape (h, w, 3)
            The picture itself, where it has the right size.
        (top, left, bottom, right) : tuple of float
            Half open, in the picture's own pixels.
        """
        own = self._extractor.weights
        if activations.weights.digest != own.digest:
            raise ValueError(
                f"activations of {activations.weights.label} do not belong to the classifier of "
                f"{own.label}: compute them with its extractor."
            )
        image = activations.image
        height, width = image.shape[:2]
        if activations.shape(_POOL) == CLASSIFIER_INPUT:
            return image, (0, 0, height, width)
        seen, (top, left) = _looked_at(image)
        resized = target_size(image, _SIDE)
        down, across = height / resized[0], width / resized[1]
        bottom, right = top + seen.shape[0], left + seen.shape[1]
        return seen, (top * down, left * across, bottom * down, right * across)

    def _last_pool(self, activations: Activations) -> Floats:
        image, _ = self.picture_seen(activations)
        return activations[_POOL] if image is activations.image else self._extractor(image)[_POOL]

    def _seen(self, pixels: RGB8) -> Floats:
        """Compute the last pool of what the classifier looks at, which takes another pass."""
        return self._extractor(_looked_at(pixels)[0])[_POOL]

    def _computed(self, maps: Floats) -> Floats:
        if self._classifier.channels_first:
            maps = maps.transpose(2, 0, 1)
        values = maps.reshape(-1)
        *hidden, last = self._classifier.layers
        # What overflows is refused below.
        with np.errstate(over="ignore", invalid="ignore"):
            for kernel, bias in hidden:
                values = np.maximum(values @ kernel + bias, 0)
            logits = values @ last[0] + last[1]
            # Shifting all of them changes no probability, and keeps exp from overflowing.
            shares = np.exp(logits - logits.max())
            probabilities: Floats = shares / shares.sum()
        if not np.isfinite(probabilities).all():
            raise ValueError(
                "the picture leads to NaN or infinite values in the network, of which there are no "
                "predictions: check the preprocess function, or the weights."
            )
        probabilities.flags.writeable = False
        return probabilities


def _looked_at(pixels: RGB8) -> tuple[RGB8, tuple[int, int]]:
    """Return what the classifier looks at, and where its corner is in the resized picture."""
    image = resize(pixels, _SIDE)
    if not _is_cropped(image):
        return image, (0, 0)
    top, left = ((side - _SIDE) // 2 for side in image.shape[:2])
    return image[top : top + _SIDE, left : left + _SIDE], (top, left)


def looked_at(activations: Activations) -> str:
    """Say in words which part of a picture a prediction is about.

    The classifier takes the 7×7 units that 224×224 pixels give. A picture whose shorter side is
    scaled to 224 has as many as long as its longer side stays below 256, and is looked at as a
    whole; of others the middle square is. That is torchvision's centre crop, but of a shorter side
    of 224 pixels and not 256, so that nothing is cut away across it.
    """
    height, width = target_size(activations.image, _SIDE)
    if not _is_cropped(activations.image):
        return "the whole picture"
    return f"the middle square of the picture, {_SIDE}×{_SIDE} of {height}×{width} pixels"


def _is_cropped(image: RGB8) -> bool:
    return max(target_size(image, _SIDE)) // _STRIDE > CLASSIFIER_INPUT[0]


def checked_top(top: object, argument: str = "top") -> int:
    """Return a number of classes as a plain int; raise ValueError for what is none.

    `argument` is what the error calls it.
    """
    if not isinstance(top, int | np.integer) or isinstance(top, bool) or not 1 <= top <= MOST:
        raise ValueError(f"{argument} {briefly(top)} is no whole number from 1 to {MOST}: pass 5.")
    return int(top)


# A classifier takes half a gigabyte: one is kept, so that a cell that is run again reads nothing
# anew, and every explorer with the same weights shares it.
_kept: dict[Provenance, tuple[Classifier, tuple[Name, ...]]] = {}
_lock = threading.Lock()


def predictor_for(extractor: FeatureExtractor) -> Predictor:
    """Return what predicts with an extractor's weights, loaded once and shared.

    Parameters
    ----------
    extractor : FeatureExtractor
        With ``weights="imagenet"``, or those of a file that holds the classifier, too: Keras's
        ``fc1``, ``fc2`` and ``predictions``, or torchvision's ``classifier.0``, ``.3`` and ``.6``.
        ImageNet's classifier is a download of 575 MB (553 MB for VGG16), once, which is said
        first; in memory it is 495 MB.

    Raises
    ------
    ValueError
        If there is no classifier that belongs to the weights.
    WeightsError
        If the classifier or the names of its classes cannot be had.
    """
    provenance = extractor.weights
    with _lock:
        if provenance not in _kept:
            _kept.clear()
            file = imagenet.IMAGENET_TOP.get(provenance.network)
            if file and provenance.source == "imagenet" and file.find() is None:
                size = (file.size or 0) / 1e6
                print(
                    f"Predictions need {file.what}, which are downloaded once: "
                    f"{size:.0f} MB, kept in {file.folder()}; in memory they take "
                    "0.5 GB more.",
                    flush=True,
                )
            _kept[provenance] = resolve_classifier(provenance)
        return Predictor(extractor, *_kept[provenance])
