# SPDX-License-Identifier: Apache-2.0
"""What a driver of responses is.

A site can have its own: a class with this interface, as an entry point in the
namespace ``korora.response``, that is made with the configuration.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Collection, Mapping

from oslo_config import cfg

from korora_nova.verifier.responses.words import Response


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one attempt.

    :param detail: is kept with the response, and shown.
    :param again: go on after so many seconds; None: it is done.
    :param why: there was nothing to do, and why; a sentence.
    """

    detail: Mapping[str, object] = dataclasses.field(default_factory=dict)
    again: float | None = None
    why: str = ''


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a driver may ask of the process.

    :param guard: to be called before each request that changes something:
        another process may lead meanwhile.
    :param keys_on: servers whose key a host holds.
    :param protected: those of some servers that have a key in custody.
    """

    guard: Callable[[], None]
    keys_on: Callable[[str], Collection[str]]
    protected: Callable[[Collection[str]], Collection[str]]


class Driver(abc.ABC):
    """Does something about a host, and undoes it.

    Each call may come twice, after a crash or from two processes: then the
    second one finds what the first one did. It asks nobody for longer than 15
    seconds at a time, and raises :class:`errors.Unavailable` for what is to be
    tried again.
    """

    #: Whether it touches hosts; one that only tells is never held, and never
    #: waits for an operator.
    TOUCHES = True

    @abc.abstractmethod
    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """:raises KororaError: its options are unusable."""

    @abc.abstractmethod
    def do(self, response: Response, scene: Scene) -> Outcome:
        """Respond.

        :raises Unavailable: later, maybe.
        """

    @abc.abstractmethod
    def undo(self, response: Response, scene: Scene) -> Outcome:
        """Take it back, as far as that is possible.

        :raises Unavailable: later, maybe.
        """

    def survey(self) -> Mapping[str, str] | None:
        """The marks that it has left: host -> id of the response, or ''.

        Hosts of which nothing is known are not in it. None: it leaves none.

        :raises Unavailable: nothing is known.
        """
        return None
