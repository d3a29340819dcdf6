"""What a caller may say of a look, before anything is drawn."""

from __future__ import annotations

import pytest

from core.domain.images import ImageOptions
from core.domain.looks import look_rules
from core.domain.validation import read
from core.errors import InvalidFields


@pytest.mark.parametrize("caption", [" ", "\u00a0 ", "\u00ad", "\u2003", "\u202e"])
def test_a_caption_without_a_letter_is_refused(caption: str) -> None:
    with pytest.raises(InvalidFields) as error:
        read(ImageOptions, {"caption": caption}, look_rules, strict=False)
    assert [problem.field for problem in error.value.problems] == ["caption"]


@pytest.mark.parametrize("caption", ["", "Scan me", "a\u00adb", " ! "])
def test_other_captions_are_taken(caption: str) -> None:
    options = read(ImageOptions, {"caption": caption}, look_rules, strict=False)
    assert options.caption == caption
