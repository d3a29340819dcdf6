"""Images: of codes, of the business code, of whatever is sent, and behind signed addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import ClassVar, TypeGuard
from uuid import UUID

import msgspec
from msgspec.structs import replace

from core.domain.codes import BusinessCode as StoredCode
from core.domain.content_reading import read_content
from core.domain.contents import Content, Text
from core.domain.images import ANY, ImageOptions, Limits, SignedOptions
from core.domain.looks import LookOptions, look_rules, options_of
from core.domain.validation import collect, read
from core.errors import InvalidFields, NotFound
from core.http.conditional import names_any, not_modified
from core.http.request import Request
from core.http.resources.base import Answer, Answers, Bodies, Queries, Resource, put_json
from core.http.response import Response
from core.http.schemas import BusinessCodeDraft, BusinessCodeView, ImageDraft
from core.http.schemas import ImageAddress as ImageAddressDocument
from core.services import Services
from core.services.images import Plan
from core.services.limits import Policy
from core.services.signatures import parameters
from core.settings import Settings

# An SVG that is opened by itself is a document: it may run and load nothing.
_CONTENT_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
    )
}
_MAX_SIGNED = 2000
_FOR_EVERYBODY = {
    "cache-control": "public, max-age=31536000, immutable",
    # Pages of other sites are what these addresses are for.
    "cross-origin-resource-policy": "cross-origin",
}


def _drawn(*, tagged: bool) -> Answer:
    return Answer(
        media=lambda services: services.images.formats.values(),
        headers=("Content-Disposition", "Content-Security-Policy"),
        tagged=tagged,
    )


class _Image(Resource):
    """Answers with an image; what it encodes, the subclasses know."""

    queries: ClassVar[Queries] = {"GET": ImageOptions}
    answers: ClassVar[Answers] = {"GET": (_drawn(tagged=True),)}

    def plan(
        self,
        org_id: UUID,
        content: str,
        options: ImageOptions,
        limits: Limits = ANY,
    ) -> Plan:
        """The plan of an image in the look that the options or the default name."""
        look, logo = self.services.styles.resolve(org_id, options, options.style, None)
        return self.services.images.plan(content, options, look, logo, limits=limits)

    def answer(
        self, req: Request, resp: Response, org_id: UUID, plan: Plan, file_name: str
    ) -> None:
        """Send the image, or 304 where the client has it."""
        if names_any(req):
            # Whether there is an image at all, only drawing it tells: its look may be refused.
            self.services.images.picture(plan, org_id, self.drawing(req))
        # Both are told with 304 too, whose headers replace those of the copy (RFC 9111, 3.2).
        resp.preset({"etag": plan.entity_tag, **_CONTENT_SECURITY})
        if not_modified(req, plan.entity_tag):
            resp.status = 304
            return
        self._put(req, resp, org_id, plan, file_name)

    def send(self, req: Request, resp: Response, org_id: UUID, plan: Plan, file_name: str) -> None:
        """Send the image to whoever has no copy."""
        resp.preset(_CONTENT_SECURITY)
        self._put(req, resp, org_id, plan, file_name)

    def _put(self, req: Request, resp: Response, org_id: UUID, plan: Plan, file_name: str) -> None:
        picture = self.services.images.picture(plan, org_id, self.drawing(req))
        resp.data = picture.data
        resp.content_type = picture.media_type
        if plan.options.download:
            extension = self.services.images.extension(plan.options.format)
            resp.downloadable_as = f"{file_name}.{extension}"

    def drawing(self, req: Request) -> Callable[[], object]:
        """Counts a drawing of whoever asks; raises TooMany."""
        return lambda: self.services.limits.take(Policy.DRAWING, req.context.principal.subject)


class Image(_Image):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}/image`."""

    def on_get(self, req: Request, resp: Response, org_id: UUID, qr_id: UUID) -> None:
        """Send the image of the code's short link."""
        code, plan = self.services.code_images.plan(org_id, qr_id, req.context.query)
        self.answer(req, resp, org_id, plan, code.slug)


class ImageAddress(_Image):
    """`/api/organizations/{org_id}/qr-codes/{qr_id}/image-url`."""

    answers: ClassVar[Answers] = {"GET": (Answer(ImageAddressDocument),)}

    def on_get(self, req: Request, resp: Response, org_id: UUID, qr_id: UUID) -> None:
        """Tell the public address of this image, which shows this look for ever."""
        options: ImageOptions = req.context.query
        # Of this very moment, since it is for ever.
        code, plan = self.services.code_images.plan(org_id, qr_id, options, at_once=True)
        # Drawn at once: nobody is given the address of an image that cannot be scanned.
        self.services.images.picture(plan, org_id, self.drawing(req))
        own = {name: getattr(options, name) for name in _UNSTYLED}
        signed = SignedOptions(**own, **options_of(plan.look), revision=code.revision)
        url = self.settings.base_url + self.services.signatures.path(code.id, signed)
        put_json(resp, ImageAddressDocument(url))


