"""README as the package index shows it: with whole addresses. All else is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

REPOSITORY = "github.com/lightning-cam/lightning-cam"
RAW = "raw.githubusercontent.com/lightning-cam/lightning-cam"

text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
text = re.sub(r'src="(?!https?:)', f'src="https://{RAW}/main/', text)
text = re.sub(r"\]\((?!https?:|#)", f"](https://{REPOSITORY}/blob/main/", text)

setup(long_description=text, long_description_content_type="text/markdown")
