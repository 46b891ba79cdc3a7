"""The explorer's traits: what it can be asked to show, and which answers it takes."""

from __future__ import annotations

from typing import Any

from traitlets import Enum, HasTraits, Instance, TraitError, Unicode, validate

from vgg_widget.activations import Activations
from vgg_widget.controls import LAYER_NAMES
from vgg_widget.modes import Rendering, find_mode
from vgg_widget.rendering import checked_channel, choose_channels, find_cmap
from vgg_widget.scaling import as_scale
from vgg_widget.traits import ChannelNumbers, WholeNumber, as_trait_error


class ExplorerTraits(HasTraits):
    """What an explorer shows, each trait checked against the activations it has."""

    layer = Unicode("block1_conv1", help="Name of the layer on show; Keras's or torchvision's.")
    channel = WholeNumber(0, help="Channel on show in mode 'channel'; from 0.")
    channels = ChannelNumbers(
        help="Channels that the other modes show, as a tuple of ints; () is the mode's default."
    )
    mode = Unicode("channel", help="How channels become one picture; a registered mode's name.")
    cmap = Unicode("viridis", help="Name of a matplotlib colormap.")
    scale = Unicode("layer", help="What the display range is taken over: channel, layer, network.")
    layer_names = Enum(
        LAYER_NAMES, "keras", help="Whose names the layers are listed by: keras, torchvision, both."
    )
    activations = Instance(Activations, read_only=True, help="All feature maps of the image.")
    rendering = Instance(Rendering, read_only=True, allow_none=True, help="The picture on show.")

    # What stands until the constructor has come so far.
    _closed = True

    @validate("layer")
    def _valid_layer(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        as_trait_error(self.activations.info, proposal["value"])
        return str(proposal["value"])

    @validate("channel")
    def _valid_channel(self, proposal: dict[str, Any]) -> int:
        self._require_open()
        count = self.activations.info(self.layer).channels
        number = proposal["value"]
        return int(as_trait_error(checked_channel, "channel", number, self.layer, count))

    @validate("channels")
    def _valid_channels(self, proposal: dict[str, Any]) -> tuple[int, ...]:
        self._require_open()
        mode = find_mode(self.mode)
        if proposal["value"] and mode.takes != "one":
            as_trait_error(
                choose_channels, self.activations, self.layer, mode, channels=proposal["value"]
            )
        count = self.activations.info(self.layer).channels
        for number in proposal["value"]:
            as_trait_error(checked_channel, "channels", number, self.layer, count)
        return tuple(proposal["value"])

    @validate("mode", "cmap", "scale")
    def _valid_name(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        check = {"mode": find_mode, "cmap": find_cmap, "scale": as_scale}[proposal["trait"].name]
        as_trait_error(check, proposal["value"])
        return str(proposal["value"])

    @validate("layer_names")
    def _valid_names(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        value = str(proposal["value"])
        if value != "keras" and not any(info.torch_name for info in self.activations.layers):
            raise TraitError(
                f"layer_names {value!r} is for VGG19, and this network's layers have no name in "
                "torchvision: leave it at 'keras'."
            )
        return value

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("explorer is closed: make a new LayerExplorer.")
