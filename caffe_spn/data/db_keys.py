"""Keys of database records."""


def key_text(key: bytes) -> str:
    """A key for people to read."""
    return key.decode("utf-8", errors="backslashreplace")
