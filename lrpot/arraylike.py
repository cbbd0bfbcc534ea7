"""What is taken for an array, under one short name.

The alias of JAX is a union of eight types, which `help()` would spell out for every argument.
"""

import jax.typing
from typing_extensions import TypeAliasType

ArrayLike = TypeAliasType("ArrayLike", jax.typing.ArrayLike)
"""An array of JAX or numpy, or a number."""
