"""One manifest on one machine: what `fastgen up` and `fastgen.serve` run."""
