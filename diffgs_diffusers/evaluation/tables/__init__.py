"""The tables of ``training/evaluate.py``: each measures one thing, prints it as Markdown and returns its numbers."""
