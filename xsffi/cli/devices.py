"""The devices of domains in a tree: each a frontend and a backend that name each other (xenbus).

A frontend is a directory at ``device/CLASS/ID`` in the home of a domain, or a directory elsewhere whose node
``backend`` holds the path of a backend; a backend is one at ``backend/CLASS/DOMID/ID``, whose node ``frontend`` holds
the path of its frontend. Any domain may have backends. No class is treated specially.
"""

from __future__ import annotations

from collections import namedtuple

from ..paths import is_subpath
from .places import domid_of, home, in_backend, in_frontend, split
from .values import decoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import NamedTuple

    from ..records import Node

    class Device(NamedTuple):
        """A device: the directory of each end, whether it exists or is only named by the other one; and how it is
        dangling, None if each end names the other. Unknown fields are None."""

        kind: str  # the class in the frontend's path
        id: str
        domid: int | None  # of the frontend
        frontend: str | None
        state: bytes | None  # the value of its state node, which should be a XenbusState
        backend_domid: int | None
        backend_kind: str | None  # for example "qdisk" for the frontend's "vbd"
        backend: str | None
        backend_state: bytes | None
        dangling: str | None  # one of DANGLING
        other: str | None  # the path that the other end names instead
else:
    _FIELDS = "kind id domid frontend state backend_domid backend_kind backend backend_state dangling other"
    Device = namedtuple("Device", _FIELDS)

__all__ = ["DANGLING", "Device", "Seen", "devices_of", "link_of"]

#: How a device may be dangling, for programs and, with its fields filled in, for people.
DANGLING = {
    # Of a frontend.
    "no-backend": "it names no backend",
    "not-a-backend": "what it names is not a backend: {backend}",
    "backend-domain-gone": "backend domain {backend_domid} is gone",
    "backend-gone": "its backend is gone",
    "backend-names-none": "its backend names no frontend",
    "backend-names-another": "its backend belongs to {other}",
    # Of a backend.
    "domain-gone": "domain {domid} is gone",
    "no-frontend": "it names no frontend",
    "frontend-gone": "its frontend is gone",
    "frontend-names-none": "its frontend names no backend",
    "frontend-names-another": "its frontend has another backend: {other}",
}
_SOUND = (None, None)


class Seen:
    """What was read of the store: the nodes of some subtrees, and those that may not be read."""

    def __init__(self, nodes: Mapping[str, Node], tops: Collection[str], unread: Collection[str] = ()) -> None:
        self.nodes = nodes
        self._tops = tops
        self._unread = unread

    def lacks(self, path: str) -> bool:
        """Whether there is certainly no such node."""
        return (
            path not in self.nodes
            and any(is_subpath(path, top) for top in self._tops)
            and not any(is_subpath(path, other) for other in self._unread)
        )

    def value(self, path: str) -> bytes | None:
        """The value of a node, if it was read."""
        node = self.nodes.get(path)
        return None if node is None else node.value


def link_of(value: bytes | None) -> str | None:
    """The absolute path in a value; None if it is none."""
    return decoded(value) if value is not None and value.startswith(b"/") else None


def devices_of(seen: Seen) -> list[Device]:
    """All devices with an end that was read, in the order of domains, classes and ids."""
    frontends = dict(_ends(seen, "backend", _is_frontend))
    backends = dict(_ends(seen, "frontend", _is_backend))
    naming = {frontend: backend for backend, frontend in backends.items()}
    devices = []
    told = set()
    for path, link in frontends.items():
        backend = naming.get(path) if link is None else link
        if backend is not None and backends.get(backend) in (path, None):
            told.add(backend)
        devices.append(_device(seen, path, backend, _dangling_frontend(seen, path, link, backends)))
    for path, link in backends.items():
        if path not in told:
            devices.append(_device(seen, link, path, _dangling_backend(seen, path, link, frontends)))
    return sorted(devices, key=_order)


