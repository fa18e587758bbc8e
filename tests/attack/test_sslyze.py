"""A scanner that is not ours, with a good certificate, judges our servers by Mozilla's profiles."""

from __future__ import annotations

import importlib.util
import os
import ssl

import pytest

from meshlib.control.local.certs import chain_pem
from meshlib.testing.attacks import good
from meshlib.testing.sites import asgi_site

if importlib.util.find_spec("sslyze") is None and os.environ.get("CI") != "true":
    pytest.skip("sslyze is not installed here", allow_module_level=True)

from sslyze import (
    CertificateInfoExtraArgument,
    ClientAuthenticationCredentials,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkConfiguration,
    ServerNetworkLocation,
    ServerScanRequest,
    TlsResumptionSupportEnum,
)
from sslyze.mozilla_tls_profile import tls_config_checker as mozilla

pytestmark = pytest.mark.filterwarnings("ignore")
"""Of sslyze's own: it is another's program."""
NOT_JUDGED = {"certificate_path_validation", "tls_curves"}
"""sslyze looks for a DNS name, and an X509-SVID has none; of curves see BEYOND."""
BEYOND = {"X448", "secp521r1"}
"""Stronger curves than Mozilla names.  Python cannot say which curves to use, only one of them."""


def scanned(address, folder, arena):
    """What sslyze finds."""
    leaf = next(good(arena)).leaf
    files = {name: folder / name for name in ("chain", "key", "root")}
    files["chain"].write_bytes(leaf.chain_pem)
    files["key"].write_bytes(leaf.key_pem)
    files["root"].write_bytes(chain_pem(arena.ours.root.certificate))
    host, port = address
    request = ServerScanRequest(
        server_location=ServerNetworkLocation(hostname="me", ip_address=host, port=port),
        network_configuration=ServerNetworkConfiguration(
            tls_server_name_indication="me",
            tls_client_auth_credentials=ClientAuthenticationCredentials(
                certificate_chain_path=files["chain"], key_path=files["key"]
            ),
        ),
        scan_commands_extra_arguments=ScanCommandsExtraArguments(
            certificate_info=CertificateInfoExtraArgument(custom_ca_file=files["root"])
        ),
    )
    scanner = Scanner()
    scanner.queue_scans([request])
    return next(iter(scanner.get_results()))


def issues(result, profile):
    """What stands against a profile."""
    try:
        mozilla.check_server_against_tls_configuration(
            result, mozilla.MozillaTlsConfiguration.get(profile)
        )
    except mozilla.ServerNotCompliantWithTlsConfiguration as exc:
        return exc.issues
    return {}


def curves(result):
    return {each.name for each in result.scan_result.elliptic_curves.result.supported_curves}


@pytest.mark.parametrize(
    ("floor", "profile"),
    [
        (ssl.TLSVersion.TLSv1_3, mozilla.TlsConfigurationEnum.MOZILLA_MODERN),
        (ssl.TLSVersion.TLSv1_2, mozilla.TlsConfigurationEnum.MOZILLA_INTERMEDIATE),
    ],
    ids=["modern", "intermediate"],
)
def test_sslyze(arena, good_client, tmp_path, floor, profile):
    """Mozilla's modern profile, and intermediate where TLS 1.2 is allowed; but see NOT_JUDGED."""
    with asgi_site(arena, "httptools", "uvloop", good_client, oldest_tls=floor) as site:
        result = scanned(site.address, tmp_path, arena)
    assert set() == issues(result, profile).keys() - NOT_JUDGED
    allowed = mozilla.MozillaTlsConfiguration.get(profile).tls_curves
    assert curves(result) <= allowed | BEYOND
    found = result.scan_result
    assert not found.tls_1_3_early_data.result.supports_early_data
    assert not found.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos
    tickets = found.session_resumption.result.tls_ticket_resumption_result
    assert TlsResumptionSupportEnum.FULLY_SUPPORTED != tickets
