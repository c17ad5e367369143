"""A daemon that answers what a test tells it to, on a real control socket."""

from collections.abc import Mapping
from typing import Any

from wfpd.control.admin import AdminServer, Method, Roles
from wfpd.control.protocol import REFUSED, Role, RpcError
from wfpd.daemon.asked import PARAMETERS
from wfpd.daemon.recorded import PARAMETERS as WHY
from wfpd.observe.sinks import Hub

GOOD = "version: 1\nfilters:\n  - {name: a, layer: ipforward, action: block}\n"
TYPES = ("providers", "sublayers", "provider_contexts", "callouts", "filters", "flows", "layers", "sets")
"""Types of objects that are listed."""
WHOLE = {"layers", "sets"}
"""Types whose lists come without pages."""


def key(number: int) -> str:
    """The GUID of an object of a test."""
    return f"00000000-0000-0000-0000-{number:012x}"


class Daemon:
    """What the socket answers."""

    def __init__(self, path: str) -> None:
        self.enforcing = True
        self.why_not: list[str] = []
        self.answer: dict | Exception = {}
        self.asked: list[dict] = []
        """Parameters of the calls, one after the other."""
        self.objects: dict[str, list[dict]] = {name: [] for name in TYPES}
        self.page = 2
        """Objects that a page has at most, however many are asked for."""
        self.hub = Hub()
        methods = {"status": Method(Role.READ, lambda params, peer: self.status()),
                   "events.last": Method(Role.READ, lambda params, peer: self.answer)}  # fmt: skip
        answered: dict[str, Any] = {
            "reload": {"confirm"}, "confirm": set(), "explain": PARAMETERS, "counters": set(), "sessions.list": set(),
            "why": WHY, "sets.get": {"name", "size"},
            "filters.add": {"policy", "filter", "for"}, "sublayers.add": {"sublayer"},
            "provider_contexts.add": {"provider_context"},
            "stage.start": {"path", "sample", "answers", "for"}, "stage.status": set(), "stage.stop": set(),
        }  # fmt: skip
        answered |= {f"{name}.delete": {"keys"} for name in TYPES}
        for name in TYPES:
            taken = set() if name in WHOLE else {"template", "size", "cursor"}
            methods[f"{name}.list"] = Method(Role.READ, self.lister(name), parameters=frozenset(taken))
            methods[f"{name}.get"] = Method(Role.READ, self.getter(name), parameters=frozenset({"key"}))
        for name, taken in answered.items():
            methods[name] = Method(Role.READ, lambda params, peer: self.reply(params), parameters=frozenset(taken))
        self.server = AdminServer(path, methods, Roles(), hub=self.hub)
        self.server.start()

    def status(self) -> dict:
        words = dict.fromkeys(("on_absent", "on_full", "on_late", "on_error", "on_malformed"), "permit")
        reload = {"last_successful": True, "last_success_timestamp": 0, "last_error": "", "confirm_remaining": None}
        return {"version": "0", "pid": 1, "policy": "p", "enforcing": self.enforcing, "audit": False, "generation": 1,
                "hash": "", "uptime_seconds": 1, "hooks": [], "queues": [], "flows": {"used": 0, "max": 1},
                "reload": reload, "words": words, "rules_error": "",
                "why_not": self.why_not}  # fmt: skip

    def reply(self, params: Mapping[str, Any]) -> dict:
        self.asked.append(dict(params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def lister(self, name: str):
        """`T.list`: objects whose own keys are as in the template, in pages; flags and conditions admit all."""

        def listing(params: Mapping[str, Any], _peer: object) -> dict:
            self.asked.append(dict(params))
            if name in WHOLE:
                return {"objects": self.objects[name]}
            if "cursor" in params:
                rest = self.cursors.pop(params["cursor"])
            else:
                wanted = params.get("template", {})
                rest = [item for item in self.objects[name]
                        if all(item.get(k, v) == v for k, v in wanted.items() if isinstance(v, str))]  # fmt: skip
            page, rest = rest[: self.page], rest[self.page :]
            cursor = f"cursor {len(rest)}" if rest else None
            self.cursors = {cursor: rest}
            return {"objects": page, "cursor": cursor, "total": len(page) + len(rest)}

        return listing

    def getter(self, name: str):
        """`T.get`: an object by its key."""

        def get(params: Mapping[str, Any], _peer: object) -> dict:
            for item in self.objects[name]:
                if item["key"] == params["key"]:
                    return {"object": item}
            raise RpcError(REFUSED, "there is no such object", {"error": "FWP_E_NOT_FOUND", "code": 2150760456})

        return get
