"""Where a mesh learns what is there: the protocols and what implements them."""
