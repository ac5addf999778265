"""Times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.config import duration


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0s", 0),
        ("1ms", 0.001),
        ("300ms", 0.3),
        ("1.5s", 1.5),
        ("90s", 90),
        ("5m", 300),
        ("0.5m", 30),
        ("1h", 3600),
        ("720h", 30 * 86400),
        ("2592000000ms", 30 * 86400),
    ],
)
def test_a_time(text: str, value: float) -> None:
    assert duration.seconds(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "0", "5", "s", "5S", "-5s", "+5s", ".5s", "5.s", "1e3s", "5d", "\u0665s"],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        duration.seconds(text)


@given(st.integers(0, 30 * 86400 * 1000))
def test_what_is_written_is_read_again(milliseconds: int) -> None:
    value = milliseconds / 1000
    assert duration.seconds(duration.text(value)) == pytest.approx(value, rel=1e-11)
