"""Allocation by prices: the dual, best responses, subgradient steps, restricted master, repair and fill."""
