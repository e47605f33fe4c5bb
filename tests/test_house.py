"""Rules of the repository: layers, size of modules, and documentation that matches the code."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from podpower.cli.commands import build_parser
from podpower.datasets.hash_versions import HASH_VERSION
from podpower.features.table import FEATURES_SCHEMA
from podpower.fleet import summary
from podpower.labels.table import JOBS_SCHEMA, WINDOWS_SCHEMA
from podpower.registry.versions import VersionInfo
from podpower.sources.journal import format as journal_format
from podpower.specs.table import SPECS_SCHEMA

ROOT = Path(__file__).parent.parent
PACKAGES = ("podpower", "podpower_assets", "podpower_serving")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
README = (ROOT / "README.md").read_text()
# Variables of other programs that the reference may name without our code reading them.
FOREIGN = {"DAGSTER_HOME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}
VARIABLE = re.compile(
    r"(?:PODPOWER_[A-Z][A-Z0-9_]*|ENCODER_PATH|MODEL_PATH|DAGSTER_HOME|KUBECONFIG|K8S_CA_FILE|VERIFY_SSL)"
)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def command_lines(page: Path) -> list[list[str]]:
    """Words of each command of podpower in the code blocks of a page, continuation lines joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [re.sub(r"(^|\s)#.*", "", line.strip()) for line in "\n".join(blocks).replace("\\\n", " ").splitlines()]
    parts = [part for line in lines for part in re.split(r"\s(?:\||&&)\s", line)]
    found = [match[1] for part in parts if (match := re.match(r"(?:\$ |[A-Z_]+=\S+ )*podpower (.*)", part))]
    return [shlex.split(re.sub(r"\s>\s*\S+", "", command)) for command in found]


def test_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_no_longer_than_400_lines(module):
    assert len(module.read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_a_docstring(module):
    assert ast.get_docstring(ast.parse(module.read_text())) or not module.read_text().strip()


ARCHITECTURE = (ROOT / "docs/explanation/architecture.md").read_text()


def test_every_file_that_the_map_names_exists_and_defines_what_it_names():
    named = re.findall(r"`([\w./]+(?:\.(?:py|yaml|tpl)|/))`(?:: `(\w+)`)?", ARCHITECTURE)
    assert len(named) > 50
    found = {path: next(filter(Path.exists, (ROOT / "podpower" / path, ROOT / path)), None) for path, _ in named}
    assert [path for path, place in found.items() if place is None] == []
    undefined = [(path, name) for path, name in named if name and not re.search(
        rf"\b(?:def|class) {name}\b|^{name}\b", found[path].read_text(), re.MULTILINE)]  # fmt: skip
    assert not undefined


def test_the_map_has_every_package_and_module():
    rooms = ARCHITECTURE[ARCHITECTURE.index("## Packages") : ARCHITECTURE.index("## Where do I")]
    inside = [p for p in (ROOT / "podpower").iterdir() if not p.name.startswith("_") and p.name != "py.typed"]
    names = [f"{path.name}/" if path.is_dir() else path.name for path in inside]
    missing = [name for name in [*names, *(f"{p}/" for p in PACKAGES[1:])] if f"| `{name}` |" not in rooms]
    assert not missing


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.stem)
def test_files_of_the_code_that_a_page_names_exist(page):
    named = re.findall(r"\b((?:podpower(?:_\w+)?|tests|benchmarks|scripts|examples)/[\w./-]+\.py)\b", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def defines(name: str) -> bool:
    """Whether a dotted name is a package, a module, or a name in one."""
    place = ROOT / name.replace(".", "/")
    if place.is_dir() or place.with_suffix(".py").exists():
        return True
    holders = (place.parent.with_suffix(".py"), place.parent / "__init__.py")
    return any(re.search(rf"\b{place.name}\b", holder.read_text()) for holder in holders if holder.exists())


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_modules_that_the_code_names_exist(module):
    text = module.read_text()
    files = re.findall(r"\b((?:podpower(?:_\w+)?|tests|benchmarks|scripts|examples)/[\w./-]+\.py)\b", text)
    assert [path for path in files if not (ROOT / path).exists()] == []
    assert [name for name in re.findall(r"`(podpower(?:_\w+)?(?:\.(?!yaml)\w+)+)`", text) if not defines(name)] == []


def test_versions_of_formats_are_those_of_the_code():
    page = (ROOT / "docs/reference/file-formats.md").read_text()
    assert f"redacted by ({HASH_VERSION}; null" in page
    for name, version in (("journal", journal_format.FORMAT_VERSION), ("fleet", summary.SUMMARY.version)):
        assert re.search(rf'`format` "podpower-{name}",\s+`format_version` {version}\b', page)


SHAPES = {
    "window labels": WINDOWS_SCHEMA.names(),
    "job labels": JOBS_SCHEMA.names(),
    "features": FEATURES_SCHEMA.names(),
    "specs": SPECS_SCHEMA.names(),
    "manifest": VersionInfo.__struct_fields__,
    "journal": (*journal_format.JournalMeta.__struct_fields__, *journal_format.Header.__struct_fields__),
    "fleet": [
        name
        for shape in vars(summary).values()
        if getattr(shape, "__module__", "") == summary.__name__
        for name in getattr(shape, "__struct_fields__", ())
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_page_of_file_formats_names_every_field(shape):
    page = (ROOT / "docs/reference/file-formats.md").read_text()
    assert [name for name in SHAPES[shape] if f"`{name}`" not in page] == []


def test_the_readme_shows_commands():
    assert len(command_lines(ROOT / "README.md")) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_can_be_parsed(page, capsys):
    for words in command_lines(page):
        try:
            build_parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"podpower {' '.join(words)}: {capsys.readouterr().err}")


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= targets


def variables_read() -> set[str]:
    """Every environment variable named by a string of the code."""
    found = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value):
                found.add(node.value)
    return found


def test_the_reference_names_exactly_the_variables_that_are_read():
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    named = set(re.findall(r"^\| `([A-Z0-9_]+)` \|", page, flags=re.MULTILINE))
    assert named - FOREIGN == variables_read() - FOREIGN


def test_the_generated_reference_is_current():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", ROOT / "scripts" / "reference.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_documentation_builds_and_its_links_lead_somewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_links_of_the_documents_lead_somewhere():
    for document in PAGES:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_page_is_linked_from_another_page():
    pages = set((ROOT / "docs").rglob("*.md"))
    linked = {
        (page.parent / target).resolve()
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
        if (page.parent / target).resolve() != page
    }
    assert pages - linked == {ROOT / "docs" / "index.md"}


def test_every_requirement_has_an_exact_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines), "versions only: no places"
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [
        r for extra in ("dev", "assets", "k8s", "pandas", "pipeline", "serving") for r in extras[extra]
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower() for requirement in wanted} - {"podpower"}
    assert names <= pinned
    assert "torch" not in pinned


def test_the_verification_script_can_be_run():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
