"""The input channels that a channel is computed from, and images of their kernels and maps."""

from vgg_widget.circuit.inputs import Circuit, CircuitInput, circuit

__all__ = ["Circuit", "CircuitInput", "circuit"]
