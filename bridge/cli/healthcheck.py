"""`leadbridge healthcheck`: the running bridge's own answer, for container engines."""

import http.client
import os

from bridge.cli import inputs, output
from bridge.cli.inputs import ConfigOption, PathArgument
from bridge.config.load import admin_address
from bridge.errors import OperatorError

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a listener on all addresses is reached
_SECONDS = 2.0

app = output.application()


@app.command(
    epilog=output.examples(
        "leadbridge healthcheck", 'HEALTHCHECK CMD ["leadbridge", "healthcheck"]    # in a Dockerfile'
    )
)
def healthcheck(path: PathArgument = None, *, config: ConfigOption = None) -> None:
    """Ask the bridge on this machine whether it lives; the exit status is 1 if it does not.

    The address is `server.admin` of the configuration.
    """
    address = admin_address(inputs.config_path(inputs.chosen_path(path, config)), os.environ)
    host = _EVERY_ADDRESS.get(address.host, address.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{address.port}/healthz"
    connection = http.client.HTTPConnection(host, address.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise OperatorError(f"nothing answers at {url}: is `leadbridge serve` running?") from error
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise OperatorError(f"{url} answered {status}: `leadbridge doctor` says why")
    output.say(f"{url} answered {status}")
