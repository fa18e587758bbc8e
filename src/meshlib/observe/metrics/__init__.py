"""What the mesh counts: a small metrics library, the listener that feeds it, and the page."""
