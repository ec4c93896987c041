"""What a command line may say, and what of it was written down and is read again. Imports no torch.

The dataclasses hold the only defaults; their field docstrings are ``--help``; every value is checked where it is read.
"""
