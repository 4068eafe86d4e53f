"""Addresses and texts as they may be shown and stored: without the passwords in them."""

import re

_SECRET = re.compile(r"([?&;/_][\w.-]*(?:pas|psw|pw|auth|secret|token|key)[\w.-]*=)[^&#]*", re.IGNORECASE)
_SECRET_PROPERTY = re.compile(
    r"""((?:^|[\s!])[\w.:-]*(?:pass\w*|psw|pw|pwd|auth|secret|token|key)\s*=\s*(?:\(string\)\s*)?)("[^"]*"|'[^']*'|\S+)""",
    re.IGNORECASE,
)
# With one slash, or with none before a user: a slip of the finger shows no password either.
_ADDRESS = re.compile(r"(\s*[A-Za-z][\w+.-]*:(?:/+|(?=.*@)))(.*)", re.DOTALL)
_ADDRESS_IN_TEXT = re.compile(r"""([A-Za-z][\w+.-]+:(?:/+|(?=[^\s"']*@)))([^\s"']+)""")


def shown(source: str) -> str:
    """The source as it may be shown and stored: an address without its password, wherever it stands."""
    if source.startswith("gstreamer:"):
        return without_secrets(source)
    address = _ADDRESS.match(source)
    return _without_password(address) if address else without_secrets(source)


def without_secrets(text: str) -> str:
    """A text, such as a library's message or a pipeline, without the passwords of its addresses and properties."""
    return _ADDRESS_IN_TEXT.sub(_without_password, _SECRET_PROPERTY.sub(r"\1***", text))


def _without_password(address: re.Match[str]) -> str:
    scheme, rest = address[1], _SECRET.sub(r"\1***", address[2])
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}{credentials.partition(':')[0]}:***@{host}" if at and ":" in credentials else f"{scheme}{rest}"
