"""Operators see what the cache does; what is cached ends with the right to see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.app import Application, create_app
from core.domain.accounts import Role
from core.domain.audit import OPERATOR
from core.services.monitor import IN_CACHE
from tests.http.conftest import PASSWORD, Api, Clock, Tenant


@pytest.fixture
def operator(app: Application, owner: Api) -> Api:
    app.services.accounts.set_operator("owner@acme.example", True, by=OPERATOR)
    return signed_in(app, "owner@acme.example")


def counted(operator: Api, namespace: str, span: str = "since_start") -> tuple[int, int]:
    document = operator.get("/api/cache").json
    looks = document["namespaces"][namespace][span]
    return looks["hits"], looks["misses"]


def test_operators_alone_see_the_state_of_the_cache(
    app: Application, anonymous: Api, owner: Api, acme: Tenant
) -> None:
    assert anonymous.get("/api/cache").status_code == 401
    refused = owner.get("/api/cache")
    assert refused.status_code == 403
    assert "quietzone operator add" in refused.json["detail"]
    key_id = str(acme.key_id)
    key = Api(app, {"Authorization": f"Bearer {acme.keys[Role.MEMBER]}"})
    assert key.get("/api/cache").status_code == 403
    app.services.accounts.set_operator(key_id, True, by=OPERATOR)
    assert key.get("/api/cache").status_code == 200
    app.services.accounts.set_operator(key_id, False, by=OPERATOR)
    assert key.get("/api/cache").status_code == 403


def test_the_state_of_the_cache_is_told_whole(operator: Api, acme: Tenant) -> None:
    operator.get(f"{acme.code_url}/image")
    answer = operator.get("/api/cache")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-cache"
    document: dict[str, Any] = answer.json
    assert {"backend": "memory", "shared": False, "workers": 1}.items() <= document.items()
    assert (document["servers"], document["aside"]) == ([], [])
    assert document["entries"] == 1
    assert document["size"] > 200
    assert document["evictions"] == 0
    assert set(document["namespaces"]) >= {"image", "code", "session", "stats", "timeline"}
    image = document["namespaces"]["image"]
    assert (image["entries"], image["size"]) == (1, document["size"])
    for span in ("last_minute", "last_hour", "since_start"):
        looks = image[span]
        assert (looks["hits"], looks["misses"], looks["hit_ratio"]) == (0, 1, 0.0)
        assert looks["bytes_written"] > 200
        assert looks["mean_us"] > 0


@pytest.mark.parametrize(
    ("what", "namespace"), [("image", "image"), ("stats", "stats"), ("timeline", "timeline")]
)
def test_what_is_found_again_is_a_hit(
    operator: Api, acme: Tenant, what: str, namespace: str
) -> None:
    url = f"{acme.code_url}/{what}"
    tag = operator.get(url).headers["ETag"]
    assert counted(operator, namespace) == (0, 1)
    operator.get(url)
    assert counted(operator, namespace) == (1, 1)
    # An image that the client has is not looked for; an answer has to be, for its tag.
    operator.get(url, headers={"If-None-Match": tag})
    assert counted(operator, namespace) == ((1, 1) if what == "image" else (2, 1))


def test_codes_and_sessions_are_counted_too(node: Node, operator: Api, acme: Tenant) -> None:
    there = node.api(operator)
    for _ in range(3):
        there.get(f"/r/{acme.code.slug}")
    assert counted(there, "code") == (2, 1)
    hits, misses = counted(there, "session")
    assert hits >= 1
    assert misses >= 1


def test_what_was_cleared_is_made_anew(app: Application, operator: Api, acme: Tenant) -> None:
    urls = [f"{acme.code_url}/{what}" for what in ("image", "stats", "timeline")]
    before = [operator.get(url).content for url in urls]
    app.services.monitor.clear(*IN_CACHE)
    assert [operator.get(url).content for url in urls] == before
    for namespace in ("image", "stats", "timeline"):
        assert counted(operator, namespace) == (0, 2)


def test_organizations_share_no_image(
    app: Application, operator: Api, acme: Tenant, globex: Tenant
) -> None:
    content = {"content": "the same for both"}
    other = Api(app, {"Cookie": globex.cookies[Role.OWNER]})
    assert operator.post(f"{acme.url}/images", content).status_code == 200
    assert other.post(f"{globex.url}/images", content).status_code == 200
    # Otherwise the time of an answer would tell one what others have drawn.
    assert counted(operator, "image") == (0, 2)


class Node:
    """Another process of the same service, and the time of both, in seconds."""

    def __init__(self, app: Application, clock: Clock) -> None:
        self.now = 100.0
        self.app = create_app(app.settings, clock=clock, seconds=lambda: self.now)
        self.app.services.open()

    def api(self, caller: Api) -> Api:
        return Api(self.app, caller._headers)


@pytest.fixture
def node(app: Application, clock: Clock) -> Iterator[Node]:
    other = Node(app, clock)
    yield other
    other.app.services.close()


def test_who_signs_out_is_out_everywhere_within_a_second(
    node: Node, editor: Api, acme: Tenant
) -> None:
    there = node.api(editor)
    assert there.get(acme.url).status_code == 200
    assert editor.delete("/api/session").status_code == 204
    assert editor.get(acme.url).status_code == 401
    assert there.get(acme.url).status_code == 200
    node.now += 0.81
    assert there.get(acme.url).status_code == 401


@pytest.mark.parametrize("how", ["one", "others", "password"])
def test_a_session_that_is_ended_is_so_everywhere_within_a_second(
    app: Application, node: Node, editor: Api, acme: Tenant, how: str
) -> None:
    there = node.api(editor)
    assert [api.get(acme.url).status_code for api in (editor, there)] == [200, 200]
    me = signed_in(app, "editor@acme.example")
    if how == "one":
        (other,) = [s for s in me.get("/api/sessions").json["items"] if not s["current"]]
        ended = me.delete(f"/api/sessions/{other['id']}")
    elif how == "others":
        ended = me.delete("/api/sessions")
    else:
        ended = me.put("/api/password", {"current": PASSWORD, "new": "another horse battery"})
    assert ended.status_code == 204
    assert editor.get(acme.url).status_code == 401
    assert there.get(acme.url).status_code == 200
    node.now += 0.81
    assert there.get(acme.url).status_code == 401
    assert node.api(me).get(acme.url).status_code == 200


def test_a_password_that_is_changed_ends_sessions_everywhere(
    app: Application, node: Node, editor: Api, acme: Tenant
) -> None:
    there = node.api(editor)
    assert [api.get(acme.url).status_code for api in (editor, there)] == [200, 200]
    app.services.accounts.change_password("editor@acme.example", "another horse battery")
    assert editor.get(acme.url).status_code == 401
    node.now += 0.81
    assert there.get(acme.url).status_code == 401


def signed_in(app: Application, email: str) -> Api:
    sent = {"email": email, "password": PASSWORD}
    answer = Api(app, {}).post("/api/session", sent)
    return Api(app, {"Cookie": f"quietzone={answer.cookies['quietzone'].value}"})


def test_a_role_that_is_taken_away_is_gone_everywhere_within_a_second(
    app: Application, node: Node, owner: Api, editor: Api, acme: Tenant
) -> None:
    there = node.api(editor)
    member = f"{acme.url}/members/{acme.users[Role.EDITOR]}"
    draft = {"destination": "https://example.com"}
    assert there.post(f"{acme.url}/qr-codes", draft).status_code == 201
    assert owner.patch(member, {"role": "member"}).status_code == 200
    # With another role, one signs in again.
    assert editor.post(f"{acme.url}/qr-codes", draft).status_code == 401
    assert there.get(acme.url).status_code == 200
    assert there.post(f"{acme.url}/qr-codes", draft).status_code == 401
    node.now += 0.81
    assert there.get(acme.url).status_code == 401

    editor = signed_in(app, "editor@acme.example")
    there = node.api(editor)
    for api in (editor, there):
        assert api.post(f"{acme.url}/qr-codes", draft).status_code == 403
        assert api.get(acme.url).status_code == 200
    assert owner.delete(member).status_code == 204
    assert editor.get(acme.url).status_code == 404
    node.now += 0.81
    assert there.get(acme.url).status_code == 404


@pytest.mark.parametrize("how", ["deleted", "its maker is removed", "its maker has a smaller role"])
def test_a_key_that_has_ended_changes_nothing_anywhere(
    app: Application, node: Node, owner: Api, acme: Tenant, how: str
) -> None:
    admin = Api(app, {"Cookie": acme.cookies[Role.ADMIN]})
    draft = {"name": "till", "role": "admin"}
    made = admin.post(f"{acme.url}/api-keys", draft).json
    there = Api(node.app, {"Authorization": f"Bearer {made['token']}"})
    # The first use is noted, and the second one remembered.
    assert [there.get(acme.url).status_code for _ in range(2)] == [200, 200]
    member = f"{acme.url}/members/{acme.users[Role.ADMIN]}"
    ask = {
        "deleted": lambda: owner.delete(f"{acme.url}/api-keys/{made['key']['id']}"),
        "its maker is removed": lambda: owner.delete(member),
        "its maker has a smaller role": lambda: owner.patch(member, {"role": "member"}),
    }[how]
    assert ask().status_code in (200, 204)
    before = owner.get(f"{acme.url}/audit").json["items"]
    invited = {"email": "friend@example.com", "role": "admin"}
    other = f"{acme.url}/members/{acme.users[Role.MEMBER]}"
    # What was so a moment ago may still be seen, and nothing is done by it.
    assert there.get(acme.url).status_code == 200
    for answer in (
        there.post(f"{acme.url}/api-keys", draft),
        there.post(f"{acme.url}/invitations", invited),
        there.patch(other, {"role": "admin"}),
        there.delete(acme.code_url),
    ):
        assert answer.status_code == 401
    assert owner.get(f"{acme.url}/audit").json["items"] == before


def test_a_session_that_has_ended_changes_nothing_anywhere(
    node: Node, editor: Api, acme: Tenant
) -> None:
    there = node.api(editor)
    assert there.get(acme.url).status_code == 200
    assert editor.delete("/api/session").status_code == 204
    assert there.get(acme.url).status_code == 200
    assert there.delete(acme.code_url).status_code == 401


def test_a_role_that_is_granted_holds_everywhere_at_once(
    node: Node, owner: Api, editor: Api, acme: Tenant
) -> None:
    there = node.api(editor)
    members = f"{acme.url}/members"
    assert there.get(acme.url).status_code == 200
    assert there.get(members).status_code == 403
    patched = owner.patch(f"{members}/{acme.users[Role.EDITOR]}", {"role": "admin"})
    assert patched.status_code == 200
    assert there.get(members).status_code == 200


def test_a_key_that_is_deleted_opens_nothing_within_a_second(
    app: Application, node: Node, owner: Api, acme: Tenant
) -> None:
    here = Api(app, {"Authorization": f"Bearer {acme.keys[Role.MEMBER]}"})
    there = node.api(here)
    assert [api.get(acme.url).status_code for api in (here, there)] == [200, 200]
    assert owner.delete(f"{acme.url}/api-keys/{acme.key_id}").status_code == 204
    assert here.get(acme.url).status_code == 401
    assert there.get(acme.url).status_code == 200
    node.now += 0.81
    assert there.get(acme.url).status_code == 401


def test_an_organization_that_ended_is_gone_everywhere_within_a_second(
    node: Node, owner: Api, acme: Tenant
) -> None:
    there = node.api(owner)
    urls = [acme.url, f"{acme.code_url}/image", f"{acme.code_url}/stats"]
    assert [there.get(url).status_code for url in urls] == [200] * 3
    assert owner.delete(acme.url).status_code == 204
    assert [owner.get(url).status_code for url in urls] == [404] * 3
    node.now += 0.81
    assert [there.get(url).status_code for url in urls] == [404] * 3


def test_an_image_follows_the_style_of_its_code_everywhere_within_a_second(
    node: Node, owner: Api, acme: Tenant
) -> None:
    there, url = node.api(owner), f"{acme.code_url}/image"
    plain = there.get(url).headers["ETag"]
    style = owner.post(f"{acme.url}/styles", {"name": "Blue", "color": "#0a3d62"}).json["id"]
    owner.patch(acme.code_url, {"style": style})
    blue = owner.get(url).headers["ETag"]
    assert blue != plain
    assert there.get(url).headers["ETag"] == plain
    node.now += 0.81
    assert there.get(url).headers["ETag"] == blue
    owner.patch(f"{acme.url}/styles/{style}", {"color": "#620a3d"})
    red = owner.get(url).headers["ETag"]
    assert red not in (plain, blue)
    node.now += 0.81
    assert there.get(url).headers["ETag"] == red


def test_a_signed_address_ends_with_its_code(node: Node, owner: Api, acme: Tenant) -> None:
    there = node.api(owner)
    url = owner.get(f"{acme.code_url}/image-url").json["url"].removeprefix("http://qz.test")
    assert [api.get(url).status_code for api in (owner, there)] == [200, 200]
    assert owner.delete(acme.code_url).status_code == 204
    assert owner.get(url).status_code == 404
    node.now += 0.81
    assert there.get(url).status_code == 404


def test_an_address_for_ever_is_never_of_a_moment_ago(node: Node, owner: Api, acme: Tenant) -> None:
    there, url = node.api(owner), f"{acme.code_url}/image-url"
    there.get(url)
    there.get(f"{acme.code_url}/image")
    style = owner.post(f"{acme.url}/styles", {"name": "Blue", "color": "#0a3d62"}).json["id"]
    owner.patch(acme.code_url, {"style": style})
    assert "0a3d62" in there.get(url).json["url"]


@pytest.mark.parametrize("what", ["stats", "timeline"])
def test_an_unchanged_answer_is_the_same_from_every_process(
    node: Node, owner: Api, acme: Tenant, clock: Clock, what: str
) -> None:
    there, url = node.api(owner), f"{acme.code_url}/{what}"
    assert owner.get(url).json["updated_at"] is None
    owner.get(f"/r/{acme.code.slug}")
    clock.forward(seconds=20)
    node.now += 20
    here = owner.get(url)
    assert here.json["updated_at"] is not None
    clock.forward(seconds=20)
    node.now += 20
    tag = here.headers["ETag"]
    assert there.get(url).content == here.content
    assert there.get(url, headers={"If-None-Match": tag}).status_code == 304


def test_a_deleted_logo_is_shown_no_more(owner: Api, acme: Tenant) -> None:
    url = f"{acme.code_url}/image?logo={acme.logo_id}"
    assert owner.get(url).status_code == 200
    signed = owner.get(url.replace("/image?", "/image-url?")).json["url"]
    signed = signed.removeprefix("http://qz.test")
    assert owner.get(signed).status_code == 200
    assert owner.delete(f"{acme.url}/logos/{acme.logo_id}").status_code == 204
    assert owner.get(url).status_code == 422
    assert owner.get(signed).status_code == 404


def test_plans_that_are_remembered_hold_no_pictures_of_logos(
    app: Application, owner: Api, acme: Tenant
) -> None:
    owner.get(f"{acme.code_url}/image?logo={acme.logo_id}")
    (((_, plan), _),) = app.services.code_images._plans._values._values.values()
    assert plan.logo.func == app.services.styles.logo


def test_who_is_refused_asks_once(
    app: Application, owner: Api, globex: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    role = app.services.storage.memberships.role

    def noted(*ids: Any) -> Role | None:
        asked.append(ids)
        return role(*ids)

    monkeypatch.setattr(app.services.storage.memberships, "role", noted)
    assert owner.get(globex.url).status_code == 404
    assert len(asked) == 1


def test_codes_that_were_made_with_a_key_lead_on_at_once(owner: Api, acme: Tenant) -> None:
    assert owner.get("/r/brand-new").status_code == 404
    made = owner.post(
        f"{acme.url}/qr-codes/bulk",
        {"codes": [{"destination": "https://example.com", "slug": "brand-new"}]},
        headers={"Idempotency-Key": "once"},
    )
    assert made.status_code == 201
    assert owner.get("/r/brand-new").status_code == 302


def test_what_is_remembered_of_an_image_is_of_one_organization(
    app: Application, owner: Api, acme: Tenant, globex: Tenant
) -> None:
    assert owner.get(f"{acme.code_url}/image").status_code == 200
    other = Api(app, {"Cookie": globex.cookies[Role.OWNER]})
    assert other.get(f"{globex.url}/qr-codes/{acme.code.id}/image").status_code == 404
    assert other.get(f"{globex.url}/qr-codes/{acme.code.id}/stats").status_code == 404


def test_a_deleted_style_is_one_no_more(owner: Api, acme: Tenant) -> None:
    url = f"{acme.code_url}/image?style={acme.style_id}"
    assert owner.get(url).status_code == 200
    assert owner.delete(f"{acme.url}/styles/{acme.style_id}").status_code == 204
    assert owner.get(url).status_code == 422


def test_the_use_of_a_key_is_noted_once_a_minute(
    app: Application, acme: Tenant, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[object] = []
    touch = app.services.storage.api_keys.touch
    monkeypatch.setattr(
        app.services.storage.api_keys, "touch", lambda *use: (noted.append(use), touch(*use))
    )
    caller = Api(app, {"Authorization": f"Bearer {acme.keys[Role.MEMBER]}"})
    for _ in range(3):
        assert caller.get(acme.url).status_code == 200
    assert len(noted) == 1
    clock.forward(seconds=61)
    caller.get(acme.url)
    assert len(noted) == 2


def test_an_id_is_read_however_it_is_written(owner: Api, acme: Tenant) -> None:
    for written in (acme.id, acme.id.hex, str(acme.id).upper(), f"{{{acme.id}}}"):
        assert owner.get(f"/api/organizations/{written}").status_code == 200
    for wrong in ("x", "-" * 36, "0" * 36, str(acme.id)[:-1]):
        assert owner.get(f"/api/organizations/{wrong}").status_code == 404
