"""`top_activations`: which images of a set excite each channel most."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from vgg_widget.dataset.cluster import check_client, computed_by_cluster
from vgg_widget.dataset.computing import BATCH, STATISTICS, Job, computed_shard
from vgg_widget.dataset.image_set import EMPTY, Shard, image_set
from vgg_widget.dataset.result import TopActivations
from vgg_widget.dataset.store import Store
from vgg_widget.dataset.summary import MergeTree, Summary, merged
from vgg_widget.dataset.top_images import SeenImages, strongest_of
from vgg_widget.layers import LayerInfo
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.network.portable import digest_of, preprocessing_digest, weights_digest
from vgg_widget.network.reduced import ChosenLayer, chosen_layers
from vgg_widget.support.messages import briefly, unknown_choice
from vgg_widget.support.progress import Progress, shown_progress


def top_activations(
    extractor: FeatureExtractor,
    images: object,
    layers: str | Iterable[str] | None = None,
    k: int = 9,
    statistic: str = "max",
    *,
    client: Any = None,
    progress: Progress = True,
    store: str | os.PathLike[str] | None = None,
) -> TopActivations:
    """Find, for every channel, the images of a set that it answers to most.

    The feature maps are reduced in the process that computes them. What is held does not grow with
    the number of images, but for their names, sizes and digests, some 400 bytes each.

    Parameters
    ----------
    extractor : FeatureExtractor
        The network, and the size that it sees.
    images : str, Path, list, set, mapping, iterable or data set
        A folder, in which pictures are looked for by their endings, subfolders included, but not
        those that are links, nor what begins with a dot; a pattern such as ``"photos/**/*.jpg"``,
        which follows links; a list or set of paths or of (name, image) pairs, or a mapping of
        names to images, where an image is anything that `load_image` takes; these are ordered by
        name. Anything else is taken as it comes, a shard at a time: an iterable, such as a
        ``tf.data.Dataset`` or PyTorch's ``DataLoader``, or what has a length and is indexed, such
        as a data set of PyTorch's or Keras's.

        Each item may be a batch: an array or tensor of shape (N, H, W, C) or (N, C, H, W). It may
        also be a tuple, list or dict of an image or batch and its labels, which are left out; of a
        dict with several pictures that under ``"image"`` is taken. Images without a name are
        called ``images[0]`` and so on, however they come in batches. An item that may be understood
        in several ways is refused, such as a tuple of two pictures. Grey pictures in a batch need
        an axis for channels: without it (3, H, W) and (4, H, W) are one picture in colour, and are
        refused where labels or the loader tell that they are a batch.
    layers : str, iterable of str or None
        Keras's or torchvision's names; None for all. What only other layers need is not computed.
    k : int
        How many images to keep for each channel; of a smaller set, all of them.
    statistic : {"max", "mean"}
        What an image's strength in a channel is: the maximum of the feature map, or its mean.
    client : dask.distributed.Client, optional
        Computes on the workers of that cluster, which have to reach the pictures, and the store,
        by the same paths (``pip install 'vgg-widget[dask]'``). A worker's process computes one
        shard at a time, with TensorFlow's own threads. The work of a worker that is lost is done
        again by others.
    progress : bool or callable
        Show a progress bar; or call this, in this thread, with the number of images that are done
        and of all, which is None where nobody knows.
    store : str or Path, optional
        A folder for finished shards. The same call goes on where another ended; a shard of which
        an image has changed, or could not be read, is computed again. Several processes may share
        it. Networks are compared by their numbers, and a model of your own by its layers' classes,
        settings and constants too. Of classes of your own, and of functions in ``Lambda`` layers,
        the name counts and not the code; functions that are not in an imported module are refused.
        Preprocessing is compared by what it makes of a dozen pictures.

    Returns
    -------
    TopActivations
        The same to the last bit for any number of workers, and resumed or not, between like
        machines with the same versions: shards depend on the pictures' names alone, and batches
        on their sizes and the machine's memory. Equal values are in the order of the images, and
        values that are not finite are left out. Bad images are left out, and named in its
        ``failed``.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, there is no image or no good one, an item may be understood in
        several ways, or the store was made with other weights, layers, k, statistic, size or
        preprocessing.
    LayerNameError
        A KeyError and ValueError, if there is no such layer.
    OSError
        If the store cannot be written to.

    Warns
    -----
    UserWarning
        Once, at the end, if more than a tenth of the images are bad.
    """
    if not isinstance(extractor, FeatureExtractor):
        raise TypeError(f"extractor is a {type(extractor).__name__}: pass a FeatureExtractor.")
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k {briefly(k)} is no number of images: give 1 or more.")
    if statistic not in STATISTICS:
        raise ValueError(unknown_choice("statistic", statistic, STATISTICS))
    chosen = chosen_layers(extractor, layers)
    check_client(client)
    found, total = image_set(images, extractor)
    job = Job(chosen, statistic, int(k), None)
    if store is not None:
        job = replace(job, store=Store.opened(store, _manifest(extractor, job)))
    # Names and paths, and not the pictures.
    seen: list[tuple[str, str]] = []

    def noted(shards: Iterable[Shard]) -> Iterator[Shard]:
        for shard in shards:
            seen.extend((image.name, image.path) for image in shard.images)
            yield shard

    # Closed, since an interrupt's traceback would keep its threads.
    with shown_progress(progress, total) as tell, closing(found) as shards:
        if client is not None:
            summary = computed_by_cluster(client, extractor, job, noted(shards), tell)
        else:
            network = job.network(extractor)
            tree = MergeTree[Summary](lambda parts: merged(parts, job.k))
            for shard in noted(shards):
                tree.add(computed_shard(network, job, shard, tell))
            summary = tree.result()
    if summary is None:
        raise ValueError(EMPTY)
    return _result(extractor, job, summary, seen)


def _manifest(extractor: FeatureExtractor, job: Job) -> dict[str, Any]:
    return {
        "weights": digest_of(extractor),
        "layers": [layer.name for layer in job.layers],
        # Names are not in the weights' digest, and two layers may have changed theirs.
        "outputs": [layer.index for layer in job.layers],
        "k": job.k,
        "statistic": job.statistic,
        "size": extractor.size,
        "preprocessing": preprocessing_digest(extractor),
        "batch": BATCH,
    }


def _result(
    extractor: FeatureExtractor, job: Job, summary: Summary, seen: list[tuple[str, str]]
) -> TopActivations:
    names, paths = zip(*seen, strict=True)
    failed = {names[place]: sentence for place, sentence in summary.failed}
    name, sentence = next(iter(failed.items()), ("", ""))
    if len(failed) == len(names):
        raise ValueError(
            f"images holds no good picture among its {len(names)}, beginning with {name!r} "
            f"({sentence.rstrip('.')}): pass others."
        )
    if 10 * len(failed) > len(names):
        beginning = sentence if name in sentence else f"{name}: {sentence}"
        # `warn` would say it once only, however often a cell is run.
        warnings.warn_explicit(
            f"{len(failed)} of {len(names)} images could not be used, and the result is of the "
            f"others: mend or leave out those in .failed, beginning with {beginning}",
            UserWarning,
            __name__,
            0,
        )
    strongest, aliases = {}, dict[str, str]()
    first = 0
    for layer in job.layers:
        channels = slice(first, first + layer.info.channels)
        first = channels.stop

        def info_on(size: tuple[int, int], layer: ChosenLayer = layer) -> LayerInfo:
            return extractor.at_size(size).layers[layer.index]

        strongest[layer.name] = strongest_of(summary, channels, layer.info, info_on)
        aliases |= dict.fromkeys(layer.aliases, layer.name)
    return TopActivations(
        strongest,
        SeenImages(names, paths, summary.sizes, summary.digests, failed),
        # A model of one's own is known by its name alone, which others may have.
        replace(extractor.weights, digest=weights_digest(extractor)),
        job.k,
        job.statistic,
        extractor.size,
        aliases,
    )
