"""``python -m fastapi_taskflow``, and the ``fastapi-taskflow`` command."""

from __future__ import annotations

import sys

from fastapi_taskflow.admin import TaskAdmin

MISSING = """\
The command line needs typer and uvicorn ({error}).
Install them with:  pip install 'fastapi-taskflow[cli]'"""


def main() -> None:
    """Run the command line; without its optional packages, say how to install them."""
    try:
        import typer  # noqa: F401, PLC0415  # optional
        import uvicorn  # noqa: F401, PLC0415  # optional
    except ImportError as error:
        sys.exit(MISSING.format(error=error))
    from fastapi_taskflow.cli.commands import app  # noqa: PLC0415  # needs the two above

    app(prog_name="fastapi-taskflow", obj=TaskAdmin)  # the face that a command may mount


if __name__ == "__main__":
    main()
