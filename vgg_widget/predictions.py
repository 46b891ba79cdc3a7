"""Predictions of a VGG: an image's most probable classes, from the dense layers on top."""

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
"""The maximum number of classes to ask for: all of ImageNet's."""

_SIDE = 224
_STRIDE = 32
_POOL = "block5_pool"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class, and its probability according to the network.

    Parameters
    ----------
    index : int
        The class's number, from 0.
    wordnet_id : str
        WordNet's ID, such as ``"n02123394"``; empty if the classes are not ImageNet's.
    label : str
        Keras's name for it, such as ``"Persian_cat"``; ``"class 3"`` if the classes are not
        ImageNet's.
    probability : float
        0 to 1; the probabilities of all classes add up to 1.
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
        An extractor of a VGG, for images of any size.
    classifier : Classifier
        The dense layers that belong to the extractor's weights.
    names : tuple of (str, str)
        WordNet's ID and the name of each class.
    """

    def __init__(
        self, extractor: FeatureExtractor, classifier: Classifier, names: tuple[Name, ...]
    ) -> None:
        self._extractor = extractor.at_size(None)
        self._classifier = classifier
        self._names = names
        # The explorer asks again whenever another channel of the same image is shown.
        self._known: weakref.WeakKeyDictionary[Activations, Floats] = weakref.WeakKeyDictionary()

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self._classifier.classes

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the cached results.
        return type(self), (self._extractor, self._classifier, self._names)

    def __repr__(self) -> str:
        return f"<Predictor of {self.classes} classes, {self._extractor.weights.label}>"

    def predict(self, picture: object, top: int = 5) -> tuple[Prediction, ...]:
        """Return the most probable classes, the most probable first.

        Parameters
        ----------
        picture : Activations or object
            The activations of an image, or any input of `load_image`. The classifier looks at
            224×224 pixels; see `looked_at`.
        top : int
            How many classes, 1 to 1000; all classes if there are fewer.

        Raises
        ------
        ImageError
            If the image cannot be used.
        ValueError
            If `top` is not such a number, or the activations come from other weights or lead to
            NaN.
        """
        top = checked_top(top)
        probabilities = self.probabilities(picture)
        # Among equal probabilities, the first class.
        order = np.argsort(-probabilities, kind="stable")[:top]
        return tuple(
            Prediction(index, *self._names[index], float(probabilities[index]))
            for index in map(int, order)
        )

    def probabilities(self, picture: object) -> Floats:
        """Return the probability of every class: float32 of shape (classes,), read-only.

        See `predict` for the argument and the exceptions.
        """
        if not isinstance(picture, Activations):
            return self._computed(self._seen(self._extractor.read(picture).pixels))
        if picture not in self._known:
            self._known[picture] = self._computed(self._last_pool(picture))
        return self._known[picture]

    def index_of(self, target: str | int) -> int:
        """Return the index of a class, which may be given by its name or WordNet's ID.

        Raises
        ------
        ValueError
            If no class, or more than one, has that name.
        """
        if is_index(target, self.classes):
            return int(target)
        found = [number for number, names in enumerate(self._names) if target in names]
        if not found and not isinstance(target, str):
            raise ValueError(
                f"target {briefly(target)} is not one of the {self.classes} classes: pass a name "
                f"such as {self._names[0][1]!r}, or a number from 0 to {self.classes - 1}."
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
        """Return the name of the class with that index."""
        return self._names[index][1]

    def score(self, maps: Floats, index: int, shuffled: int | None = None) -> tuple[float, Floats]:
        """Return a class's score, and its gradient with respect to the last pool.

        Parameters
        ----------
        maps : ndarray of float32, shape (7, 7, 512)
            The last pool of the part that the classifier looks at.
        index : int
            The class's index.
        shuffled : int, optional
            A seed for a random order of the inputs and outputs of each dense layer.

        Returns
        -------
        score : float
            The score before the softmax.
        gradient : ndarray of float32, shape (7, 7, 512)
        """
        first = self._classifier.channels_first
        values = (maps.transpose(2, 0, 1) if first else maps).reshape(-1)
        # Shuffling hundreds of millions of weights would need their memory again. Shuffling the
        # inputs and outputs is enough to connect everything differently.
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
        # Assigning to the permuted indices inverts a permutation.
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
        """Return the part of an image that the classifier looks at, and its position.

        Returns
        -------
        pixels : ndarray of uint8, shape (h, w, 3)
            The image itself, if it has the right size.
        (top, left, bottom, right) : tuple of float
            Half open, in the image's own pixels.
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
        seen, (top, left) = _classifier_crop(image)
        resized = target_size(image, _SIDE)
        down, across = height / resized[0], width / resized[1]
        bottom, right = top + seen.shape[0], left + seen.shape[1]
        return seen, (top * down, left * across, bottom * down, right * across)

    def _last_pool(self, activations: Activations) -> Floats:
        image, _ = self.picture_seen(activations)
        return activations[_POOL] if image is activations.image else self._extractor(image)[_POOL]

    def _seen(self, pixels: RGB8) -> Floats:
        """Compute the last pool of the part that the classifier looks at, in another pass."""
        return self._extractor(_classifier_crop(pixels)[0])[_POOL]

    def _computed(self, maps: Floats) -> Floats:
        if self._classifier.channels_first:
            maps = maps.transpose(2, 0, 1)
        values = maps.reshape(-1)
        *hidden, last = self._classifier.layers
        # An overflow leads to an error below.
        with np.errstate(over="ignore", invalid="ignore"):
            for kernel, bias in hidden:
                values = np.maximum(values @ kernel + bias, 0)
            logits = values @ last[0] + last[1]
            # A shift of all logits changes no probability, and keeps exp from overflowing.
            shares = np.exp(logits - logits.max())
            probabilities: Floats = shares / shares.sum()
        if not np.isfinite(probabilities).all():
            raise ValueError(
                "the picture leads to NaN or infinite values in the network, so there are no "
                "predictions: check the preprocess function, or the weights."
            )
        probabilities.flags.writeable = False
        return probabilities


