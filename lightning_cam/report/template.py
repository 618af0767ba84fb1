"""The HTML file around the data of the report page: what a browser may do with it, and what not."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any


def filled(data: Mapping[str, Any]) -> str:
    """The page's template with the data, and with a policy that lets no other script or style run and nothing
    be fetched.
    """
    page = files(__package__).joinpath("template.html").read_text(encoding="utf-8")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(page, 'style')}'; script-src '{_digest(page, 'script')}'"
    )
    # In a script element only "<" could end the data; the others are escaped so that no reader of any kind is
    # led astray.
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return page.replace("{{policy}}", policy, 1).replace("{{data}}", text, 1)


def _digest(page: str, element: str) -> str:
    """As a content security policy names what stands in the page's first such element."""
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page, flags=re.DOTALL)
    return f"sha256-{text_of(hashlib.sha256(content.encode()).digest())}"


def text_of(content: bytes) -> str:
    """Bytes as letters, in base64."""
    return base64.b64encode(content).decode()
