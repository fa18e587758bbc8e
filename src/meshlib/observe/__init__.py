"""What the mesh tells about itself: spans, counts, lines of a log."""
