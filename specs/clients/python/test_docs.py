"""The documents: runs commands, validates configs, checks quoted code and links."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TIDEGATE, Broker, Process, free_port
from pages import PAGES, ROOT, Block, anchors, blocks, commands, prose

#: Commands that are not run here, with the reason.
NOT_RUN = {
    "cargo demo": "scripts/test runs it",
    "cargo build": "scripts/test runs it",
    "cargo test -p tidegate --test scenarios": "scripts/test runs it",
    "cargo test -p tidegate --test scenarios binding-mcp-rename": "scripts/test runs it",
    "cargo test -p tidegate-binding-mcp-rename": "scripts/test runs it",
    "cargo clippy -p tidegate-binding-mcp-rename --all-targets -- -D warnings": "scripts/test runs it",
    "cargo bench -p tidegate-benches": "scripts/test runs each bench once",
    "scripts/test": "runs these tests",
    "scripts/cost publish": "scripts/test runs it, for all calls",
    "scripts/soak": "scripts/test runs a short one",
    "scripts/conformance": "scripts/test runs it",
    "scripts/brokers": "installs other brokers, and takes long",
    ".venv/bin/python -B specs/clients/python/redelivery.py": "waits for the end of many sessions",
    "scripts/release": "CI runs it; a quarter of an hour",
    "scripts/bench-peers": "downloads other servers, and takes long",
    "cargo install --path runtime/command": "a release build",
    "git clone . target/fresh && cd target/fresh && time cargo demo --once": "a build from nothing",
    "git diff specs": "shows what a change has done to a checkout",
    "claude mcp add --transport http plant http://127.0.0.1:7114/mcp": "needs Claude Code",
    "npx @modelcontextprotocol/inspector --cli http://127.0.0.1:7114/mcp --transport http --method tools/list": (
        "downloads the inspector"
    ),
}

#: Shortens measurements; the figures do not matter here.
SHORT = "--rounds 1 --duration 0.1 --warm-up 0.1"

on_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


class Session:
    """A shell in a folder with the configs and scenarios of the repository, and its own broker."""

    def __init__(self, folder: Path, broker: Broker):
        self.folder = folder
        self.ports = {"7114": str(free_port()), "1883": str(broker.port)}
        self.gateway: Process | None = None
        path = f"{TIDEGATE.resolve().parent}:{os.environ['PATH']}:/usr/sbin"
        self.env = {**os.environ, "PATH": path, "BROKER_PASSWORD": "secret"}
        self.env.pop("CI", None)  # with it, scenarios are not rewritten
        (folder / "docs").mkdir()
        shutil.copytree(ROOT / "config", folder / "config")
        for config in folder.glob("config/*.yaml"):
            config.write_text(self.with_ports(config.read_text()))
        for specs in ROOT.glob("specs/*.spec"):
            shutil.copytree(specs, folder / "specs" / specs.name)

    def with_ports(self, text: str) -> str:
        """The text with free ports."""
        return re.sub(r"\b(7114|1883)\b", lambda port: self.ports[port[0]], text)

    def run(self, block: Block) -> None:
        if block.language == "python":
            self.execute(block, [sys.executable, "-c", self.with_ports(block.text)])
            return
        if block.language == "ts":
            self.execute(block, ["node", str(self.module(block))])
            return
        for command in commands(block):
            if command in NOT_RUN:
                continue
            command = self.with_ports(command)
            if command.startswith("tidegate start"):
                self.start(command)
                continue
            if command.startswith("tidegate bench"):
                command = f"{command} {SHORT}"
            output = self.execute(block, ["bash", "-euo", "pipefail", "-c", command])
            if command.startswith("curl"):
                answer = json.loads(output)
                result = {} if command.endswith("/status") else answer["result"]
                assert "error" not in answer and not result.get("isError"), f"{block}: {answer}"

    def module(self, block: Block) -> Path:
        """A module that finds the SDK of the tests. What it has of TypeScript is JavaScript, too."""
        modules = self.folder / "node_modules"
        if not modules.exists():
            modules.symlink_to(ROOT / "specs" / "clients" / "typescript" / "node_modules")
        module = self.folder / "block.mjs"
        module.write_text(self.with_ports(block.text))
        return module

    def execute(self, block: Block, arguments: list[str]) -> str:
        done = subprocess.run(
            arguments, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}: {arguments[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str) -> None:
        """Runs a gateway in the background until the next one is started, or until the end."""
        self.stop()
        self.gateway = Process(["bash", "-c", f"cd {self.folder} && exec {command}"], env=self.env)
        self.gateway.line(r"listening +\S+.*/mcp")
        self.gateway.line(r"broker +\S+ connected")

    def stop(self) -> None:
        if self.gateway:
            code = self.gateway.stop()
            assert code == 0, self.gateway.text()
        self.gateway = None


@on_each_page
def test_commands_run(page, broker, parts, tmp_path):
    session = Session(tmp_path, broker)
    parts.callback(session.stop)
    for block in blocks(page, "sh", "python", "ts"):
        session.run(block)


def test_each_command_that_is_not_run_is_in_a_document():
    written = {command for page in PAGES for block in blocks(page, "sh") for command in commands(block)}
    assert NOT_RUN.keys() <= written, NOT_RUN.keys() - written
    for command in NOT_RUN:
        program = command.split()[0]
        if program.startswith("scripts/"):
            assert os.access(ROOT / program, os.X_OK), program


def bindings(text: str, indent: str) -> dict[str, str]:
    """The bindings of a config or of a part of one, by name, as they are written in a config."""
    lines = [line[len(indent) :] for line in text.splitlines(keepends=True) if line.startswith(indent)]
    found = re.split(r"^(?=\w+:)", "".join(lines), flags=re.MULTILINE)
    return {entry.split(":")[0]: re.sub(r"^(?=.)", "  ", entry, flags=re.MULTILINE) for entry in found if entry}


@on_each_page
def test_configs_are_valid(page, tmp_path):
    plant = (ROOT / "config" / "plant.yaml").read_text()
    for block in blocks(page, "yaml"):
        config = block.text
        if not block.source and "bindings:" not in config:
            whole = bindings(plant.split("bindings:\n")[1], "  ") | bindings(config, "")
            # The guards that a part of a config refers to are declared elsewhere.
            named = sorted(set(re.findall(r"guarded: \{ (\w+):", config)))
            guards = "".join(f"  {name}: {{ type: x509 }}\n" for name in named)
            config = "name: test\n" + (f"guards:\n{guards}" if guards else "")
            config += "bindings:\n" + "".join(whole.values())
        if not block.source:
            file = tmp_path / "config.yaml"
            file.write_text(config)
            arguments = [str(TIDEGATE), "validate", "--config", str(file), "--allow-missing-env"]
            done = subprocess.run(arguments, capture_output=True, text=True)
            assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}\n{config}"


@on_each_page
def test_snippets_for_clients_are_json_with_absolute_paths(page):
    for block in blocks(page, "json"):
        snippet = json.loads(block.text)
        for servers in snippet.values():
            for server in servers.values():
                paths = [server["command"], server["args"][-1]] if "command" in server else []
                assert all(Path(path).is_absolute() for path in paths), f"{block}: {paths}"


@on_each_page
def test_quotations_are_those_of_their_files(page):
    for block in blocks(page):
        if block.source:
            assert block.text in (ROOT / block.source).read_text(), f"{block}: not in {block.source}"


@on_each_page
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}: {sorted(anchors(target))}"
