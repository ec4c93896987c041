"""Where images and labels come from: CIFAR, folders, drawn shapes, a user's own files.

Ends in uint8 arrays, labels, stable sample ids and digests; what a network makes of them is not its business.
"""
