"""Programs that have never heard of the mesh become part of it: docs/how-to/zero-code.md."""
