"""The compiled part of the package; all else is in setup.cfg."""

from setuptools import Extension, setup

_NATIVE = "neuron_runtime/torch_backend/native"
_SOURCES = ("pool", "linear", "linear_avx512", "attention", "attention_avx512", "decoder")

setup(
    ext_modules=[
        Extension(
            "neuron_runtime.torch_backend.native._kernels",
            sources=[f"{_NATIVE}/{name}.c" for name in _SOURCES],
            depends=[f"{_NATIVE}/{name}.h" for name in ("kernels", "linear", "attention")],
            extra_compile_args=["-std=c11", "-O3", "-mavx2", "-mfma", "-mf16c", "-Wall", "-Wextra"],
            # Without a C compiler, or on another kind of CPU, torch operators do this work.
            optional=True,
        )
    ]
)
