"""Other people's meta-parameters as our optimizers: a module a family, each with `from_theta`.

What comes in is a nested dict of arrays, as `flax.serialization.msgpack_restore` reads it from the files that
learned_optimization and Celo write. Nothing is unpickled, and their libraries are not needed.
"""
