"""One decoder driven by a spec; a small file per family maps names and configuration."""
