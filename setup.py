"""The compiled parts of the package; all else is in setup.cfg.

``python setup.py compile_links`` compiles the links' modules in place, as ``make compile`` does.
"""

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Extension, setup

_NATIVE = "neuron_runtime/torch_backend/native"


class CompileLinks(Command):
    """Have mypyc compile ``transports.compiled.MODULES``; needs mypy and a C compiler."""

    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        """Nothing can be chosen."""

    def finalize_options(self) -> None:
        """Nothing can be chosen."""

    def run(self) -> None:
        """Compile elsewhere and put the result in place; the stamp goes first and comes last."""
        # Nothing else here needs them, and an installation has them not.
        from mypyc.build import mypycify  # noqa: PLC0415

        from transports import compiled  # noqa: PLC0415

        stamp = compiled.stamp()
        sources = [f"transports/{name}.py" for name in compiled.MODULES]
        group = compiled.SHARED.removesuffix("__mypyc")
        with tempfile.TemporaryDirectory() as work:
            self.distribution.ext_modules = mypycify(sources, group_name=group, target_dir=work)
            build = self.reinitialize_command("build_ext", build_lib=work, build_temp=work)
            build.ensure_finalized()
            build.run()
            (compiled.DIRECTORY / "stamp").unlink(missing_ok=True)
            shutil.rmtree(compiled.DIRECTORY, ignore_errors=True)
            compiled.DIRECTORY.mkdir()
            for path in Path(work).rglob(f"*{compiled.SUFFIX}"):
                shutil.move(path, compiled.DIRECTORY / path.name)
        (compiled.DIRECTORY / "stamp").write_text(stamp)


setup(
    cmdclass={"compile_links": CompileLinks},
    ext_modules=[
        Extension(
            "neuron_runtime.torch_backend.native._kernels",
            sources=[f"{_NATIVE}/{name}.c" for name in ("pool", "linear", "attention", "decoder")],
            depends=[f"{_NATIVE}/kernels.h"],
            extra_compile_args=["-std=c11", "-O3", "-mavx2", "-mfma", "-mf16c", "-Wall", "-Wextra"],
            # Without a C compiler, or on another kind of CPU, torch operators do this work.
            optional=True,
        )
    ],
)
