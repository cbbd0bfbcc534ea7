"""Training from a configuration file, whole, and what it says about mistakes."""

import json
import re

import numpy as np
import pytest

import lrpot
from lrpot.training.config import DataSettings, TrainSettings, build, split, train

DATA = """3
Properties=species:S:1:pos:R:3:forces:R:3:charge:R:1 energy={energy} total_charge={charge}
O 0.0 0.0 {shift}  0.1 0.2 0.3  {oxygen}
H 0.96 0.0 0.0  -0.1 0.1 -0.3  0.4
H -0.24 0.93 0.0  0.0 -0.3 0.0  0.4
"""

CONFIG = """
recipe = "hdnnp_4g"
folder = "run"
seed = 3

[data]
train = "data.xyz"
validation_fraction = 0.25
test = "data.xyz"

[descriptor]
cutoff = 3.0
spacing = 1.1
shells = 1
zetas = [1.0]

[potential]
hidden = [3]
hardness = {H = 12.0, O = 9.0}

[[stages]]
name = "charges"
train = ["charge_model"]
weights = {charges = 1}
epochs = 2
batch_size = 2

[[stages]]
name = "energies"
train = ["terms"]
epochs = 2
batch_size = 2
"""


@pytest.fixture(scope="module")
def data():
    frames = []
    for number in range(8):
        charge = number % 2
        frames.append(
            DATA.format(
                energy=-2.0 - charge + 0.01 * number,
                charge=charge,
                shift=0.02 * number,
                oxygen=round(-0.8 + charge, 6),
            )
        )
    return "".join(frames)


@pytest.fixture
def write(tmp_path, data):
    """A function from a text to the configuration file beside the data."""
    (tmp_path / "data.xyz").write_text(data)

    def to_file(text):
        path = tmp_path / "train.toml"
        path.write_text(text)
        return path

    return to_file


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("config")
    (folder / "data.xyz").write_text(data)
    (folder / "train.toml").write_text(CONFIG)
    return folder, *train(folder / "train.toml", progress=False)


def test_a_configuration_leaves_model_history_plot_and_errors(outcome):
    folder, found, evaluation = outcome
    names = {path.name for path in (folder / "run").iterdir()}
    assert {"model.lrpot", "history.json", "learning_curve.png", "errors.json"} <= names
    history = json.loads((folder / "run" / "history.json").read_text())
    assert history == found.history
    assert [row["stage"] for row in history] == ["charges"] * 2 + ["energies"] * 2
    assert set(history[-1]["validation"]) == {"energy", "forces"}
    errors = json.loads((folder / "run" / "errors.json").read_text())
    assert errors == evaluation.as_dict()
    assert set(errors["by_total_charge"]) == {"0", "+1"}
    assert errors["total"]["charges"]["count"] == 24
    used = json.loads((folder / "run" / "data.json").read_text())["train"]["used"]
    assert [one["label"] for one in used] == ["energy", "forces", "charges", "total_charge"]


def test_the_model_is_what_the_configuration_says(outcome):
    folder, found, _ = outcome
    model = lrpot.load(folder / "run" / "model.lrpot")
    assert model.recipe == "hdnnp_4g"
    assert model.elements == (1, 8)  # of the data
    assert model.cutoff == 3.0
    assert model.descriptor.n_features == found.potential.descriptor.n_features
    assert [bias.shape for bias in model.charge_model.networks.biases] == [(2, 3), (2, 1)]
    assert model.charge_model.networks.activations == ("silu", "linear")


def test_a_training_that_has_ended_is_not_done_again(outcome):
    folder, found, _ = outcome
    again, evaluation = train(folder / "train.toml", progress=False)
    assert again.history == found.history
    assert evaluation is not None


def test_another_configuration_in_the_same_folder_is_refused(outcome):
    folder, _, _ = outcome
    path = folder / "other.toml"
    path.write_text(CONFIG.replace("seed = 3", "seed = 4"))
    with pytest.raises(lrpot.InputError, match="holds the checkpoint of another training"):
        train(path, progress=False)


