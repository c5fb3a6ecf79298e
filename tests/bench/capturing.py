"""A capture that looks at every packet of a running tidegate and finds none, beside its traffic."""

import http.client
import json

from processes import RunError
from tidegate import UnixConnection

# By the end of a case's name: what no packet of the traffic is.
FILTERS = {"capture": "host 203.0.113.77", "capture-drop": "drop"}


class Capturing:
    """A capture with one of `FILTERS`, from entering the context to leaving it."""

    def __init__(self, socket_path, kind):
        self.socket_path, self.filter = socket_path, FILTERS[kind]
        self.connection = UnixConnection(socket_path)

    def __enter__(self):
        try:
            self.connection.request("POST", "/v1/capture", json.dumps({"filter": self.filter, "format": "text"}))
            response = self.connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise RunError(f"no capture begins: {error}") from error
        if response.status != 200:
            raise RunError(f"no capture begins: {response.read().decode(errors='replace')}")
        return self

    def __exit__(self, *_):
        self.connection.close()

    def check(self, status):
        """RunError unless it still looks and has found nothing, by the answer of GET /v1/capture."""
        if not status["running"] or status["filter"] != self.filter:
            raise RunError(f"the capture of {self.filter} has ended")
        found = status["packets"] + status["lost"] + status["limited"]
        if found:
            raise RunError(f"{found} packets match {self.filter}, so this says nothing about a capture that finds none")
