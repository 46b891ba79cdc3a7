"""The default weights shipped with the package: their source photographs and build command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path

from vgg_widget.images import RGB8, ImageError, read_image
from vgg_widget.learning.learn import learn_weights
from vgg_widget.weights.learned_weights import LearnedWeights


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph included in another package.

    `author` and `licence` are as stated by the package, in the location given by `stated`.
    """

    package: str
    file: str
    author: str
    licence: str
    stated: str

    def read(self) -> RGB8:
        """Return its pixels from the installed package; nothing is downloaded."""
        try:
            data = (resources.files(self.package) / self.file).read_bytes()
        except (ModuleNotFoundError, FileNotFoundError) as error:
            raise ImageError(
                f"photograph {self.file} of {self.package} is not installed: run "
                "pip install scikit-image scikit-learn."
            ) from error
        return read_image(data).pixels


_TABLE = """
skimage | data/astronaut.png | NASA | no known copyright restrictions, public domain
skimage | data/coffee.png | Rachel Michetti (courtesy of Pikolo Espresso Bar) | CC0
skimage | data/chelsea.png | Stefan van der Walt | CC0
skimage | data/rocket.jpg | SpaceX | public domain
sklearn | datasets/images/china.jpg | danielbuechele (flickr.com) | CC BY 2.0
sklearn | datasets/images/flower.jpg | vultilion (flickr.com) | CC BY 2.0
"""


def _photograph(row: str) -> Photograph:
    package, file, author, licence = row.split(" | ")
    stated = "sklearn/datasets/images/README.txt"
    if package == "skimage":
        stated = f"docstring of skimage.data.{Path(file).stem}"
    return Photograph(package, file, author, licence, stated)


EMBEDDED_PHOTOGRAPHS = tuple(map(_photograph, _TABLE.strip().splitlines()))
"""The photographs that the default weights are learned from. The sample image is not one of
them."""


def learn_embedded(*, seed: int = 0, progress: bool = True) -> LearnedWeights:
    """Learn the default weights from `EMBEDDED_PHOTOGRAPHS`."""
    weights = learn_weights(
        [photograph.read() for photograph in EMBEDDED_PHOTOGRAPHS], seed=seed, progress=progress
    )
    sources = [asdict(photograph) for photograph in EMBEDDED_PHOTOGRAPHS]
    return replace(weights, metadata={**weights.metadata, "sources": sources})


def main(arguments: Sequence[str] | None = None) -> int:
    """Create the default weights that vgg-widget ships (run by ``make learned-weights``)."""
    parser = argparse.ArgumentParser(prog="python -m vgg_widget.learning", description=main.__doc__)
    parser.add_argument("--embedded", metavar="OUT.npz", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    weights = learn_embedded(seed=chosen.seed)
    target = weights.save(chosen.embedded)
    print(f"{target}: {target.stat().st_size:,} bytes, {weights.digest}")  # noqa: T201
    return 0
