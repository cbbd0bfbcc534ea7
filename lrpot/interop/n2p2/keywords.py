"""Keywords of `input.nn`: which are used, which do not matter, and which are near misses."""

import difflib
from collections.abc import Iterable, Mapping

ALIASES = {
    "nnp_generation": "nnp_type",
    "nnp_type_gen": "nnp_type",
    "nnp_gen": "nnp_type",
    "symfunction": "symfunction_short",
}

ELEMENT_KEYWORDS = {
    f"element_{what}_{network}"
    for what in ("hidden_layers", "nodes", "activation")
    for network in ("short", "electrostatic")
}
"""Keywords that may occur once per element."""

FLAGS = {
    "center_symmetry_functions",
    "normalize_nodes",
    "scale_symmetry_functions",
    "scale_symmetry_functions_sigma",
}
"""Keywords that are on by being there."""

USED = {
    *ELEMENT_KEYWORDS,
    *(keyword.replace("element_", "global_") for keyword in ELEMENT_KEYWORDS),
    *FLAGS,
    "atom_energy",
    "conv_charge",
    "conv_energy",
    "conv_length",
    "cutoff_type",
    "elements",
    "ewald_prec",
    "ewald_truncation_error_method",
    "fixed_gausswidth",
    "four_pi_epsilon",
    "mean_energy",
    "nnp_type",
    "number_of_elements",
    "scale_max_short",
    "scale_min_short",
    "screen_electrostatics",
    "symfunction_short",
}
"""Keywords that a prediction depends on."""

RUNNER_2 = {
    "activation_nn",
    "electrostatics_precision",
    "fc_cosine",
    "fc_hard",
    "fc_hypertangent",
    "fc_polynomial",
    "feature_map_default",
    "nodes",
    "qeq_method",
    "scale_feature_maps",
    "screening_function",
}
"""Keywords of RuNNer 2, whose files are another format."""

SHORTHAND = {
    "element_pairsymfunction_short",
    "element_symfunction_short",
    "global_pairsymfunction_short",
    "global_symfunction_short",
    "pairsymfunction_short",
}
"""Keywords of RuNNer that stand for many symmetry functions, or for those of pairs."""

MATTERS = {
    "cutoff_alpha": "the second argument of `cutoff_type`",
    "use_electrostatics": "",
    "use_vdw": "",
}
"""Keywords that change energies in RuNNer and are not used here, and what is used instead."""

IGNORED = {
    "biases_max",
    "biases_min",
    "bond_threshold",
    "charge_fraction",
    "electrostatic_type",
    "elements_charge",
    "energy_threshold",
    "epochs",
    "ewald_alpha",
    "ewald_cutoff",
    "ewald_kmax",
    "fitting_unit",
    "fixed_charge",
    "force_threshold",
    "force_update_scaling",
    "force_weight",
    "global_activation_pair",
    "global_hidden_layers_pair",
    "global_nodes_pair",
    "initial_hardness",
    "jacobian_mode",
    "main_error_metric",
    "memorize_symfunc_results",
    "mix_all_points",
    "nguyen_widrow_weights_short",
    "nn_type_elec",
    "nn_type_short",
    "parallel_mode",
    "points_in_memory",
    "random_number_type",
    "random_seed",
    "remove_atom_energies",
    "runner_mode",
    "scale_max_elec",
    "scale_max_electrostatic",
    "scale_min_elec",
    "scale_min_electrostatic",
    "selection_mode",
    "symfunction_elec",
    "symfunction_electrostatic",
    "test_fraction",
    "update_strategy",
    "updater_type",
    "use_atom_energies",
    "use_short_forces",
    "use_short_nn",
    "vdw_type",
}
"""Keywords that matter in training, or for what is printed."""

IGNORED_FAMILIES = (
    "analyze_",
    "calculate_",
    "charge_",
    "check_",
    "decoupling_",
    "energy_",
    "gradient_",
    "kalman_",
    "nguyen_widrow_",
    "noise_",
    "optmode_",
    "precondition_",
    "print_",
    "repeated_",
    "rmse_threshold",
    "separate_",
    "short_energy_",
    "short_force_",
    "shuffle_",
    "steepest_descent_",
    "task_batch_size_",
    "update_",
    "use_old_",
    "use_systematic_",
    "weight_",
    "weights_",
    "write_",
)
"""What other keywords of that kind begin with."""

NEAR = 0.85
"""Share of equal letters from which on a word is taken for a misspelt keyword."""


def nearest_used(word: str) -> str | None:
    """The keyword that a word is a near miss of, if there is one."""
    known = [*USED, *ALIASES]
    if word in known or word in IGNORED or word in MATTERS:
        return None
    found = difflib.get_close_matches(word.lower(), known, n=1, cutoff=NEAR)
    return found[0] if found else None


def is_unknown(word: str) -> bool:
    """Whether a word is neither used nor known to be without effect on predictions."""
    known = word in USED or word in ALIASES or word in IGNORED or word in MATTERS
    return not known and not word.startswith(IGNORED_FAMILIES)


def about_keywords(words: Mapping[str, str], *, charged: bool) -> list[str]:
    """What the keywords of a file probably mean but do not do.

    Args:
        words: Places, such as `line 3`, by keyword as it stands in the file.
        charged: Whether the potential has charges of its own.
    """
    told = []
    for word, place in words.items():
        nearest = nearest_used(word)
        if nearest is not None:
            told.append(
                f"{place}: `{word}` is no keyword and changes nothing. Did you mean `{nearest}`?"
            )
        elif word in MATTERS and not (charged and word == "use_electrostatics"):
            instead = f"; {MATTERS[word]} is" if MATTERS[word] else ""
            told.append(
                f"{place}: `{word}` is not used here, and changes energies in RuNNer{instead}."
            )
    return told


def unknown(words: Iterable[str]) -> tuple[str, ...]:
    """Words that are neither used nor known to be without effect on predictions, sorted."""
    return tuple(sorted(word for word in set(words) if is_unknown(word)))
