"""Reads a daemon's configuration: file, environment over it, catalogue; all problems in one error.

Called at start, and for the catalogue alone whenever it is to be read again. Nothing is read at
import time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from pydantic import BaseModel

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.config.document import Document, KeyPath, read_document
from cortex_actors.config.environment import ENVIRONMENT, overlay
from cortex_actors.config.errors import ConfigError, Problem
from cortex_actors.config.fields import expand_path
from cortex_actors.config.gateway_config import GatewayConfig, GatewayFile, GatewaySettings
from cortex_actors.config.neuron_config import NeuronConfig, NeuronFile, NeuronSettings
from cortex_actors.config.restart_settings import EngineRestart, GroupRestart
from cortex_actors.config.rules import (
    Finding,
    check_backoff,
    check_catalogue,
    check_default_models,
    check_fleet,
    check_gateway,
    check_neuron,
    check_pins,
    neuron_names,
)
from cortex_actors.config.validation import validate

SchemaT = TypeVar("SchemaT", bound=BaseModel)


def load_gateway_config(path: Path, environ: Mapping[str, str]) -> GatewayConfig:
    """Read ``cortex.yaml`` and its catalogue; ``CORTEX__…`` variables override.

    Raises:
        ConfigError: With everything that is wrong in either file or in the environment.
    """
    file = _read(path, GatewayFile, environ, "CORTEX")
    catalogue = _read_catalogue(_catalogue_path(path, file.data.get("models")))
    own = file.placed(check_gateway(_section(file.data, "gateway", GatewaySettings)))
    fleet = file.placed(check_fleet(file.data))
    pins = catalogue.placed(check_pins(catalogue.data, neuron_names(file.data)))
    _refuse([*file.problems, *own, *fleet, *catalogue.problems, *pins])
    values = file.sound()
    return GatewayConfig(
        path, values.gateway, values.eviction, values.neurons, catalogue.sound(), values.models
    )


def reload_catalogue(config: GatewayConfig) -> Catalogue:
    """Read the catalogue of a running gateway again, for the neurons that it has.

    Raises:
        ConfigError: With everything that is wrong in it.
    """
    catalogue = _read_catalogue(config.models)
    neurons = [neuron.name for neuron in config.neurons]
    _refuse([*catalogue.problems, *catalogue.placed(check_pins(catalogue.data, neurons))])
    return catalogue.sound()


def load_neuron_config(path: Path, environ: Mapping[str, str]) -> NeuronConfig:
    """Read ``neuron.yaml`` and its catalogue; ``NEURON__…`` variables override.

    Raises:
        ConfigError: With everything that is wrong in either file or in the environment.
    """
    file = _read(path, NeuronFile, environ, "NEURON")
    section = _section(file.data, "neuron", NeuronSettings)
    own = file.placed((*check_neuron(section), *_backoffs(file.data.get("restart"))))
    catalogue = _read_catalogue(_catalogue_path(path, section["models"]))
    missing = check_default_models(file.data, catalogue.data) if catalogue.data else ()
    _refuse([*file.problems, *own, *file.placed(missing), *catalogue.problems])
    values, models = file.sound(), catalogue.sound()
    return NeuronConfig(
        path,
        values.neuron,
        values.restart,
        tuple(map(models.resolve, values.default_models)),
        models,
    )


@final
@dataclass(frozen=True, slots=True)
class _Read(Generic[SchemaT]):
    """One file's values; ``values`` is None when the schema refused them."""

    document: Document
    data: dict[str, Any]
    variables: dict[KeyPath, str]
    values: SchemaT | None
    problems: tuple[Problem, ...]

    def problem(self, at: KeyPath, message: str) -> Problem:
        """Place a problem at the variable that set the key, or else in the file."""
        for end in range(len(at), 0, -1):
            if at[:end] in self.variables:
                return Problem(ENVIRONMENT, message, self.variables[at[:end]])
        return self.document.problem(at, message)

    def placed(self, findings: Iterable[Finding]) -> tuple[Problem, ...]:
        """Place what the rules found."""
        return tuple(self.problem(at, message) for at, message in findings)

    def sound(self) -> SchemaT:
        """Return the values, once no problem is left.

        Raises:
            ConfigError: The schema refused them.
        """
        if self.values is None:
            raise ConfigError(self.problems)
        return self.values


def _backoffs(restart: Any) -> Iterable[Finding]:
    written = restart if isinstance(restart, dict) else {}
    yield from check_backoff("engine", _section(written, "engine", EngineRestart))
    yield from check_backoff("group", _section(written, "group", GroupRestart))


def _section(data: dict[str, Any], name: str, schema: type[BaseModel]) -> dict[str, Any]:
    """Return a section as it is written, with the defaults of what is not."""
    written = data.get(name)
    defaults = {key: field.default for key, field in schema.model_fields.items()}
    return {**defaults, **(written if isinstance(written, dict) else {})}


def _refuse(problems: list[Problem]) -> None:
    """Raise all problems, if any, file by file and from top to bottom."""
    sources = list(dict.fromkeys(problem.source for problem in problems))
    if problems:
        raise ConfigError(
            sorted(problems, key=lambda found: (sources.index(found.source), found.line or 0))
        )


def _read(
    path: Path, schema: type[SchemaT], environ: Mapping[str, str], prefix: str
) -> _Read[SchemaT]:
    document = read_document(path)
    laid = overlay(document.data, schema, environ, prefix)
    unchecked: _Read[SchemaT] = _Read(document, laid.data, laid.variables, None, ())
    values, found = validate(schema, laid.data, path.absolute().parent, unchecked.problem)
    problems = (*document.problems, *laid.problems, *found)
    return _Read(document, laid.data, laid.variables, values, problems)


def _catalogue_path(config_path: Path, models: Any) -> Path:
    name = models if isinstance(models, str) and models else "models.yaml"
    return expand_path(name, config_path.absolute().parent)


def _read_catalogue(path: Path) -> _Read[Catalogue]:
    try:
        file = _read(path, Catalogue, {}, "")
    except ConfigError as error:
        return _Read(Document(path, {}), {}, {}, None, error.problems)
    return replace(file, problems=(*file.problems, *file.placed(check_catalogue(file.data))))
