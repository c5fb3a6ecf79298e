"""Reloads of a running tidegate, one after the other, beside its traffic."""

import json
import threading
import time

from processes import RunError
from tidegate import UnixConnection

# Share of the wanted rate that has to be reached for a figure to mean anything.
RATE_SHARE_MIN = 0.9


def changed(text):
    """A configuration with another weight of the first backend, so that its table has to be built anew."""
    name = 'name = "b1"\n'
    if text.count(name) != 1:
        raise RunError("the configuration has no backend b1")
    return text.replace(name, name + "weight = 99\n")


class Reloads(threading.Thread):
    """Two files in turn, `rate` times a second, from entering the context to leaving it."""

    def __init__(self, socket_path, paths, rate):
        super().__init__(daemon=True)
        self.connection, self.paths, self.rate = UnixConnection(socket_path), paths, rate
        self.over, self.count, self.error, self.started_at = threading.Event(), 0, None, 0.0

    def __enter__(self):
        self.started_at = time.monotonic()
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        self.join()
        self.connection.close()
        if kind is None and self.error:
            raise RunError(f"reload {self.count + 1} fails: {self.error}")

    def run(self):
        due = self.started_at
        while not self.over.wait(max(0.0, due - time.monotonic())):
            due += 1 / self.rate
            try:
                # The connection may be at its end; the next one is not.
                if self.count % 1000 == 999:
                    self.connection.close()
                self.connection.request("POST", "/v1/reload", json.dumps({"path": self.paths[self.count % len(self.paths)]}))
                response = self.connection.getresponse()
                said = response.read()
            except OSError as error:
                self.error = str(error)
                return
            if response.status != 200:
                self.error = said.decode(errors="replace")
                return
            self.count += 1

    def check(self):
        """RunError if there were fewer than there should have been."""
        seconds = time.monotonic() - self.started_at
        if self.count < RATE_SHARE_MIN * self.rate * seconds:
            raise RunError(f"only {self.count / seconds:.0f} of {self.rate} reloads a second")
