"""Configurations of any kind: a potential, or a message; never an error from somewhere else."""

import os
import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lrpot
from lrpot.config import read_toml
from lrpot.data import Structure
from lrpot.errors import InputWarning
from lrpot.training.config import TrainSettings, build

EXAMPLES = int(os.environ.get("LRPOT_FUZZ", "50"))

WATER = [
    Structure(
        lrpot.System(np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), np.array([8, 1, 1]))
    )
]

SMALL = {
    "potential": {"hidden": "[2]"},
    "descriptor": {"cutoff": "3.0", "spacing": "1.1", "shells": "1", "zetas": "[1.0]"},
    "data": {"train": '"data.xyz"'},
}
"""A configuration whose potential is built in no time."""

KEYS = {
    "": (
        "recipe start elements stages optimiser atomic_energies scaling keep seed devices members "
        "bootstrap folder data"
    ).split(),
    "data": "train validation validation_fraction test keys charge_tolerance".split(),
    "potential": (
        "cutoff hidden activation neutralisation widths hardness screening accuracy learn_widths "
        "local_hardness charge_shells charge_message_layers message_layers message_channels "
        "descriptor key"
    ).split(),
    "descriptor": (
        "cutoff angular_cutoff spacing shells zetas function weighted narrow elements"
    ).split(),
    "stage": (
        "name train weights optimiser epochs batch_size averaging patience learning_rate "
        "weight_decay clip kalman"
    ).split(),
}

RIGHT = [
    '"hdnnp_2g"', '"hdnnp_3g"', '"cent"', '"silu"', '"covalent"', '"point"', '"weighted"',
    '["H", "O"]', '["terms"]', "[1.0, 2.5]", "[2, 2]", "{H = 0.3, O = 0.6}", "{energy = 1}",
    "1", "2", "3.5", "0.01", "true", "false", '"kalman"', '"cos"', "1e-5",
]  # fmt: skip

ODD = [
    "0", "-1", "inf", "-inf", "nan", "1e400", "1e308", "1e-300", "1_000_000", str(2**63),
    str(2**70), "9" * 400, "9" * 5000, "[" * 2000,
    '""', '"\\u0000"', '"Å"', '"1"', '"true"', "[]", "[[]]", "[1, [2]]",
    "[nan]", "[0]", "[true]", '["Xx"]', "{}", "{H = nan}", "{H = 1}", "{Xx = 1}", "{x = {y = 1}}",
    "1979-05-27", "07:32:00", '"""\nlong"""', "1_2.0", "0x10", "[{}]", "[{epochs = 0}]",
]  # fmt: skip

VALUES = st.one_of(
    st.sampled_from(RIGHT),
    st.sampled_from(ODD),
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@st.composite
def assignments(draw, table):
    name = draw(st.sampled_from(KEYS[table]))
    if draw(st.integers(0, 9)) == 0:  # a slip of the finger
        place = draw(st.integers(0, len(name) - 1))
        name = draw(
            st.sampled_from([name[:place] + name[place + 1 :] or "x", name.upper(), f"{name}s"])
        )
    return name, draw(VALUES)


@st.composite
def texts(draw):
    """A configuration in which some values are others, and perhaps a piece is another."""
    tables = {name: dict(values) for name, values in SMALL.items()}
    tables[""] = {"recipe": draw(st.sampled_from([*RIGHT[:3], '"hdnnp_4g"']))}
    for _ in range(draw(st.integers(1, 3))):
        table = draw(st.sampled_from(["", "data", "potential", "descriptor"]))
        name, value = draw(assignments(table))
        tables[table][name] = value
    lines = [f"{name} = {value}" for name, value in tables.pop("").items()]
    for table, values in tables.items():
        lines += [f"[{table}]", *(f"{name} = {value}" for name, value in values.items())]
    for _ in range(draw(st.integers(0, 2))):
        lines += [
            "[[stages]]",
            *(
                f"{name} = {value}"
                for name, value in draw(
                    st.lists(assignments("stage"), max_size=2, unique_by=lambda one: one[0])
                )
            ),
        ]
    text = "\n".join(lines)
    if draw(st.integers(0, 7)) == 0:
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.text(max_size=3)) + text[place + draw(st.integers(0, 3)) :]
    return text


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="LRPOT_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(text=texts())
def test_a_configuration_gives_a_potential_or_a_message(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        try:
            found = read_toml(path, TrainSettings)
            potential = build(found, WATER, path.parent)
        except lrpot.InputError:
            return
    wanted = (
        (1, 8) if not found.elements else tuple(sorted({"H": 1, "O": 8}[e] for e in found.elements))
    )
    assert potential.elements == wanted
    assert potential.cutoff > 0
    if "hidden" in found.potential and found.recipe == "hdnnp_2g" and found.members == 1:
        biases = potential.terms["short_range"].networks.biases
        assert [one.shape[1] for one in biases[:-1]] == list(found.potential["hidden"])
