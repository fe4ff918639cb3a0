"""Eight devices of the host's, for the tests of sharding. JAX must not have looked for any yet."""

from __future__ import annotations

from tests.conftest import framework

framework("jax").config.update("jax_num_cpu_devices", 8)
