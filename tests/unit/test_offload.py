"""At most so many do a thing at a time; the next one is told so at once."""

from __future__ import annotations

import pytest

from core.errors import Overloaded
from core.services.offload import Admission


def test_as_many_are_let_in_as_the_setting_says_and_room_is_given_back() -> None:
    admission = Admission(2, "images.max_waiting")
    with admission.one():
        with admission.one(), pytest.raises(Overloaded, match=r"2 .*images\.max_waiting"):
            admission.one().__enter__()
        # Also by those who fail.
        with pytest.raises(KeyError), admission.one():
            raise KeyError
        with admission.one():
            pass
