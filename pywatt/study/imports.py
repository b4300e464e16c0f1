"""Import what a study file names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pywatt.calls.named import function_named
from pywatt.errors import ArgumentError, StudyError
from pywatt.study.settings import Recipe, Reference, StudySettings


class Imports:
    """Imports what references name, relative to the folder of the study file."""

    def __init__(self, settings: StudySettings) -> None:
        self.folder = settings.path.resolve().parent

    def check(self, settings: StudySettings) -> None:
        """Import all that the study names, so that a typo fails before hours of work.

        What a module raises on import, an exit too, is reported by the runs that need it.

        Raises:
            StudyError: there is no such module, file or function.
        """
        named = [settings.data, settings.metric, settings.forward]
        for model in settings.models:
            named.append(model.factory)
            if isinstance(model.training, Recipe):
                recipe = model.training
                named += [recipe.optimizer, recipe.loss, recipe.scheduler]
            else:
                named.append(model.training)
        for reference in named:
            if reference is None:
                continue
            try:
                self.find(reference)
            except StudyError:
                raise
            except (Exception, SystemExit):  # the runs that need it will report it
                continue

    def find(self, reference: Reference) -> Callable[..., Any]:
        """Import what a reference names. Raises StudyError, or whatever its module raises."""
        try:
            return function_named(reference.target, folder=self.folder)
        except ArgumentError as error:
            where = f"{reference.where}: " if reference.where else ""
            raise StudyError(f"{where}{error}") from error

    def call(self, reference: Reference, *given: Any) -> Any:
        """Call what a reference names with the given and its own arguments."""
        return self.find(reference)(*given, **reference.arguments)
