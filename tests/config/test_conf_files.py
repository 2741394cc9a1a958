"""The files under `conf` are valid, complete, explained and current."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sendopt.config import wording
from sendopt.config.forecast import warnings
from sendopt.config.loader import json_schema, load
from sendopt.config.schema import GROWTH_SECTIONS, Settings
from sendopt.config.yaml_tree import read
from sendopt.domain.tables import TABLES

ROOT = Path(__file__).parents[2]
CONFS = [ROOT / "conf", ROOT / "conf" / "heartsteps"]
ENVS = [(conf, path.stem) for conf in CONFS for path in sorted((conf / "env").glob("*.yaml"))]
MAPPINGS = sorted((ROOT / "conf" / "sources").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=str)
def test_every_file_is_plain_yaml(path: Path) -> None:
    tree, problems = read(path, str(path))
    assert not problems
    assert tree is not None
    assert tree.value


@pytest.mark.parametrize(("conf", "env"), ENVS, ids=[f"{conf.name}-{env}" for conf, env in ENVS])
def test_every_environment_loads(conf: Path, env: str) -> None:
    assert load(conf, env).campaigns


def test_all_expected_environments_are_there() -> None:
    assert [env for conf, env in ENVS if conf == ROOT / "conf"] == ["local", "prod", "staging"]


def test_defaults_equal_the_schema_and_name_every_knob() -> None:
    tree, _ = read(ROOT / "conf" / "defaults.yaml", "defaults.yaml")
    assert tree is not None
    schema = Settings().model_dump(exclude=set(GROWTH_SECTIONS))
    assert Settings.model_validate(tree.value) == Settings()
    assert {key: set(value) for key, value in tree.value.items()} == {key: set(value) for key, value in schema.items()}


def test_every_default_is_explained_on_its_line() -> None:
    tree, _ = read(ROOT / "conf" / "defaults.yaml", "defaults.yaml")
    assert tree is not None
    lines = (ROOT / "conf" / "defaults.yaml").read_text().splitlines()
    bare = [path for path, mark in tree.marks.items() if len(path) == 2 and "  # " not in lines[mark.line - 1] + " "]
    assert [path for path in bare if not re.search(r" # \w", lines[tree.marks[path].line - 1])] == []


def test_every_field_of_the_schema_is_described() -> None:
    missing = [
        f"{name}.{field}"
        for name, model in json_schema()["$defs"].items()
        for field, node in model["properties"].items()
        if "description" not in node and "const" not in node
    ]
    assert missing == []


def test_every_pattern_of_the_schema_has_words_and_a_sample() -> None:
    patterns = set(re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(json_schema())))
    for pattern in {json.loads(text) for text in patterns}:
        assert pattern in wording.PATTERNS
        assert re.match(pattern, wording.SAMPLES.get(pattern, "x"))


def test_the_schema_file_is_current() -> None:
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert (ROOT / "conf" / "schema.json").read_text(encoding="utf-8") == text, (
        "conf/schema.json is old; write json.dumps(sendopt.config.loader.json_schema(), indent=2, ensure_ascii=False) "
        "and a line end into it"
    )


def test_every_field_is_strict() -> None:
    def models(schema: dict[str, Any]) -> list[str]:
        return [n for n, m in schema["$defs"].items() if m.get("additionalProperties") is not False]

    assert models(json_schema()) == []


def test_the_demo_has_its_campaigns_and_no_warnings() -> None:
    settings = load(Path("conf"))
    assert set(settings.channels) == {"push", "email", "sms"}
    assert len(settings.campaigns) == 12
    assert {c.category for c in settings.campaigns.values()} == {"deals", "social", "reminders", "news", "account"}
    assert warnings(settings) == []


def test_heartsteps_differs_only_where_its_files_say_so() -> None:
    settings = load(Path("conf/heartsteps"))
    assert (settings.grid.slot_minutes, settings.label.kind, settings.label.window_hours) == (30, "goal", 0.5)
    assert settings.arms.holdout_fraction == 0
    assert settings.allocation == Settings().allocation


@pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: path.stem)
def test_mappings_name_columns_of_their_tables(path: Path) -> None:
    tree, _ = read(path, path.name)
    assert tree is not None
    assert tree.value["source"] == path.stem
    also = {"interactions": {"user_id", "notification_id"}}  # joined to sends by these where no send_key is there
    for table, mapping in tree.value["tables"].items():
        mapped = {**mapping.get("columns", {}), **mapping.get("constants", {})}
        assert set(mapped) <= set(TABLES[table].names) | also.get(table, set())
        if "derive_from" not in mapping:
            assert mapping["format"] in ("csv", "jsonl", "parquet")


def test_heartsteps_mapping_fits_the_log() -> None:
    log = ROOT.parent / "shared" / "data" / "heartsteps_v1" / "decisions.csv"
    if not log.is_file():
        pytest.skip(f"the HeartSteps log is not at {log}")
    tree, _ = read(ROOT / "conf" / "sources" / "heartsteps.yaml", "heartsteps.yaml")
    assert tree is not None
    with log.open() as lines:
        header = set(lines.readline().strip().split(","))
    sends = tree.value["tables"]["sends"]
    assert {*sends["columns"].values(), sends["outcome"]["column"], sends["outcome"]["at"]} <= header
