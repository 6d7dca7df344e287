"""The demonstration model: what it knows, how it is trained, how its answers are judged (docs/guide-model.md)."""
