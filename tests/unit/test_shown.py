"""What others wrote, as it is shown: one line, nothing raw, no password."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.shown import printable, without_login


@given(st.text(st.characters()))
def test_it_is_one_line_that_can_be_printed(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert text == shown or not text.isprintable()


def test_what_can_not_be_printed_is_spelled_out() -> None:
    found = printable("web1\nweb2 ok\x1b]0;title\x07 \u202egnp.exe \udcff ü")
    assert found == "web1\\nweb2 ok\\x1b]0;title\\x07 \\u202egnp.exe \\udcff ü"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("etcd://u:SECRET@h1,h2", "etcd://…@h1,h2"),
        ("etcd:/u:SECRET@h", "etcd:/…@h"),
        ("u:SECRET@h", "…@h"),
        ("etcd://u:SE@CRET@h?ca=x", "etcd://…@h?ca=x"),
        ("sqlite:///var/lib/x.db", "sqlite:///var/lib/x.db"),
    ],
)
def test_no_login_is_shown(url: str, shown: str) -> None:
    assert without_login(url) == shown
