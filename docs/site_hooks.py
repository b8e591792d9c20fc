"""What MkDocs does beyond its own while it builds the site (see mkdocs.yml).

The pages are read on code-hosting sites, too. So they link to files of the repository as one does
there, and the site, which has only some of these, gets them from here.
"""

from __future__ import annotations

import argparse
import html
import inspect
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# What of the repository is a page or a picture of the site, too.
TAKEN_IN = {
    "benchmarks/results/report.md": "benchmarks.md",
    "benchmarks/results/latency.png": "latency.png",
    "benchmarks/results/bulk.png": "bulk.png",
    "benchmarks/results/start.png": "start.png",
    "examples/node/README.md": "node.md",
    "fungi_onnx/server/page/icon.svg": "icon.svg",
}
ELSEWHERE = {"README.md": "index.md"}  # what the site has in the place of a file
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
MARK = "<!-- generated: {} -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files that lie outside docs/."""
    for path, name in TAKEN_IN.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in what is generated, and leads the links to where the site has what they mean."""
    del config, files
    name = page.file.src_uri
    if name == "commands.md":
        text = text.replace(MARK.format("commands"), commands())
        text = text.replace(MARK.format("exit codes"), exit_codes())
    original = {there: here for here, there in TAKEN_IN.items()}.get(name, f"docs/{name}")
    return led(text, posixpath.dirname(original))


def led(text: str, folder: str) -> str:
    """The links of a page of this folder of the repository, as the site has them.

    What the site does not have, such as code, is called by its path.
    """

    def link(match: re.Match[str]) -> str:
        mark, label, target = match.groups()
        address, hash_, anchor = target.partition("#")
        if ":" in address or not address:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, address))
        there = TAKEN_IN.get(path) or ELSEWHERE.get(path)
        if there is None and path.startswith("docs/"):
            there = path.removeprefix("docs/")
        if there is not None:
            if label == posixpath.basename(path):
                label = _title(ROOT / path)
            return f"{mark}[{label}]({there}{hash_}{anchor})"
        if not (ROOT / path).exists():
            raise ValueError(f"a link in {folder} leads to {path}, which is not there")
        return f"`{path}`" if label.strip("`") in path else f"{label} (`{path}`)"

    # Code blocks stay as they are.
    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def commands() -> str:
    """The reference of both commands, from their parsers."""
    return "\n\n".join(text for parser in parsers() for text in _reference(parser))


def exit_codes() -> str:
    """A table of what the modules of both commands say that they exit with."""
    rows: dict[str, dict[str, str]] = {}
    for module in _modules():
        sentence = re.search(r"Exit codes: (.*?)\.\s", inspect.getdoc(module) or "", re.DOTALL)
        if sentence is None:
            raise ValueError(f"{module.__name__} says nothing of exit codes")
        for part in " ".join(sentence[1].split()).split(", "):
            code, _, meaning = part.partition(" ")
            rows.setdefault(code, {})[module.__name__] = meaning
    names = [module.__name__ for module in _modules()]
    lines = [f"| {code} | " + " | ".join(rows[code].get(name, "") for name in names) + " |"
             for code in rows]  # fmt: skip
    head = "| | `fungi-onnx` | `fungi-onnx-export` |\n|---|---|---|"
    return "\n".join([head, *lines])


def parsers() -> list[argparse.ArgumentParser]:
    """Those of `fungi-onnx` and `fungi-onnx-export`."""
    ours, exporters = _modules()
    return [_parser_of(ours), _parser_of(exporters)]


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by its name."""
    (found,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return dict(found.choices)


def _modules() -> tuple[ModuleType, ModuleType]:
    """The modules of both commands; the exporter's needs TensorFlow only to do its work."""
    sys.path.insert(0, str(ROOT / "export"))
    try:
        import fungi_onnx_export.cli
    finally:
        sys.path.pop(0)
    import fungi_onnx.cli

    return fungi_onnx.cli, fungi_onnx_export.cli


def _parser_of(module: ModuleType) -> argparse.ArgumentParser:
    make = getattr(module, "parser", None) or module._parser
    parser: argparse.ArgumentParser = make()
    return parser


def _reference(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## `{parser.prog}`\n\n{parser.description}"
    for name, command in commands_of(parser).items():
        example = (command.epilog or "").removeprefix("Example: ")
        yield f"### `{parser.prog} {name}` {{ #{parser.prog}-{name} }}\n\n{command.description}"
        yield f"```text\n{_usage(command)}\n```"
        for group in command._action_groups:
            actions = [action for action in group._group_actions if action.dest != "help"]
            if not actions:
                continue
            if group.title not in ("positional arguments", "options"):
                yield f"**{group.title}.** {group.description or ''}"
            yield "\n".join(["| | |", "|---|---|", *(_row(command, one) for one in actions)])
        if example:
            yield f"Example: `{example}`"


def _usage(command: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(command.prog, width=80)
    formatter.add_usage(command.usage, command._actions, command._mutually_exclusive_groups, "")
    return formatter.format_help().strip()


def _row(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        value = str(action.metavar or "")
        if not value and action.choices is not None:
            value = "{" + ",".join(map(str, action.choices)) + "}"
        value = value or action.dest.upper()
    names = [f"{name} {value}".strip() for name in action.option_strings] or [value]
    # The help as argparse prints it; the variable of an option stands at its end, in brackets.
    text = command._get_formatter()._expand_help(action) if action.help else ""
    text = re.sub(r" \[(FUNGI_ONNX_\w+)\]$", r"<br>`\1`", html.escape(text, quote=False))
    # In code a bar is no border between cells.
    return f"| {' <br>'.join(f'`{name}`' for name in names)} | {text.replace('|', '&#124;')} |"
