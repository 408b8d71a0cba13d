"""Show repository links and launch buttons where the publishing repository is known."""

import os
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

VARIABLE = "GEOBASIN_REPOSITORY"
# The theme can link to these, and Binder can start from them; Colab knows GitHub alone.
_ADDRESS = re.compile(r"https://(?P<host>github\.com|gitlab\.com)/[\w.-]+/[\w.-]+")


def repository_options(address: str, buttons: dict[str, Any]) -> dict[str, Any]:
    """Choose what the theme shows of a repository.

    Args:
        address: the repository's address, or nothing where it is not known.
        buttons: the launch buttons of ``_config.yml``, for a repository that all of them can open.

    Returns:
        Options of the theme: no link and no button for an unknown repository.

    Raises:
        ExtensionError: the address is none that the theme can link to.
    """
    address = address.strip().rstrip("/").removesuffix(".git")
    found = _ADDRESS.fullmatch(address)
    if address and not found:
        raise ExtensionError(
            f"{address} is no address of a repository; set {VARIABLE}, or repository.url in "
            "_config.yml, to https://github.com/OWNER/NAME or https://gitlab.com/OWNER/NAME"
        )
    buttons = dict(buttons) if found else {}
    if found and found["host"] != "github.com":
        buttons.pop("colab_url", None)
    return {
        "launch_buttons": buttons,
        "repository_url": address,
        "use_repository_button": bool(found),
    }


def _link_repository(_: Sphinx, config: Config) -> None:
    options = config["html_theme_options"]
    address = os.environ.get(VARIABLE) or options.get("repository_url") or ""
    options |= repository_options(address, options.get("launch_buttons", {}))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: the running Sphinx.

    Returns:
        The extension's metadata.
    """
    app.connect("config-inited", _link_repository)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
