"""One table of components of a kind: name -> component, with the plugin that offers it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

from core.errors import ConfigurationError

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


class Registry(Generic[T]):
    """The components of one kind, in the order in which the plugins were enabled."""

    def __init__(self, kind: str, protocol: type) -> None:
        self.kind = kind
        self._protocol = protocol
        self._components: dict[str, T] = {}
        self._owners: dict[str, str] = {}

    def add(self, name: object, component: T, owner: str) -> None:
        """Enter a component.

        Raises ConfigurationError where another plugin offers the name, where the name cannot stand
        in an address or a setting, or where the component lacks a part of its Protocol.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"plugin {owner}: {name!r} cannot be the name of a {self.kind}; "
                "use lower-case letters, digits, hyphens and underscores"
            )
        if name in self._components:
            raise ConfigurationError(
                f"the {self.kind} {name!r} is offered by the plugin {self._owners[name]} "
                f"and by the plugin {owner}; leave one of them out of plugins.enabled"
            )
        if isinstance(component, type):
            raise ConfigurationError(
                f"plugin {owner}: the {self.kind} {name!r} is the class {component.__name__}; "
                "return an instance of it"
            )
        missing = [
            part
            for part in vars(self._protocol)
            if not part.startswith("_") and not _has(component, part)
        ]
        if missing:
            raise ConfigurationError(
                f"plugin {owner}: the {self.kind} {name!r} lacks {', '.join(missing)}; "
                f"see {self._protocol.__name__} in core.api"
            )
        self._components[name] = component
        self._owners[name] = owner

    def get(self, name: str) -> T | None:
        """The component of that name, or None."""
        return self._components.get(name)

    def choose(self, name: str, setting: str) -> T:
        """The component that `setting` names; raises ConfigurationError where nobody offers it."""
        component = self._components.get(name)
        if component is None:
            offered = ", ".join(self._components) or "none"
            raise ConfigurationError(
                f"{setting}: no enabled plugin offers the {self.kind} {name!r}; offered are: "
                f"{offered}; choose one of them, or enable the plugin in plugins.enabled"
            )
        return component

    def owner(self, name: str) -> str:
        """The name of the plugin that offers the component."""
        return self._owners[name]

    def names(self) -> tuple[str, ...]:
        """The names of all components."""
        return tuple(self._components)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(self._components.items())

    def __len__(self) -> int:
        return len(self._components)


def _has(component: object, part: str) -> bool:
    # NOTE: the class is asked first, because a property may fail before `open()` was called.
    return hasattr(type(component), part) or hasattr(component, part)
