"""The sub-commands of `fastgen`, one file each."""