class SignedImage(_Image):
    """`/i/{signature}/{qr_id}.{format}`."""

    queries: ClassVar[Queries] = {"GET": SignedOptions}
    answers: ClassVar[Answers] = {
        "GET": (_drawn(tagged=True), Answer(status=301, headers=("Location",)), 429, 503)
    }

    def __init__(self, services: Services, settings: Settings) -> None:
        super().__init__(services, settings)
        # PERF: to verify a signature takes 16 µs. What holds is remembered, and nothing else: who
        # tries signatures pushes nothing out.
        self._signed = lru_cache(_MAX_SIGNED)(self._verify)

    def on_get(self, req: Request, resp: Response, signature: str, file: str) -> None:
        """Send the image, for everybody to keep, or the way to its one address."""
        name, _, image_format = file.partition(".")
        options = replace(req.context.query, format=image_format)
        code_id, query = self._signed(signature, name, options)
        # WSGI servers hand the path over decoded, and other ways to write it as this one.
        raw = req.env.get("RAW_URI", "").partition("?")[0]
        is_other = raw.startswith("/") and raw != f"/i/{signature}/{file}"
        if req.query_string != query or is_other or "%" in raw:
            # One image has one address: it may be kept for ever, so that a shared cache would keep
            # it once for each other way to write it.
            resp.status = 301
            resp.set_header("Location", self._address(signature, file, query))
            return
        code, plan = self.services.code_images.signed(code_id, options)
        resp.preset(_FOR_EVERYBODY)
        self.answer(req, resp, code.organization_id, plan, code.slug)

    def drawing(self, req: Request) -> Callable[[], object]:
        """Counts a drawing of the client, of whom nothing is known but his address."""
        return lambda: self.services.limits.take(Policy.DRAWING, self.clients.subject(req))

    def _verify(self, signature: str, name: str, options: SignedOptions) -> tuple[UUID, str]:
        """The code, and how the options are written; raises NotFound unless we signed both."""
        unknown = NotFound("There is no such image.")
        try:
            code_id = UUID(name)
        except ValueError:
            raise unknown from None
        # There are other ways to write the id, but one image has one address.
        if name != str(code_id) or not self.services.signatures.holds(signature, code_id, options):
            raise unknown
        return code_id, parameters(options)

    def _address(self, signature: str, file: str, query: str) -> str:
        path = f"{self.settings.base_url}/i/{signature}/{file}"
        return f"{path}?{query}" if query else path


class Images(_Image):
    """`/api/organizations/{org_id}/images`."""

    queries: ClassVar[Queries] = {}
    bodies: ClassVar[Bodies] = {"POST": ImageDraft}
    answers: ClassVar[Answers] = {"POST": (_drawn(tagged=False),)}

    def on_post(self, req: Request, resp: Response, org_id: UUID) -> None:
        """Send an image of the content in the body; nothing is stored."""
        body = self.body(req)
        rest = {k: v for k, v in body.items() if k != "content"} if _is_object(body) else body
        options, problems = collect(ImageOptions, rest, look_rules)
        content: Content = Text("")
        if _is_object(body):
            try:
                content = read_content(body.get("content"))
                self.services.destinations.check_content(content)
            except InvalidFields as error:
                problems += error.problems
        if options is None or problems:
            raise InvalidFields(problems)
        text = content.encode()
        self.services.images.check_length(text)
        plan = self.plan(org_id, text, options, content.limits)
        self.send(req, resp, org_id, plan, "image")


class BusinessImage(_Image):
    """`/api/organizations/{org_id}/qr-business/image`."""

    def on_get(self, req: Request, resp: Response, org_id: UUID) -> None:
        """Send the image of the business code."""
        code = self.services.organizations.business_code(org_id)
        limits = ANY
        if code.document is not None:
            limits = msgspec.json.decode(code.document, type=Content).limits
        plan = self.plan(org_id, code.content, req.context.query, limits)
        self.answer(req, resp, org_id, plan, "business")


class BusinessCode(Resource):
    """`/api/organizations/{org_id}/qr-business`."""

    bodies: ClassVar[Bodies] = {"PUT": BusinessCodeDraft}
    answers: ClassVar[Answers] = {
        "GET": (Answer(BusinessCodeView),),
        "PUT": (Answer(BusinessCodeView),),
    }

    def on_get(self, req: Request, resp: Response, org_id: UUID) -> None:
        """Tell what the business code encodes."""
        code = self.services.organizations.business_code(org_id)
        put_json(resp, BusinessCodeView.of(code))

    def on_put(self, req: Request, resp: Response, org_id: UUID) -> None:
        """Set what the business code encodes."""
        sent = read(BusinessCodeDraft, self.body(req)).content
        content = read_content(sent)
        self.services.destinations.check_content(content)
        # A text is kept as it is, and a typed content as the document that it was.
        document = None if isinstance(sent, str) else msgspec.json.encode(content).decode()
        code = StoredCode(content.encode(), document)
        self.services.images.check_content(code.content, content.limits)
        self.services.organizations.set_business_code(org_id, code, by=self.origin(req))
        put_json(resp, BusinessCodeView.of(code))


def _is_object(body: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(body, Mapping)


# What an image is asked for besides its look.
_UNSTYLED = tuple(
    field
    for field in ImageOptions.__struct_fields__
    if field not in LookOptions.__struct_fields__ and field != "style"
)
