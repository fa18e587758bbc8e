"""Decisions: passive objects that are told and asked, and neither wait nor call out."""
