"""What a process gets instead of what only a container has. All of it is here, with its reason.

    a container has               here it gets                               because
    ----------------------------  -----------------------------------------  ----------------------------------------
    its image's root filesystem   this machine's, and the command that the   there is no runtime; the table says what
                                  table of images has for its entry point    stands for what
    volumes at mount paths        folders of the pod; in command, args, env  mounting takes root
                                  and probes' commands paths become those
    /tmp, when mounted            TMPDIR, in the pod's folder                programs find it there
    /dev/shm, when mounted        the machine's                              it is memory either way
    a network of its own          a loopback address, 127.1.x.y; "0.0.0.0"   all of 127/8 is this machine, and who
                                  in command, args and env becomes it        binds 0.0.0.0 takes the port from all
    KUBERNETES_SERVICE_HOST, and  KUBECONFIG with token file and authority,  there are no virtual IPs, and clients
    a token in /var/run/secrets   where a service account is mounted         know the token's path by heart; without
                                                                             those they look for KUBECONFIG
    Services by name              what --env gives (HTTP_PROXY)              resolving names takes root
    hostPath                      the folder that --host-path gives for it   a pod has no business in this machine's
    a claim's volume              its volume's hostPath or local path, so    own folders
    user, group, capabilities,    this machine's user; nothing of it is      changing them takes root, and another
    read-only root, seccomp       enforced                                   user could not read this checkout
    nvidia.com/gpu                a number for the scheduler                 there is no device plugin; a GPU of this
                                                                             machine is seen by every pod
    read-only mounts, sizeLimit,  not enforced                               folders have neither options nor quotas
    ephemeral-storage

What can neither be had nor be left out is refused with an event and a failed pod: `unsupported.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SERVICE_ACCOUNT_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
WITHOUT_MENTION = ("/tmp", "/dev/shm", SERVICE_ACCOUNT_MOUNT)  # noqa: S108 - mount paths of pods
"""Mount paths that a pod has without naming them: each has a substitute of its own."""
EVERY_INTERFACE = re.compile(r"(?<![\d.])0\.0\.0\.0(?![\d.])")


class Substitutions(NamedTuple):
    """One container's."""

    folders: Mapping[str, Path]
    """Mount path to the folder that stands for it."""
    pod_ip: str

    def in_text(self, text: str) -> str:
        """`text` with mount paths, longest first, and 0.0.0.0 replaced. Longer names that merely begin alike stay.

        All at once: a folder that stands for one mount may itself lie below the path of another, such as /tmp.
        """
        folders = {path.rstrip("/"): str(folder) for path, folder in self.folders.items()}
        if folders:
            longest_first = sorted(folders, key=len, reverse=True)
            mentions = re.compile("|".join(mention_of(path).pattern for path in longest_first))
            text = mentions.sub(lambda found: folders[found[0]], text)
        return EVERY_INTERFACE.sub(self.pod_ip, text)


def mention_of(path: str) -> re.Pattern[str]:
    """Matches `path` as a path: also in --flag=PATH, file://PATH and PATH/below, not in /other/PATH or PATH-more."""
    return re.compile(rf"(?:(?<=file://)|(?<![\w./~-])){re.escape(path.rstrip('/'))}(?![\w.-])")
