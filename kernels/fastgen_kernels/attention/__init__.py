"""Attention over a blocked KV cache: backends behind one interface."""
