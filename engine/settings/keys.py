"""The providers' keys, from the environment and from nowhere else; never part of the settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from engine.errors import SettingsError
from engine.settings.secrets import NOT_SHOWN


def provider_keys(variables: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, SecretStr]:
    """Those of `variables` that are set in `environ` (the process's own by default), by name, stripped.

    Raises `SettingsError`, naming the variables and showing no value, for what no header or query can carry.

    >>> provider_keys(["GLASSNODE_API_KEY", "KAIKO_API_KEY"], {"GLASSNODE_API_KEY": " 0a1b\\n"})
    {'GLASSNODE_API_KEY': SecretStr('**********')}
    """
    given = os.environ if environ is None else environ
    found = {name: given.get(name, "").strip() for name in variables if name}
    odd = sorted(name for name, key in found.items() if not usable(key))
    if odd:
        raise SettingsError(f"{', '.join(odd)}: must be printable ASCII without spaces; {NOT_SHOWN}")
    return {name: SecretStr(key) for name, key in found.items() if key}


def usable(key: str) -> bool:
    """Whether a key can travel as it is."""
    return key.isascii() and all(letter.isprintable() and not letter.isspace() for letter in key)
