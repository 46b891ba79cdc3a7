"""Which input channels a channel is made of, and pictures of that."""

from vgg_widget.circuit.inputs import Circuit, CircuitInput, circuit

__all__ = ["Circuit", "CircuitInput", "circuit"]
