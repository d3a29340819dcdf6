"""Sheets: an organisation's codes as labels on pages, to be printed and stuck onto things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from core.domain.codes import Code
from core.domain.images import Drawing, ImageOptions
from core.domain.sheets import MIN_MODULE_MM, Label, LabelText, Sheet
from core.errors import FieldProblem, InvalidFields, NotFound
from core.ports import SheetPrinter
from core.services.codes import CodeService
from core.services.images import ImageService, Plan
from core.services.offload import Offload, call_inline
from core.services.scannability import Alike
from core.services.styles import Looks, Styles
from core.settings import CodesSettings

# So many codes that cannot be printed are named; the others wait until these are mended.
_MAX_PROBLEMS = 20


class Sheets:
    """Label sheets; every method names the organisation that it is for."""

    def __init__(
        self,
        printers: Mapping[str, SheetPrinter],
        codes: CodeService,
        images: ImageService,
        styles: Styles,
        settings: CodesSettings,
    ) -> None:
        self._printers = printers
        self._codes = codes
        self._images = images
        self._styles = styles
        self._settings = settings
        self._offload: Offload = call_inline

    def open(self, offload: Offload) -> None:
        """Get ready: `offload` does the printing from now on."""
        self._offload = offload

    @property
    def formats(self) -> Mapping[str, str]:
        """The media type of each format that is offered."""
        return {name: printer.media_type for name, printer in sorted(self._printers.items())}

    def printer(self, document_format: str) -> SheetPrinter:
        """The printer of a format; raises NotFound where none is enabled."""
        printer = self._printers.get(document_format)
        if printer is None:
            enabled = ", ".join(sorted(self._printers)) or "none"
            raise NotFound(f"There are no {document_format} sheets here; formats: {enabled}.")
        return printer

    def print(
        self,
        printer: SheetPrinter,
        organization_id: UUID,
        sheet: Sheet,
        options: ImageOptions,
        codes: tuple[UUID | None, str | None],
        copies: int = 1,
    ) -> bytes:
        """The document, with `copies` labels of each code, oldest code first.

        `codes` are the id of one code, or the tag of some; without either all codes are printed.
        Options that concern an image in pixels have no meaning here. Raises InvalidFields for codes
        that cannot be scanned from such a label, and for more labels than the settings allow.
        """
        code_id, tag = codes
        if code_id is not None and tag is not None:
            raise InvalidFields.of("tag", f"{tag!r} is given beside a code; leave one of them out")
        looks = self._styles.looks(organization_id, options, options.style)
        if copies > self._settings.max_labels:
            raise InvalidFields.of(
                "copies",
                f"{copies} labels are too many for one document; at most "
                f"{self._settings.max_labels} (setting codes.max_labels)",
            )
        if code_id is None:
            most = self._settings.max_labels
            self._codes.check_number(organization_id, tag, most, "max_labels", copies)
            chosen = self._codes.walk(organization_id, tag)
        else:
            chosen = iter([self._codes.get(organization_id, code_id)])
        labels = self._labels(printer, chosen, sheet, options, looks)
        return self._offload(printer.print, sheet, _repeated(labels, copies))

    def _labels(
        self,
        printer: SheetPrinter,
        codes: Iterator[Code],
        sheet: Sheet,
        options: ImageOptions,
        looks: Looks,
    ) -> list[Label]:
        """The label of each code; raises InvalidFields with what is wrong, code by code."""
        labels: list[Label] = []
        alike: Alike = set()
        problems: list[FieldProblem] = []
        for code in codes:
            link = self._codes.short_url(code)
            text = _text(sheet.caption, code, link)
            found = list(_text_problems(printer, text))
            try:
                plan = self._images.plan_code(link, options, *looks(code.style))
                labels.append(Label(self._drawing(plan, sheet, alike), text))
            except InvalidFields as error:
                found += error.problems
            problems += [
                FieldProblem(problem.field, f"{code.slug}: {problem.message}") for problem in found
            ]
            if len(problems) >= _MAX_PROBLEMS:
                break
        if problems:
            raise InvalidFields(problems[:_MAX_PROBLEMS])
        return labels

    def _drawing(self, plan: Plan, sheet: Sheet, alike: Alike) -> Drawing:
        drawing = self._images.to_print(plan, alike)
        layout = drawing.layout
        module_mm = sheet.code_mm * layout.scale / layout.size
        if module_mm < MIN_MODULE_MM:
            raise InvalidFields.of(
                "preset",
                f"its modules would be {module_mm:.2f} mm wide, and phones read {MIN_MODULE_MM} mm "
                "and more; take larger labels, or a lower error_correction",
            )
        return drawing


def _text_problems(printer: SheetPrinter, text: str) -> Iterator[FieldProblem]:
    try:
        printer.check(text)
    except ValueError as error:
        yield FieldProblem("caption", f"{error}; or take caption=slug, short_url or none")


def _text(caption: LabelText, code: Code, link: str) -> str:
    match caption:
        case LabelText.TITLE:
            return code.title.strip() or code.slug
        case LabelText.SLUG:
            return code.slug
        case LabelText.SHORT_URL:
            return link
        case LabelText.NONE:
            return ""


def _repeated(labels: list[Label], copies: int) -> Iterator[Label]:
    return (label for label in labels for _ in range(copies))
