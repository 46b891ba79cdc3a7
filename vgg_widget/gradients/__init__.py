"""Why a unit has its value: the sum that it is, and the pixels that it owes it to."""

from vgg_widget.gradients.arguments import METHODS
from vgg_widget.gradients.attribution import attribute
from vgg_widget.gradients.result import Attribution, Completeness
from vgg_widget.gradients.unit_sum import UnitSum, explain_unit

__all__ = ["METHODS", "Attribution", "Completeness", "UnitSum", "attribute", "explain_unit"]
