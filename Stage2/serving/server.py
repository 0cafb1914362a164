"""Running the workbench: its socket, its address, and the loop until it is stopped."""

import errno
import ipaddress
import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from Stage2.serving.app import VENDOR, create_app
from Stage2.serving.events import Events
from Stage2.serving.security import Access, hosts_of
from Stage2.serving.settings import ServeSettings

LOCAL = ("127.0.0.1", "localhost", "::1")
SECONDS_TO_CLOSE = 2  # that open connections have when the server is stopped

logger = logging.getLogger(__name__)


def serve(
    settings: ServeSettings, tell: Callable[[str], None], *, host: str = LOCAL[0], port: int = 0,
    token: str | None = None, names: Sequence[str] = (), certificate: tuple[Path, Path] | None = None,
) -> None:  # fmt: skip
    """Serve until the process is interrupted.

    Args:
        settings: of the workbench.
        tell: called with the address, with its token, when it can be opened.
        host: address to listen on.
        port: 0: any that is free.
        token: that requests must bear, as of `token_in`; None: a new one.
        names: further ones by which the machine is reached.
        certificate: files of the certificate and its key, for TLS.

    Raises:
        FileNotFoundError, ValueError, OSError: something does not fit, or the port is taken.
    """
    if host not in LOCAL and token is None:
        raise ValueError(f"--host {host} lets other machines in; it needs a token of your own: add --token-file FILE.")
    if certificate is not None:
        _check_certificate(*certificate)
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    everywhere = ipaddress.ip_address(listening.getsockname()[0]).is_unspecified
    known = (*LOCAL, host, socket.gethostname(), *names)
    access = Access(
        token or secrets.token_hex(24), hosts_of(known, port), any_address=everywhere, secure=certificate is not None,
        port=port,
    )  # fmt: skip
    app = create_app(settings, access)
    if not VENDOR.is_dir():
        logger.warning("the page's viewer is not installed; run: bash tools/setup.sh --workbench")
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, date_header=False,
        ws="none", timeout_graceful_shutdown=SECONDS_TO_CLOSE, proxy_headers=False,
        ssl_certfile=certificate and certificate[0], ssl_keyfile=certificate and certificate[1],
    )  # fmt: skip
    shown = names[0] if names else socket.gethostname() if everywhere else host
    shown = f"[{shown}]" if ":" in shown else shown
    tell(f"{'https' if certificate else 'http'}://{shown}:{port}/?token={access.token}")
    _Server(config, app.app.state.events).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends the streams of events before it waits for connections to close."""

    def __init__(self, config: uvicorn.Config, events: Events):
        super().__init__(config)
        self._events = events

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._events.close()
        await super().shutdown(sockets)


def _check_certificate(certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; expected a PEM file for TLS.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # of ssl too
        reason = getattr(error, "reason", None) or error.strerror
        raise ValueError(
            f"--certificate {certificate} {key} cannot be used ({reason}); expected a certificate and its key, in PEM."
        ) from None


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
        return listening
    except OSError as error:
        what = "--host" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else "--port"
        raise OSError(f"{host}:{port} cannot be listened on ({error.strerror}); give another {what}.") from None
