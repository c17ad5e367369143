"""A daemon that answers what a test tells it to, on a real control socket."""

from wfpd.control.admin import AdminServer, Method, Roles
from wfpd.control.protocol import Role
from wfpd.daemon.asked import PARAMETERS
from wfpd.observe.sinks import Hub

GOOD = "version: 1\nfilters:\n  - {name: a, layer: ipforward, action: block}\n"


class Daemon:
    """What the socket answers."""

    def __init__(self, path: str) -> None:
        self.enforcing = True
        self.why_not: list[str] = []
        self.answer: dict | Exception = {}
        self.asked: list[dict] = []
        self.hub = Hub()
        methods = {"status": Method(Role.READ, lambda params, peer: self.status()),
                   "reload": Method(Role.OPERATE, lambda params, peer: self.reply(params),
                                    parameters=frozenset({"confirm"})),
                   "confirm": Method(Role.OPERATE, lambda params, peer: self.reply(params))}  # fmt: skip
        methods["explain"] = Method(Role.READ, lambda params, peer: self.reply(params), parameters=PARAMETERS)
        for name, taken in (("filters.add", {"policy"}), ("filters.delete", {"keys"})):
            methods[name] = Method(Role.OPERATE, lambda params, peer: self.reply(params), parameters=frozenset(taken))
        methods["events.last"] = Method(Role.READ, lambda params, peer: self.answer)
        self.server = AdminServer(path, methods, Roles(), hub=self.hub)
        self.server.start()

    def status(self) -> dict:
        words = dict.fromkeys(("on_absent", "on_full", "on_late", "on_error", "on_malformed"), "permit")
        reload = {"last_successful": True, "last_success_timestamp": 0, "last_error": "", "confirm_remaining": None}
        return {"version": "0", "pid": 1, "policy": "p", "enforcing": self.enforcing, "audit": False, "generation": 1,
                "hash": "", "uptime_seconds": 1, "hooks": [], "queues": [], "flows": {"used": 0, "max": 1},
                "reload": reload, "words": words, "rules_error": "",
                "why_not": self.why_not}  # fmt: skip

    def reply(self, params) -> dict:
        self.asked.append(dict(params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer
