import dataclasses
from typing import Literal

import pytest

from lrpot import InputError
from lrpot.config import from_mapping, read_toml, to_mapping


@dataclasses.dataclass(frozen=True)
class Optimiser:
    rate: float
    schedule: Literal["constant", "cosine"] = "constant"
    steps: int = 100


@dataclasses.dataclass(frozen=True)
class Settings:
    elements: tuple[str, ...]
    optimiser: Optimiser
    cutoff: float = 6.0
    hidden: tuple[int, ...] = (15, 15)
    screening: tuple[float, float] | None = None
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    verbose: bool = False
    stages: tuple[Optimiser, ...] = ()


TEXT = """
elements = ["H", "O"]
cutoff = 5
screening = [1, 2.5]
verbose = true

[optimiser]
rate = 1e-3

[weights]
energy = 1
forces = 10.0

[[stages]]
rate = 0.1
schedule = "cosine"

[[stages]]
rate = 0.2
steps = 3
"""

EXPECTED = Settings(
    elements=("H", "O"),
    optimiser=Optimiser(rate=1e-3),
    cutoff=5.0,
    screening=(1.0, 2.5),
    weights={"energy": 1.0, "forces": 10.0},
    verbose=True,
    stages=(Optimiser(0.1, "cosine"), Optimiser(0.2, steps=3)),
)

VALID = dict(elements=["H"], optimiser=dict(rate=0.1))


def test_a_toml_file_becomes_nested_settings(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(TEXT)
    found = read_toml(path, Settings)
    assert found == EXPECTED
    assert isinstance(found.cutoff, float)
    assert isinstance(found.hidden, tuple)
    assert read_toml(str(path), Settings) == EXPECTED


def test_settings_survive_the_way_to_a_mapping_and_back():
    assert from_mapping(Settings, to_mapping(EXPECTED)) == EXPECTED


def test_what_is_left_out_takes_its_default():
    found = from_mapping(Settings, VALID)
    assert found == Settings(("H",), Optimiser(0.1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(cutof=5.0), "Unknown key `cutof` in configuration. Did you mean `cutoff`?"),
        (dict(cutof=5.0), "Known: `cutoff`, `elements`, `hidden`, `optimiser`, `screening`"),
        (dict(zzz=1), "Unknown key `zzz` in configuration. Known: "),
        (
            dict(optimiser=dict(rat=0.1)),
            "Unknown key `rat` in configuration: optimiser. Did you mean `rate`?",
        ),
        (dict(optimiser={}), "configuration: optimiser lacks the key `rate` of `Optimiser`"),
        (dict(optimiser=3), "configuration: optimiser must be a table, got 3"),
        (dict(stages=[dict(rate=1), dict(steps=1)]), "stages lacks the key `rate`"),
        (dict(cutoff="6"), "configuration: cutoff must be float, got '6'"),
        (dict(cutoff=True), "configuration: cutoff must be float, got True"),
        (dict(hidden=[15, 1.5]), "configuration: hidden must be int, got 1.5"),
        (dict(hidden=[True]), "configuration: hidden must be int, got True"),
        (dict(hidden=15), r"configuration: hidden must be tuple\[int, ...\], got 15"),
        (dict(elements="H"), r"elements must be tuple\[str, ...\], got 'H'"),
        (dict(verbose=1), "configuration: verbose must be bool, got 1"),
        (dict(screening=[1.0]), r"screening must be tuple\[float, float\], got \[1.0\]"),
        (dict(screening=["a", 1.0]), "screening must be float, got 'a'"),
        (dict(weights=dict(energy="x")), "configuration: weights.energy must be float, got 'x'"),
        (
            dict(optimiser=dict(rate=1, schedule="cosin")),
            "optimiser: schedule must be one of 'constant', 'cosine', got 'cosin'. Did you mean",
        ),
        (dict(optimiser=dict(rate=1, steps=1.0)), "optimiser: steps must be int, got 1.0"),
    ],
)
def test_wrong_settings_are_refused_with_key_and_value(change, words):
    with pytest.raises(InputError, match=words):
        from_mapping(Settings, VALID | change)


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match="configuration lacks the key `optimiser` of `Settings`"):
        from_mapping(Settings, dict(elements=["H"]))


def test_messages_name_the_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("elements = ['H']\n[optimiser]\nrate = 'fast'\n")
    with pytest.raises(InputError, match=r"run.toml: optimiser: rate must be float, got 'fast'"):
        read_toml(path, Settings)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"Cannot read the configuration .*none.toml: No such file"
    ):
        read_toml(tmp_path / "none.toml", Settings)
    with pytest.raises(InputError, match="Cannot read the configuration"):
        read_toml(tmp_path, Settings)


def test_what_is_not_toml_is_refused_with_the_place(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("elements = [\ncutoff == 3\n")
    with pytest.raises(InputError, match=r"broken.toml is not valid TOML: .*line 2"):
        read_toml(path, Settings)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00\x9f = 3")
    with pytest.raises(InputError, match=r"binary.toml is not valid TOML"):
        read_toml(path, Settings)
