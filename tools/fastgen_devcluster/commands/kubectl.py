"""`devcluster kubectl` and `devcluster helm`: other programs, pointed at a cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from fastgen_devcluster.commands.base import add_name, chosen_cluster


def split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The words for devcluster and those for the program, which argparse would take for its own (`get pods -n x`)."""
    if not words or words[0] not in (Kubectl.name, Helm.name):
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


class Helm:
    """See `description`."""

    name = "helm"
    help = "helm for a cluster"
    description = """\
Run helm against a cluster, with nothing kept elsewhere. Everything after the first word that is not --name is helm's.
"""
    epilog = """\
examples:
  devcluster helm install fastgen-operator charts/fastgen-operator --namespace fastgen --create-namespace --wait
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_name(parser)
        parser.usage = "devcluster helm [--name NAME] WHAT HELM TAKES ..."

    def run(self, args: argparse.Namespace) -> int:
        cluster = chosen_cluster(args)
        command = cluster.helm_command(*args.passed_on)
        os.execve(command[0], command, cluster.environment())  # noqa: S606 - no shell is meant
