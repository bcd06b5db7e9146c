# SPDX-License-Identifier: Apache-2.0
"""A socket at which a page of this machine is served."""

import socket

from avkit.errors import AvkitError


def listen(host: str, port: int, advice: str = "Give another --port (0 for any that is free).") -> socket.socket:
    """A socket that listens at an address.

    Args:
        host: Name or number of the address.
        port: Its port; 0 for any that is free.
        advice: What an error tells to do.

    Raises:
        ValueError: If the port is none.
        AvkitError: If it is taken, or is not one of this machine.
    """
    if not 0 <= port < 65536:
        raise ValueError(f"--port is {port}; it is a number from 0 to 65535.")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise AvkitError(f"{host}:{port} cannot be listened at: {error.strerror or error}. {advice}") from error
