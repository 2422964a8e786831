"""The exchange's back door for tests: what it did, and the faults that are on.

`GET /_control/state`; `GET`, `POST`, `DELETE /_control/faults[?name=]`. No weight, and no fault ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from dataflows.replay.answers import Answer, Request
from dataflows.replay.faults import Fault
from dataflows.replay.switches import Faults
from engine.errors import SettingsError

PREFIX: Final = "/_control/"


class Control:
    """Answers below `PREFIX`; `add` switches a fault on, `changed` is called when all were forgotten."""

    def __init__(
        self,
        faults: Faults,
        state: Callable[[], dict[str, Any]],
        add: Callable[[Fault], None],
        changed: Callable[[], None],
    ) -> None:
        self._faults = faults
        self._state = state
        self._add = add
        self._changed = changed

    def answer(self, request: Request) -> Answer:
        topic = request.path.removeprefix(PREFIX)
        if topic == "state":
            return Answer.of(self._state())
        if topic != "faults":
            return Answer.error(404, -1, f"{request.path} is not served; known: state, faults")
        try:
            self._change(request)
        except (SettingsError, orjson.JSONDecodeError) as error:
            return Answer.error(400, -1, str(error))
        return Answer.of({"faults": self._faults.listed()})

    def _change(self, request: Request) -> None:
        if request.method == "DELETE":
            self._faults.clear(request.query.get("name", ""))
            self._changed()
        elif request.method == "POST":
            body = orjson.loads(request.body)
            for fault in [Fault.of(given) for given in (body if isinstance(body, list) else [body])]:
                self._add(fault)
