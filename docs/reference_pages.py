"""Parts of pages that are generated from the code: commands, the API, recipes, signatures.

`python docs/reference_pages.py` prints the page of signatures, which stands in the repository. With a folder as its
argument it builds the whole site into that folder. `make docs` does both.
"""

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown.extensions.toc import slugify  # type: ignore[import-untyped]
from typer.main import get_command

from bridge.admin.actions import ActionEndpoints
from bridge.admin.api import ReadEndpoints
from bridge.admin.openapi import openapi_document
from bridge.admin.reconcile import ReconcileEndpoints
from bridge.cli import COMMANDS

PLUGIN_API = {
    "connectors/base.py": (
        "Connector",
        "Context",
        "DestinationSettings",
        "SettingError",
        "Preview",
        "Quota",
        "MappedRoute",
        "MappedField",
        "Finding",
        "Severity",
        "Vault",
        "VaultError",
        "Expressions",
        "ExpressionError",
        "parse_duration",
        "parse_size",
    ),
    "connectors/record.py": (
        *("Record", "RemoteRecord", "RouteSettings", "writable_fields"),
        *("Delivered", "Retry", "Rejected", "Blame", "Reason"),
    ),
    "connectors/http_client/json_api.py": ("JsonApi", "Reply"),
    "connectors/http_client/session.py": ("HttpSession",),
    "connectors/http_client/answer.py": ("Answer", "Failure"),
    "connectors/http_client/status_table.py": ("classify", "message_in", "shorten"),
    "connectors/http_client/settings.py": ("NetworkSettings", "TlsSettings"),
    "connectors/http_client/address_guard.py": ("check_url",),
    "connectors/http_client/masking.py": ("Secrets",),
    "connectors/http_client/tokens.py": ("TokenSource", "RefreshToken"),
    "connectors/testing/subject.py": ("Subject",),
    "connectors/testing/trial.py": ("Run",),
    "connectors/testing/fake.py": ("FakeApi", "json_object"),
    "connectors/testing/contacts.py": ("Reply", "RefusedError"),
    "connectors/testing/sandbox.py": ("Sandbox",),
    "connectors/testing/faults.py": ("Fault", "Faults"),
    "connectors/testing/server.py": ("Arrival",),
}
"""Classes and functions that the author of a connector uses, by file."""

_SIGNATURES = """# Signatures

<!-- Generated from the code by `make docs`. Do not edit. -->

Every class and function that a connector or its test uses. `ConnectorContract` (`connectors.testing.contract`) is a
`Subject` with tests.
"""


def table(head: tuple[str, ...], rows: Iterable[list[str]]) -> Iterator[str]:
    """Return the lines of a table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def build_site(root: Path, site: Path) -> None:
    """Build the site from a copy of the pages with their generated parts.

    Raises:
        CalledProcessError: a link leads to nothing, or another warning.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        shutil.copytree(root / "docs", work / "docs")
        shutil.copy(root / "mkdocs.yml", work)
        write_generated_parts(work / "docs")
        subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=work, check=True)
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(work / "site", site)


def write_generated_parts(folder: Path) -> None:
    """Add its generated part to each page in a copy of the pages."""
    parts: dict[str, Iterator[str]] = {
        "reference/commands.md": command_lines(),
        "reference/api.md": api_lines(),
        "recipes/index.md": recipe_lines(folder / "recipes"),
    }
    for page, lines in parts.items():
        path = folder / page
        path.write_text("\n".join([path.read_text("utf-8"), *lines]), "utf-8")


def recipe_lines(folder: Path) -> Iterator[str]:
    """Return the lines of the page with all recipes. The comment at the head of a file is its title and its text."""
    recipes = [(path, *path.read_text("utf-8").partition("\n\n")[::2]) for path in sorted(folder.glob("*.yaml"))]
    heads = [[line.lstrip("# ") for line in head.splitlines()] for _, head, _ in recipes]
    yield from (f"- [{head[0]}](#{slugify(head[0], '-')})" for head in heads)
    for (path, _, body), head in zip(recipes, heads, strict=True):
        yield f"\n## {head[0]}\n"
        yield " ".join(head[1:]).strip()
        yield f'\n```yaml title="{path.name}"\n{body.strip()}\n```'


def command_lines() -> Iterator[str]:
    """Return the lines of the page about the command line."""
    yield from table(("command", "does"), ([f"[`{name}`](#{name})", line] for name, line in COMMANDS.items()))
    for name in COMMANDS:
        yield from _command(get_command(importlib.import_module(f"bridge.cli.{name}").app), name, 2)


