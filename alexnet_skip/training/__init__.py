"""One run, from settings to published model. Start with ``run.py``, which reads from top to bottom."""
