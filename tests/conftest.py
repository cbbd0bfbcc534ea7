"""Float64, no silent broadcasting, and shapes checked on every call (see pyproject.toml)."""

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
