"""Going back to an earlier champion: one command, on record, never undone by a training that is run again."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import pytest
from propensity_rows import world
from typer.testing import CliRunner

from sendopt.cli import app
from sendopt.config.schema import Mlflow, Training
from sendopt.errors import ModelError
from sendopt.propensity import evaluation as assess
from sendopt.propensity.model import OpenModel, train
from sendopt.tracking import REFERENCE, Lineage, native, registries, rollback
from sendopt.tracking.mlflow import MlflowTracker
from sendopt.tracking.registries import ARMS

SETTINGS = Training(bootstrap_samples=50, max_trees=20)
REFERENCES = {REFERENCE: {"plan_date": "2025-02-01", "features": {}}}


@dataclass
class Version:
    version: str
    tags: dict[str, str] = field(default_factory=dict)


class Registry:
    """What the way back needs of MLflow's client, in memory; `good` are the versions that passed their gate."""

    def __init__(self, versions: int, good: set[str]) -> None:
        self.versions = {str(n): Version(str(n)) for n in range(1, versions + 1)}
        self.champion: str | None = None
        self.good = good

    def search_model_versions(self, _: str) -> list[Version]:
        return list(self.versions.values())

    def get_model_version(self, _: str, number: str) -> Version:
        return self.versions[number]

    def set_model_version_tag(self, _: str, number: str, key: str, value: str) -> None:
        self.versions[number].tags[key] = value

    def delete_model_version_tag(self, _: str, number: str, key: str) -> None:
        del self.versions[number].tags[key]

    def set_registered_model_alias(self, _: str, alias: str, number: str) -> None:
        assert alias == "champion"
        self.champion = number

    @property
    def current(self) -> Version | None:
        return None if self.champion is None else self.versions[self.champion]

    def promote(self, number: int) -> bool:
        return rollback.promote(self, "p", number, self.current)

    def back(self, to: str | None = None) -> tuple[str, str]:
        return rollback.roll_back(self, "p", self.current, to, lambda version: version.version in self.good)


@pytest.fixture
def registry() -> Registry:
    """Versions 1 and 3 were promoted one after the other; the gate refused 2; 4 waits."""
    found = Registry(4, {"1", "3", "4"})
    assert found.promote(1)
    assert found.promote(3)
    return found


def test_back_to_the_champion_before_and_no_further(registry: Registry) -> None:
    assert registry.back() == ("p/3", "p/1")
    assert registry.versions["3"].tags["sendopt.rolled_back_to"] == "1"
    with pytest.raises(ModelError, match=r"no good version before it is on record; name one .* versions: 2, 3, 4"):
        registry.back()
    assert registry.champion == "1"


def test_a_training_run_again_does_not_undo_a_rollback_and_a_new_one_is_free(registry: Registry) -> None:
    registry.back()
    assert not registry.promote(3)
    assert registry.champion == "1"
    assert registry.promote(1), "it is the champion"
    assert registry.promote(4)
    assert registry.back() == ("p/4", "p/1"), "3 was rolled back: it is no good version"


def test_an_older_training_finished_late_does_not_replace_a_newer_champion(registry: Registry) -> None:
    assert not registry.promote(2)
    assert registry.champion == "3"


def test_a_promotion_whose_alias_was_lost_is_made_up_for(registry: Registry) -> None:
    registry.champion = None
    assert registry.promote(3)


def test_to_a_version_by_name_also_forward_again(registry: Registry) -> None:
    assert registry.back("1") == ("p/3", "p/1")
    assert registry.back("p/3") == ("p/1", "p/3")
    assert registry.back() == ("p/3", "p/1"), "what was brought back is good again"


def test_a_version_that_was_rolled_back_is_passed_over(registry: Registry) -> None:
    assert registry.promote(4)
    assert registry.back() == ("p/4", "p/3")
    assert registry.back() == ("p/3", "p/1")
    registry.back("4")
    assert registry.back() == ("p/4", "p/1"), "3 is no good version any more"


