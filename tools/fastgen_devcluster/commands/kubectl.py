"""`devcluster kubectl`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from fastgen_devcluster.commands.base import add_name, chosen_cluster


def split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The words for devcluster and those for kubectl, which argparse would take for its own (`get pods -n x`)."""
    if words[:1] != [Kubectl.name]:
        return words, ()
    end = 1
    while end < len(words) and words[end].split("=")[0] == "--name":
        end += 1 if "=" in words[end] else 2
    if words[end : end + 1] in (["-h"], ["--help"]):
        end += 1
    return words[:end], words[end:]


class Kubectl:
    """See `description`."""

    name = "kubectl"
    help = "kubectl for a cluster"
    description = """\
Run kubectl, of the cluster's version, against a cluster. Everything after the first word that is not --name is
kubectl's.
"""
    epilog = """\
examples:
  devcluster kubectl get pods -A -w
  devcluster kubectl --name big apply -f examples/llama.yaml
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_name(parser)
        parser.usage = "devcluster kubectl [--name NAME] WHAT KUBECTL TAKES ..."

    def run(self, args: argparse.Namespace) -> int:
        cluster = chosen_cluster(args)
        command = cluster.kubectl_command(*args.passed_on)
        os.execve(command[0], command, cluster.environment())  # noqa: S606 - no shell is meant
