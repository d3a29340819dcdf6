"""What the images of codes are, as codes and styles are or were a moment ago."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from msgspec.structs import replace

from core.domain.codes import Code
from core.domain.images import ImageOptions, SignedOptions
from core.domain.logos import Logo
from core.domain.looks import Look
from core.errors import NotFound
from core.ports import Storage
from core.services.codes import CodeService
from core.services.images import ImageService, Plan
from core.services.recent import Recall
from core.services.styles import Styles

CodePlan = tuple[Code, Plan]
Plans = Recall[tuple[int, int, ImageOptions], CodePlan]
"""By the numbers of organisation and code, and what was asked for."""


class CodeImages:
    """Plans of the images of codes.

    `plans` is cleared wherever a code, a style or a logo is changed.
    """

    def __init__(
        self,
        storage: Storage,
        codes: CodeService,
        styles: Styles,
        images: ImageService,
        plans: Plans,
    ) -> None:
        self._storage = storage
        self._codes = codes
        self._styles = styles
        self._images = images
        self._plans = plans

    def plan(
        self, organization_id: UUID, code_id: UUID, options: ImageOptions, *, at_once: bool = False
    ) -> CodePlan:
        """The code, and the plan of its image in the look that the options or the code name.

        With `at_once` both are of this very moment. Raises NotFound or InvalidFields.
        """

        def ask() -> CodePlan:
            code = self._codes.get(organization_id, code_id)
            look, logo = self._styles.resolve(organization_id, options, options.style, code.style)
            return code, self._plan(code, options, look, logo)

        if at_once:
            return ask()
        # PERF: one look in place of three; the hash of a UUID takes longer than the rest of it.
        return self._plans.get((organization_id.int, code_id.int, options), ask)

    def signed(self, code_id: UUID, options: SignedOptions) -> CodePlan:
        """The code, and the plan of its image in the look that a signed address names."""

        def ask() -> CodePlan:
            code = self._storage.codes.find(code_id)
            if code is None:
                raise NotFound("There is no such code.")
            look, logo = self._styles.signed(code.organization_id, options)
            return code, self._plan(code, options, look, logo)

        return self._plans.get((0, code_id.int, options), ask)

    def _plan(self, code: Code, options: ImageOptions, look: Look, logo: Logo | None) -> Plan:
        plan = self._images.plan_code(self._codes.short_url(code), options, look, logo)
        if logo is None:
            return plan
        # Thousands of plans may be remembered, and a logo be large.
        return replace(plan, logo=partial(self._styles.logo, code.organization_id, look))
