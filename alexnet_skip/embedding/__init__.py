"""The space that a run's images lie in: its axes, separation of classes, pictures, TensorBoard's projector."""
