"""Faces, which users hold, and engines, which carry the bytes."""
