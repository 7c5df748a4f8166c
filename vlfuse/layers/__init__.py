"""Modules that several backbones and systems share."""
