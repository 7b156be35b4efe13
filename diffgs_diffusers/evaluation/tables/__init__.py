"""The tables of ``training/evaluate.py``: each measures something, prints Markdown and returns the numbers."""