def _command(command: Any, path: str, level: int) -> Iterator[str]:
    """Return the section of a command, and those of its subcommands."""
    yield f"\n{'#' * level} {path}\n"
    yield _text(command.help or "")
    parts = getattr(command, "commands", {})
    if parts:
        for name, part in parts.items():
            yield from _command(part, f"{path} {name}", level + 1)
        return
    context = command.make_context(path, [], resilient_parsing=True)
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"\n```\nleadbridge {path} {pieces}\n```\n"
    shown = [each.get_help_record(context) for each in command.params if not getattr(each, "hidden", False)]
    rows = [[f"`{name}`".replace("|", "\\|"), _cell(text)] for name, text in filter(None, shown)]
    yield from table(("argument or option", "meaning"), rows)


def api_lines() -> Iterator[str]:
    """Return the lines of the page about the API."""
    groups: tuple[type[Any], ...] = (ReadEndpoints, ActionEndpoints, ReconcileEndpoints)
    endpoints = [each for group in groups for each in _idle(group).endpoints()]
    document = openapi_document(endpoints)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from _operation(f"{method.upper()} {path}", operation, document["components"]["schemas"])


def _idle(group: type[Any]) -> Any:
    """Return endpoints that are described and never called, so they need no store."""

    class Idle(group):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        def __getattr__(self, name: str) -> object:
            return None

    return Idle()


def _operation(title: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield f"{operation['summary']} {operation['description']}\n"
    rows = [[f"`{each['name']}`", each["in"], _cell(each.get("description", ""))] for each in operation["parameters"]]
    body = operation.get("requestBody", {}).get("content", {})
    for content in body.values():
        parts = content["schema"]["properties"].items()
        rows += [[f"`{name}`", "body", _cell(part.get("description", ""))] for name, part in parts]
    if rows:
        yield from table(("parameter", "in", "meaning"), rows)
        yield ""
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    fields = schemas[answer["$ref"].rpartition("/")[2]].get("properties", {})
    yield from table(
        ("field of the answer", "meaning"),
        ([f"`{name}`", _cell(field.get("description", ""))] for name, field in fields.items()),
    )


def signatures_page(root: Path) -> str:
    """Return the page about the classes that a connector and its test use."""
    names = table(("module", "has"), ([f"`{_module(file)}`", ", ".join(has)] for file, has in PLUGIN_API.items()))
    text = "\n".join([_SIGNATURES, *names, *signature_lines(root)])
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", text)).rstrip() + "\n"


def signature_lines(root: Path) -> Iterator[str]:
    """Return its sections, one for each class and function."""
    for file, names in PLUGIN_API.items():
        module = _module(file)
        text = (root / file).read_text("utf-8")
        parts = {each.name: each for each in ast.parse(text).body if hasattr(each, "name")}
        for name in names:
            title = f"{name} of a fake" if (name, file) == ("Reply", "connectors/testing/contacts.py") else name
            yield f"\n## {title}\n\n`from {module} import {name}`\n"
            describe = _class if isinstance(parts[name], ast.ClassDef) else _function
            yield from describe(parts[name], text.splitlines())


def _module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def _class(part: Any, lines: Sequence[str]) -> Iterator[str]:
    """Return the description of a class, its attributes, and its public methods."""
    yield _paragraphs(ast.get_docstring(part))
    for position, node in enumerate(part.body):
        if isinstance(node, ast.AnnAssign | ast.Assign):
            following = part.body[position + 1] if position + 1 < len(part.body) else None
            value = following.value if isinstance(following, ast.Expr) else None
            text = value.value if isinstance(value, ast.Constant) else ""
            yield f"\n- `{ast.unparse(node)}` {' '.join(str(text).split())}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.name == "__init__" or not node.name.startswith("_")
        ):
            yield from _function(node, lines)


def _function(node: Any, lines: Sequence[str]) -> Iterator[str]:
    """Return the signature, as it stands in the code, and the description of a function."""
    first = min(each.lineno for each in (node, *node.decorator_list)) - 1
    body = node.body[0]
    on_one_line = bool(lines[body.lineno - 1][: body.col_offset].strip())
    signature = textwrap.dedent("\n".join(lines[first : body.lineno - 1 + on_one_line]))
    signature = re.sub(r"  # noqa.*", "", signature).removesuffix(" ...")
    yield f"\n```python\n{signature} ...\n```\n"
    yield _paragraphs(ast.get_docstring(node))


def _paragraphs(text: str | None) -> str:
    """Return a docstring without its example, whose indentation Markdown would read as code."""
    lines: list[str] = []
    for line in (text or "").partition("Example:")[0].splitlines():
        is_item = bool(lines) and lines[-1].startswith("- ")
        if not line.startswith("    "):
            lines.append(line.strip())
        elif is_item and (line.startswith("     ") or not re.match(r" {4}\w+: ", line)):
            lines[-1] += f" {line.strip()}"
        else:
            lines += [f"- {line.strip()}"] if is_item else ["", f"- {line.strip()}"]
    return "\n".join(lines)


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("\b", "").strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    top = Path(__file__).parent.parent
    if sys.argv[1:]:
        build_site(top, Path(sys.argv[1]))
    else:
        print(signatures_page(top), end="")  # noqa: T201 - the page itself
