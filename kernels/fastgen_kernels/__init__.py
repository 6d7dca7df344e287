"""Tensor operations with one meaning and several implementations."""