def _classifier_crop(pixels: RGB8) -> tuple[RGB8, tuple[int, int]]:
    """Return what the classifier looks at, and its corner's position in the resized image."""
    image = resize(pixels, _SIDE)
    if not _is_cropped(image):
        return image, (0, 0)
    top, left = ((side - _SIDE) // 2 for side in image.shape[:2])
    return image[top : top + _SIDE, left : left + _SIDE], (top, left)


def looked_at(activations: Activations) -> str:
    """Return which part of an image a prediction is about, as text.

    The classifier needs the 7×7 units of 224×224 pixels. An image whose shorter side is scaled to
    224 has that many as long as its longer side stays below 256: the classifier then looks at the
    whole image. Otherwise it looks at the middle square. That is torchvision's centre crop, but
    with a shorter side of 224 pixels, not 256, so that nothing is cut off across it.
    """
    height, width = target_size(activations.image, _SIDE)
    if not _is_cropped(activations.image):
        return "the whole picture"
    return f"the middle square of the picture, {_SIDE}×{_SIDE} of {height}×{width} pixels"


def _is_cropped(image: RGB8) -> bool:
    return max(target_size(image, _SIDE)) // _STRIDE > CLASSIFIER_INPUT[0]


def checked_top(top: object, argument: str = "top") -> int:
    """Return a number of classes as a plain int; raise ValueError if it is not valid.

    `argument` is its name in the error message.
    """
    if not isinstance(top, int | np.integer) or isinstance(top, bool) or not 1 <= top <= MOST:
        raise ValueError(
            f"{argument} {briefly(top)} is not a whole number from 1 to {MOST}: pass 5."
        )
    return int(top)


# A classifier takes half a gigabyte. One is kept, so that running a cell again reads nothing, and
# explorers with the same weights share it.
_kept: dict[Provenance, tuple[Classifier, tuple[Name, ...]]] = {}
_lock = threading.Lock()


def predictor_for(extractor: FeatureExtractor) -> Predictor:
    """Return the predictor for an extractor's weights, loaded once and shared.

    Parameters
    ----------
    extractor : FeatureExtractor
        With ``weights="imagenet"``, or with a file that also contains the classifier: Keras's
        ``fc1``, ``fc2`` and ``predictions``, or torchvision's ``classifier.0``, ``.3`` and ``.6``.
        ImageNet's classifier is a single download of 575 MB (553 MB for VGG16), which is announced
        first; in memory it takes 495 MB.

    Raises
    ------
    ValueError
        If no classifier belongs to the weights.
    WeightsError
        If the classifier or the names of its classes are not available.
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