@pytest.mark.parametrize(
    ("to", "sentence"),
    [
        ("2", "version 2 of model p never passed its gate"),
        ("3", "version 3 of model p is the champion already"),
        ("9", "model p has no version '9'; expected one of 1, 2, 3, 4"),
        ("x/1", "has no version 'x/1'"),
    ],
)
def test_a_version_that_is_no_good_one_is_refused(registry: Registry, to: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        registry.back(to)
    assert registry.champion == "3"


def test_without_a_champion_there_is_nothing_to_roll_back() -> None:
    with pytest.raises(ModelError, match="has no champion, so there is nothing to roll back"):
        Registry(2, set()).back()


@pytest.fixture(scope="module")
def model() -> OpenModel:
    return train(world(users=100, days=20), SETTINGS, "open")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, model: OpenModel) -> MlflowTracker:
    """A real store with versions 1 and 2, both promoted."""
    home = tmp_path_factory.mktemp("home")
    tracker = MlflowTracker(Mlflow(tracking_uri=f"sqlite:///{home}/mlflow.db", experiment="e", model_name="m"))
    rows = world(users=100, days=20)
    found = assess.evaluate(rows, model, None, SETTINGS, "open") | {"gate": {"promoted": True, "reasons": ["because"]}}
    for number in (1, 2):
        lineage = Lineage(f"f{number}", {"plan_date": f"2025-02-0{number}"}, {})
        assert tracker.keep(model, found, lineage, REFERENCES).warnings == ()
    return tracker


@pytest.fixture
def tracker(kept: MlflowTracker) -> Iterator[MlflowTracker]:
    """The store with version 2 as champion and its files as they were."""
    with kept._reading() as client:
        client.set_registered_model_alias("m", "champion", "2")
    folder = files_of_champion(kept)
    held = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield kept
    for path, content in held.items():
        path.write_bytes(content)


@pytest.mark.slow
def test_the_command_says_from_what_to_what(tracker: MlflowTracker, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(Path(__file__).parents[2] / "conf", conf)
    settings = json.dumps(tracker._settings.model_dump())
    (conf / "env" / "local.yaml").write_text(f"mlflow: {settings}\n")
    done = CliRunner().invoke(app, ["rollback", "--conf", str(conf)])
    assert done.exit_code == 0, done.output
    assert "Champion was m/2, now is m/1." in done.stdout
    champion = tracker.champion()
    assert champion is not None
    assert champion.model_version == "m/1"
    assert champion.reference == REFERENCES[REFERENCE]
    again = tracker.trained("f2")
    assert again is not None
    assert not again.promoted, "a training run again does not undo it"
    assert CliRunner().invoke(app, ["rollback", "--conf", str(conf)]).exit_code == 6
    done = CliRunner().invoke(app, ["rollback", "--conf", str(conf), "--to", "2", "--json"])
    assert json.loads(done.stdout) == {"from": "m/1", "to": "m/2"}


@pytest.fixture(scope="module")
def families(kept: MlflowTracker, model: OpenModel) -> Mlflow:
    """In the same store, all promoted: a goal trained twice; both arms twice, one of them once more in between."""
    settings = kept._settings.model_copy(update={"model_name": "f"})
    rows = world(users=100, days=20)
    found = assess.evaluate(rows, model, None, SETTINGS, "open") | {"gate": {"promoted": True, "reasons": ["because"]}}
    stores = {"order": registries.of_goal(settings, "order")} | {a: registries.of_arm(settings, a) for a in ARMS}
    trainings = [
        ("order", "a"),
        ("order", "b"),
        ("sent", "a-sent"),
        ("not_sent", "a-not_sent"),
        ("not_sent", "lost-not_sent"),
        ("sent", "b-sent"),
        ("not_sent", "b-not_sent"),
    ]
    for name, mark in trainings:
        kept_now = MlflowTracker(stores[name]).keep(model, found, Lineage(mark, {"plan_date": "2025-02-01"}, {}))
        assert kept_now.promoted
    return settings


def champions(settings: Mlflow) -> list[str | None]:
    stores = [registries.of_goal(settings, "order"), *(registries.of_arm(settings, arm) for arm in ARMS)]
    return [MlflowTracker(store).champion_version() for store in stores]


@pytest.mark.slow
def test_each_model_goes_back_alone_and_both_arms_together(families: Mlflow, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(Path(__file__).parents[2] / "conf", conf)
    defaults = (conf / "defaults.yaml").read_text()
    changed = re.sub(r"  goals: \{\} ", "  goals: {order: {weight: 4.0}} ", defaults)
    assert changed != defaults
    (conf / "defaults.yaml").write_text(changed)
    (conf / "env" / "local.yaml").write_text(f"mlflow: {json.dumps(families.model_dump())}\n")

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["rollback", "--conf", str(conf), *arguments])
        return done.exit_code, done.output

    assert champions(families) == ["f-goal-order/2", "f-sent/2", "f-not-sent/3"]
    code, said = run("--model", "goal:order")
    assert (code, "Champion was f-goal-order/2, now is f-goal-order/1." in said) == (0, True), said
    code, said = run("--model", "uplift")
    assert "Champion was f-sent/2+f-not-sent/3, now is f-sent/1+f-not-sent/1." in said, "of one training, not by number"
    assert champions(families) == ["f-goal-order/1", "f-sent/1", "f-not-sent/1"]
    assert run("--model", "uplift")[0] == 6
    code, said = run("--model", "uplift", "--to", "2", "--json")
    assert json.loads(said) == {"from": "f-sent/1+f-not-sent/1", "to": "f-sent/2+f-not-sent/3"}
    MlflowTracker(registries.of_arm(families, "not_sent")).roll_back("1")  # as if stopped half way
    code, said = run("--model", "uplift")
    assert code == 0, "the same command finishes it"
    assert champions(families)[1:] == ["f-sent/1", "f-not-sent/1"]
    code, said = run("--model", "goal:visit")
    assert code == 2
    assert "--model: got 'goal:visit', expected one of goal:order, p_open, uplift" in said


@pytest.mark.slow
def test_a_note_is_a_tag_of_the_run_and_its_failure_a_warning(tracker: MlflowTracker) -> None:
    champion = tracker.champion()
    assert champion is not None
    assert tracker.note(champion.run_id, {"sendopt.alerts": "2025-02-03: none"}) == ()
    with tracker._reading() as client:
        assert client.get_run(champion.run_id).data.tags["sendopt.alerts"] == "2025-02-03: none"
    (warning,) = tracker.note("no such run", {"a": "b"})
    assert warning.startswith("MLflow did not keep a note: ")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "run"))


