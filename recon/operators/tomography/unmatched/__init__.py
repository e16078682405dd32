"""Back-projectors that are not the adjoint of the projector."""
