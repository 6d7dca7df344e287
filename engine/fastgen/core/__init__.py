"""Requests, blocks and the scheduler: pure Python, no torch, tested in milliseconds."""
