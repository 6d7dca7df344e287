"""A family of programs as `fastgen_devcluster.versions` has them, for tests."""

from __future__ import annotations

from fastgen_devcluster.versions import Archive, Family, Program


def a_family(*archives: Archive, name: str = "tools") -> Family:
    """A family with one program for each archive: hammer, then saw."""
    programs = tuple(
        Program(program, f"example.test/tools/{program}", archive)
        for program, archive in zip(("hammer", "saw"), archives, strict=False)
    )
    return Family(name, "1.2.3", "v1.2.3", programs, oldest=(1, 2), newest=(1, 4))