def _ends(
    seen: Seen, link: str, is_end: Callable[[list[str], Node, str | None], bool]
) -> Iterator[tuple[str, str | None]]:
    """The directories that are ends of devices, by their names below a home, each with the path of the other end."""
    for path, node in seen.nodes.items():
        if not node.children:
            continue
        other = link_of(seen.value(f"{path}/{link}")) if link in node.children else None
        if is_end(split(path)[1], node, other):
            yield path, other


def _is_frontend(names: list[str], node: Node, backend: str | None) -> bool:
    """Whether it is where frontends are, and not one of the other things there, such as device/suspend/event-channel;
    or is elsewhere, as a console's, and names a backend."""
    if names[:1] != ["device"]:
        return backend is not None and in_backend(split(backend)[1])
    if backend is not None:
        return in_frontend(names)
    return in_frontend(names) and len(names) == 3 and not {"backend-id", "state"}.isdisjoint(node.children)


def _is_backend(names: list[str], node: Node, frontend: str | None) -> bool:
    """Whether it is where backends are. Nothing that a guest has elsewhere is a backend, whatever it names."""
    return in_backend(names) and (len(names) == 4 or bool(frontend))


def _dangling_frontend(
    seen: Seen, path: str, backend: str | None, backends: Mapping[str, str | None]
) -> tuple[str | None, str | None]:
    """How a frontend is dangling, and what its backend names instead."""
    if backend is None:
        return "no-backend", None
    if not in_backend(split(backend)[1]):
        return "not-a-backend", None
    if seen.lacks(backend):
        domid, _ = split(backend)
        is_gone = domid is not None and seen.lacks(home(domid))
        return "backend-domain-gone" if is_gone else "backend-gone", None
    if backend not in seen.nodes:
        return _SOUND  # as far as may be read
    other = backends.get(backend)
    if other is None:
        return "backend-names-none", None
    return _SOUND if other == path else ("backend-names-another", other)


def _dangling_backend(
    seen: Seen, path: str, frontend: str | None, frontends: Mapping[str, str | None]
) -> tuple[str | None, str | None]:
    """The same of a backend, which no frontend names that it names."""
    domid, _, _ = _named_by_backend(path)
    if frontend is not None:
        domid, _ = split(frontend)
    if domid is not None and seen.lacks(home(domid)):
        return "domain-gone", None
    if frontend is None:
        return "no-frontend", None
    if seen.lacks(frontend):
        return "frontend-gone", None
    if frontend not in seen.nodes:
        return _SOUND  # as far as may be read
    other = frontends.get(frontend)
    return ("frontend-names-none", None) if other is None else ("frontend-names-another", other)


def _device(seen: Seen, frontend: str | None, backend: str | None, dangling: tuple[str | None, str | None]) -> Device:
    domid, names = (None, []) if frontend is None else split(frontend)
    backend_domid = None if backend is None else split(backend)[0]
    named_domid, kind, number = (None, None, None) if backend is None else _named_by_backend(backend)
    is_usual = in_frontend(names)
    return Device(
        names[1] if is_usual else kind or (frontend or backend or "").rpartition("/")[2],
        "/".join(names[2:]) if is_usual else number or "",
        named_domid if domid is None else domid,
        frontend,
        None if frontend is None else seen.value(f"{frontend}/state"),
        domid_of(seen.value(f"{frontend}/backend-id")) if backend_domid is None else backend_domid,
        kind,
        backend,
        None if backend is None else seen.value(f"{backend}/state"),
        *dangling,
    )


def _named_by_backend(path: str) -> tuple[int | None, str | None, str | None]:
    """What the path of a backend says about its device: the frontend's domain, the class, the id."""
    _, names = split(path)
    return (domid_of(names[2]), names[1], "/".join(names[3:])) if in_backend(names) else (None, None, None)


def _order(device: Device) -> tuple[object, ...]:
    domid = -1 if device.domid is None else device.domid
    number = int(device.id) if device.id.isdigit() else -1
    return domid, device.kind, number, device.id, device.frontend or "", device.backend or ""