def files_of_champion(tracker: MlflowTracker) -> Path:
    with tracker._reading() as client:
        version = tracker._by_alias(client)
        address = client.get_model_version_download_uri(version.name, version.version)
    return Path(url2pathname(address.removeprefix("file://")))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["trees", "card"])
def test_a_pickle_in_place_of_a_model_is_refused_and_never_run(
    tracker: MlflowTracker, tmp_path: Path, which: str
) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    pickle.loads(bomb)
    assert (tmp_path / "ran").read_text() == "run", "the test itself must be able to fail"
    (tmp_path / "ran").unlink()
    folder = files_of_champion(tracker)
    (trees,) = folder.glob("*.lgb")
    (trees if which == "trees" else folder / "extra_files" / "card.json").write_bytes(bomb)
    with pytest.raises(ModelError, match=r"never unpickled|cannot be read|not readable") as caught:
        tracker.champion()
    assert "\n" not in caught.value.message
    assert not (tmp_path / "ran").exists()
    assert tracker.roll_back() == ("m/2", "m/1"), "the way back does not load what is broken"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"tree\nversion=v4\nnonsense\n", b"\xff\xfe"])
def test_damaged_trees_are_refused_with_a_sentence(tracker: MlflowTracker, damage: bytes) -> None:
    (trees,) = files_of_champion(tracker).glob("*.lgb")
    trees.write_bytes(damage)
    with pytest.raises(ModelError, match=r"`sendopt rollback`"):
        tracker.champion()


@pytest.mark.slow
def test_code_that_a_model_brings_along_is_not_imported(tracker: MlflowTracker, tmp_path: Path) -> None:
    folder = files_of_champion(tracker)
    described = (folder / "MLmodel").read_text()
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "loader.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    changed = described.replace("loader_module: mlflow.lightgbm", "loader_module: loader\n    code: code")
    assert changed != described
    (folder / "MLmodel").write_text(changed)
    champion = tracker.champion()
    assert champion is not None, "only the native text is read; the loader of python_function is never asked"
    assert not (tmp_path / "ran").exists()


def test_trees_that_stand_elsewhere_than_the_header_says_are_refused_before_lightgbm_sees_them(
    model: OpenModel,
) -> None:
    """LightGBM itself aborts the whole process on some of them."""
    whole, card = model.booster_text.encode(), model.card.to_json().encode()
    assert native.model_of("m/1", whole, card) == model
    for text in (re.sub(rb"leaf_value=\S+", b"leaf_value=9", whole), whole[: len(whole) // 3], b"tree\nversion=v4\n"):
        with pytest.raises(ModelError, match="not a LightGBM booster in text form"):
            native.model_of("m/1", text, card)
