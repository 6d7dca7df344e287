"""What `devcluster` can do, one command a file."""
