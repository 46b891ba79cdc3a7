"""The networks of `keras.applications`, by name: their functions and published weights.

Keras keeps these URLs and hashes private to its own download, which has no timeout and no mirrors.
The VGGs, which are built here, are in `imagenet`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vgg_widget.layers import VGGS
from vgg_widget.support.messages import briefly, nearest
from vgg_widget.weights.imagenet import IMAGENET
from vgg_widget.weights.remote import RemoteFile

_BASE = "https://storage.googleapis.com/"

# Two files have different names on the server and in Keras's folder.
_SERVED = {
    "nasnet_large_no_top.h5": "NASNet-large-no-top.h5",
    "nasnet_mobile_no_top.h5": "NASNet-mobile-no-top.h5",
}

# Keras builds these only from this size; the others accept every image size.
_SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75}

# NASNet needs a fixed size: with unknown sides, Keras would add maps of different sizes.
_SIDES = {"NASNetLarge": 331, "NASNetMobile": 224}


@dataclass(frozen=True, slots=True)
class Application:
    """A network of `keras.applications`.

    Parameters
    ----------
    title : str
        The name of the function that builds it, such as ``"ResNet50"``.
    module : str
        The module of `keras.applications` with its ``preprocess_input``.
    file : RemoteFile
        Its ImageNet weights without the top.
    side : int or None
        The side of its square input in pixels, if Keras supports only one size.
    smallest : int
        Smallest side of an image in pixels.
    """

    title: str
    module: str
    file: RemoteFile
    side: int | None = None
    smallest: int = 32

    @property
    def name(self) -> str:
        """Its name in `FeatureExtractor`, such as ``"resnet50"``."""
        return self.title.lower()


def _of(module: str, folder: str, files: dict[str, tuple[str, str]]) -> Iterator[Application]:
    for title, (name, digest) in files.items():
        remote = RemoteFile(
            name=name,
            base=f"{_BASE}{folder}/",
            hash=digest,
            size=None,
            what=f"{title}'s ImageNet weights",
            title=f"{title} ImageNet weights",
            command=f"vgg-widget weights --network {title.lower()} --download",
            served=_SERVED.get(name, name),
        )
        yield Application(title, module, remote, _SIDES.get(title), _SMALLEST.get(title, 32))


# Files without a hash have none in Keras either.
_ALL = (
    *_of(
        "convnext",
        "tensorflow/keras-applications/convnext",
        {
            "ConvNeXtBase": (
                "convnext_base_notop.h5",
                "sha256:40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
            ),
            "ConvNeXtLarge": (
                "convnext_large_notop.h5",
                "sha256:96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
            ),
            "ConvNeXtSmall": (
                "convnext_small_notop.h5",
                "sha256:6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
            ),
            "ConvNeXtTiny": (
                "convnext_tiny_notop.h5",
                "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
            ),
            "ConvNeXtXLarge": (
                "convnext_xlarge_notop.h5",
                "sha256:de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
            ),
        },
    ),
    *_of(
        "densenet",
        "tensorflow/keras-applications/densenet",
        {
            "DenseNet121": (
                "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:30ee3e1110167f948a6b9946edeeb738",
            ),
            "DenseNet169": (
                "densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:b8c4d4c20dd625c148057b9ff1c1176b",
            ),
            "DenseNet201": (
                "densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:c13680b51ded0fb44dff2d8f86ac8bb1",
            ),
        },
    ),
    *_of(
        "efficientnet",
        "keras-applications",
        {
            "EfficientNetB0": ("efficientnetb0_notop.h5", "md5:50bc09e76180e00e4465e1a485ddc09d"),
            "EfficientNetB1": ("efficientnetb1_notop.h5", "md5:74c4e6b3e1f6a1eea24c589628592432"),
            "EfficientNetB2": ("efficientnetb2_notop.h5", "md5:111f8e2ac8aa800a7a99e3239f7bfb39"),
            "EfficientNetB3": ("efficientnetb3_notop.h5", "md5:af6d107764bb5b1abb91932881670226"),
            "EfficientNetB4": ("efficientnetb4_notop.h5", "md5:ebc24e6d6c33eaebbd558eafbeedf1ba"),
            "EfficientNetB5": ("efficientnetb5_notop.h5", "md5:38879255a25d3c92d5e44e04ae6cec6f"),
            "EfficientNetB6": ("efficientnetb6_notop.h5", "md5:9ecce42647a20130c1f39a5d4cb75743"),
            "EfficientNetB7": ("efficientnetb7_notop.h5", "md5:cbcfe4450ddf6f3ad90b1b398090fe4a"),
        },
    ),
    *_of(
        "efficientnet_v2",
        "tensorflow/keras-applications/efficientnet_v2",
        {
            "EfficientNetV2B0": (
                "efficientnetv2-b0_notop.h5",
                "md5:893217f2bb855e2983157299931e43ff",
            ),
            "EfficientNetV2B1": (
                "efficientnetv2-b1_notop.h5",
                "md5:0e80663031ca32d657f9caa404b6ec37",
            ),
            "EfficientNetV2B2": (
                "efficientnetv2-b2_notop.h5",
                "md5:1dfe2e7a5d45b6632553a8961ea609eb",
            ),
            "EfficientNetV2B3": (
                "efficientnetv2-b3_notop.h5",
                "md5:f6abf7b5849ac99a89b50dd3fd532856",
            ),
            "EfficientNetV2L": (
                "efficientnetv2-l_notop.h5",
                "md5:b0b66b5c863aef5b46e8608fe1711615",
            ),
            "EfficientNetV2M": (
                "efficientnetv2-m_notop.h5",
                "md5:1b8dc055df72dde80d614482840fe342",
            ),
            "EfficientNetV2S": (
                "efficientnetv2-s_notop.h5",
                "md5:af0682fb74e8c54910f2d4393339c070",
            ),
        },
    ),
    *_of(
        "inception_resnet_v2",
        "tensorflow/keras-applications/inception_resnet_v2",
        {
            "InceptionResNetV2": (
                "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:d19885ff4a710c122648d3b5c3b684e4",
            ),
        },
    ),
    *_of(
        "inception_v3",
        "tensorflow/keras-applications/inception_v3",
        {
            "InceptionV3": (
                "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:bcbd6486424b2319ff4ef7d526e38f63",
            ),
        },
    ),
    *_of(
        "mobilenet",
        "tensorflow/keras-applications/mobilenet",
        {
            "MobileNet": ("mobilenet_1_0_224_tf_no_top.h5", ""),
        },
    ),
    *_of(
        "mobilenet_v2",
        "tensorflow/keras-applications/mobilenet_v2",
        {
            "MobileNetV2": (
                "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
                "",
            ),
        },
    ),
    *_of(
        "mobilenet_v3",
        "tensorflow/keras-applications/mobilenet_v3",
        {
            "MobileNetV3Large": (
                "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
                "md5:07fb09a5933dd0c8eaafa16978110389",
            ),
            "MobileNetV3Small": (
                "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
                "md5:d3e8ec802a04aa4fc771ee12a9a9b836",
            ),
        },
    ),
    *_of(
        "nasnet",
        "tensorflow/keras-applications/nasnet",
        {
            "NASNetLarge": ("nasnet_large_no_top.h5", "md5:d81d89dc07e6e56530c4e77faddd61b5"),
            "NASNetMobile": ("nasnet_mobile_no_top.h5", "md5:1ed92395b5b598bdda52abe5c0dbfd63"),
        },
    ),
    *_of(
        "resnet",
        "tensorflow/keras-applications/resnet",
        {
            "ResNet50": (
                "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:4d473c1dd8becc155b73f8504c6f6626",
            ),
            "ResNet101": (
                "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:88cf7a10940856eca736dc7b7e228a21",
            ),
            "ResNet152": (
                "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:ee4c566cf9a93f14d82f913c2dc6dd0c",
            ),
        },
    ),
    *_of(
        "resnet_v2",
        "tensorflow/keras-applications/resnet",
        {
            "ResNet50V2": (
                "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:fac2f116257151a9d068a22e544a4917",
            ),
            "ResNet101V2": (
                "resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:c0ed64b8031c3730f411d2eb4eea35b5",
            ),
            "ResNet152V2": (
                "resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:ed17cf2e0169df9d443503ef94b23b33",
            ),
        },
    ),
    *_of(
        "xception",
        "tensorflow/keras-applications/xception",
        {
            "Xception": (
                "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:b0042744bf5b25fce3cb969f33bebb97",
            ),
        },
    ),
)

APPLICATIONS = {one.name: one for one in _ALL}
"""All networks except the VGGs, by name."""


def checked_network(name: object) -> str:
    """Return a network's canonical name, ignoring case and hyphens.

    Raises ValueError, naming the known networks, for an unknown name.
    """
    words = re.sub(r"[\W_]", "", name.lower()) if isinstance(name, str) else None
    if words in VGGS or words in APPLICATIONS:
        return str(words)
    names = [*VGGS, *APPLICATIONS]
    near = nearest(names, words) if words else None
    advice = f"did you mean {near!r}?" if near else f"choose one of {', '.join(map(repr, names))}."
    raise ValueError(f"network {briefly(name)} is not known: {advice}")


def imagenet_file(name: str) -> RemoteFile:
    """Return a network's ImageNet weights without its top."""
    return APPLICATIONS[name].file if name in APPLICATIONS else IMAGENET[name]


def network_title(name: str) -> str:
    """Return a network's usual spelling, such as ``"ResNet50"``."""
    return VGGS[name].title if name in VGGS else APPLICATIONS[name].title