def test_a_training_starts_from_a_model_file(outcome, data):
    folder, found, _ = outcome
    stage = '[[stages]]\ntrain = ["terms"]\nepochs = 1\nbatch_size = 2\nlearning_rate = 1e-9\n'
    path = folder / "more.toml"
    path.write_text(
        'start = "run/model.lrpot"\nfolder = "more"\n'
        '[data]\ntrain = "data.xyz"\nvalidation = "held_out.xyz"\n' + stage
    )
    (folder / "held_out.xyz").write_text(data)
    again, evaluation = train(path, progress=False)
    assert evaluation is None
    assert set(again.history[0]["validation"]) == {"energy", "forces"}
    networks = [one.potential.terms["short_range"].networks for one in (found, again)]
    np.testing.assert_allclose(networks[1].weights[0], networks[0].weights[0], atol=1e-7)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("recipe", "recipes", r"Unknown key `recipes` in .*train\.toml\. Did you mean `recipe`\?"),
        (
            "validation_frac",
            "valid_frac",
            r"`valid_fraction` in .*data\. Did you mean `validation_",
        ),
        ("zetas", "zeta", r"Unknown key `zeta` in \[descriptor\].*Did you mean `zetas`\?"),
        ("hidden", "hiden", r"Unknown key `hiden` in \[potential\].*Did you mean `hidden`\?"),
        ("epochs", "epoch", r"Unknown key `epoch` in .*stages\. Did you mean `epochs`\?"),
        ("{charges", "{charge", r"Unknown key `charge` in .*weights\. Did you mean `charges`\?"),
        ("hdnnp_4g", "hdnnp4g", r"Unknown recipe `hdnnp4g`\. Did you mean `hdnnp_4g`\?"),
        ('train = "data.xyz"', "", r"lacks the key `train` of `DataSettings`"),
        ("seed = 3", 'seed = "3"', r"train\.toml: seed must be int, got '3'"),
        ('train = "data', 'train = "date', r"There is no data file .*date\.xyz"),
        ('["terms"]', '["term"]', r"Unknown part `term` in `train`\. Did you mean `terms`\?"),
        ("0.25", "1.25", r"validation_fraction must be at least 0 and below 1, got 1\.25"),
        ("[data]", '[data]\nkeys = {enrgy = "e"}', r"Unknown key `enrgy` in .*keys\. Did you mean"),
        (
            "[data]",
            '[data]\nkeys = {energy = "e"}',
            r"No structure of .* has energy: there is no `e`",
        ),
        ("[data]", "[data", "is not valid TOML"),
        ("O = 9.0", "N = 9.0", r"`hardness` lacks O"),
        ("seed = 3", 'elements = ["H"]', r"data\.xyz, structure \d: Element 8 \(O, atom 0\)"),
        ("seed = 3", 'scaling = "sigm"', r"Unknown scaling `sigm`\. Did you mean `sigma`\?"),
        ("seed = 3", "atomic_energies = {H = -13.6}", r"The atomic energies lack O"),
        ("seed = 3", 'start = "old.lrpot"', r"`start`.*`descriptor`, `potential`"),
    ],
)
def test_mistakes_are_named(write, old, new, message):
    assert old in CONFIG
    with pytest.raises(lrpot.InputError, match=message):
        train(write(CONFIG.replace(old, new, 1)), progress=False)


def test_what_looks_like_a_label_is_named_or_left_out_on_purpose(write, data, tmp_path):
    """The recipe does not exist: what comes this far has been read."""
    text = CONFIG.replace("hdnnp_4g", "none")
    (tmp_path / "data.xyz").write_text(data.replace("forces:", "force:"))
    message = r'8 of 8 structures have the column `force` and no `forces`: .*`forces = "force"`'
    with pytest.raises(lrpot.InputError, match=message):
        train(write(CONFIG), progress=False)
    for line in ('ignore = ["force"]', 'keys = {forces = "force"}'):
        with pytest.raises(lrpot.InputError, match="Unknown recipe"):
            train(write(text.replace("[data]", f"[data]\n{line}")), progress=False)
    both = data.replace("energy=", "REF_energy=").replace("forces:", "REF_forces:")
    (tmp_path / "data.xyz").write_text(both)
    keys = '[data]\nkeys = {forces = "REF_forces"}'
    with pytest.raises(lrpot.InputError, match=r"has no energy.*Did you mean `REF_energy`"):
        train(write(text.replace("[data]", keys)), progress=False)


def test_energies_are_not_needed_where_none_are_learnt(write, data, tmp_path):
    (tmp_path / "data.xyz").write_text(re.sub("energy=[-.0-9]+ ", "", data))
    charges_only = CONFIG[: CONFIG.rindex("[[stages]]")]
    with pytest.raises(lrpot.InputError, match="has no energy"):
        train(write(CONFIG), progress=False)
    with pytest.raises(lrpot.InputError, match="Unknown recipe"):
        train(write(charges_only.replace("hdnnp_4g", "none")), progress=False)


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(lrpot.InputError, match=r"Cannot read the configuration .*nowhere\.toml"):
        train(tmp_path / "nowhere.toml", progress=False)


def test_the_split_is_reproducible_and_loses_nothing(molecules):
    first, second = split(molecules, 0.25, seed=1)
    assert len(second) == len(molecules) // 4
    again, other = split(molecules, 0.25, seed=1), split(molecules, 0.25, seed=2)
    names = [[one.name for one in part] for part in (first, second, *again, *other)]
    assert names[:2] == names[2:4] != names[4:]
    identities = sorted(map(id, first + second))
    assert identities == sorted(map(id, molecules))


def test_no_fraction_means_no_validation(molecules):
    assert split(molecules, 0.0, seed=0) == (molecules, [])


def test_elements_and_cutoff_can_be_given(molecules):
    settings = TrainSettings(
        data=DataSettings(train="data.xyz"),
        recipe="hdnnp_2g",
        elements=("H", "C", "O"),
        potential={"cutoff": 3.5},
    )
    potential = build(settings, molecules)
    assert potential.elements == (1, 6, 8)
    assert potential.cutoff == 3.5


def test_the_seed_decides_about_the_first_weights(molecules):
    potentials = [
        build(
            TrainSettings(data=DataSettings(train="data.xyz"), recipe="hdnnp_2g", seed=seed),
            molecules,
        )
        for seed in (0, 0, 1)
    ]
    weights = [one.terms["short_range"].networks.weights[0] for one in potentials]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
