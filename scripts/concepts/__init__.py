"""Draws the pictures of docs/concepts.md and computes its numbers."""
