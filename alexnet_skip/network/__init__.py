"""The network: frozen convolutions and their fast CPU forms, ImageNet weights, skip connection and head, the whole.

Tensors in, tensors out; where features are kept, and how the head is trained, is said elsewhere.
"""
