"""Allocation by prices."""
