"""Folders without any engine: who may write the lake now, and files that are written whole."""
