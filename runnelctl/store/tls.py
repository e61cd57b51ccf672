"""TLS of a `rediss://` connection."""

from __future__ import annotations

import ssl

from runnelctl import errors
from runnelctl.store.endpoint import Endpoint, Tls


def tls_context(endpoint: Endpoint, tls: Tls) -> ssl.SSLContext:
    """As `made`. Raises UsageError if a file can't be read."""
    try:
        return made(tls)
    except OSError as error:
        raise errors.UsageError(f"TLS files of {endpoint.shown}: {error}") from error


def made(tls: Tls) -> ssl.SSLContext:
    """Verify certificates unless the URL says otherwise, as redis-py's `ssl_cert_reqs` does. Raises OSError."""
    context = ssl.create_default_context(cafile=tls.ca_certs)
    if tls.certfile:
        context.load_cert_chain(tls.certfile, tls.keyfile)
    context.check_hostname = tls.check_hostname and tls.cert_reqs == "required"
    modes = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
    context.verify_mode = modes[tls.cert_reqs]
    return context
