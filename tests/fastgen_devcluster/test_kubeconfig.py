"""A kubeconfig stands on its own and is private."""

from __future__ import annotations

import stat
from pathlib import Path

from kubernetes import client, config

from fastgen_devcluster.certificates import Authority
from fastgen_devcluster.kubeconfig import kubeconfig_text, write_kubeconfig


def test_the_official_client_reads_it_and_only_its_owner_may(tmp_path: Path) -> None:
    authority = Authority.new("ours")
    identity = authority.client("ada")
    text = kubeconfig_text(
        cluster="dev",
        server="https://127.0.0.1:6443",
        authority=authority.certificate,
        user="ada",
        identity=identity,
    )
    path = write_kubeconfig(tmp_path / "kubeconfig", text)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read = client.Configuration()
    config.load_kube_config(str(path), client_configuration=read)
    assert read.host == "https://127.0.0.1:6443"
    assert Path(read.ssl_ca_cert).read_bytes() == authority.certificate
    assert Path(read.cert_file).read_bytes() == identity.certificate
    assert Path(read.key_file).read_bytes() == identity.key
